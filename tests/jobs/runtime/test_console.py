"""What the console prints: both formats, each level, and the live line of a real terminal."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from jobs.main import log_format_without_settings
from jobs.runtime import console
from jobs.runtime.console import Console
from jobs.runtime.progress import Progress
from tests.support.terminal import ROOT, run_in_terminal, screen

WIDE = 100  # columns: no line wraps
FAILURE = ["encode failed: do this", "  and that"]
# A stage that ends, a line printed meanwhile, and a stage that fails; {how} makes the console.
SCRIPT = """
from jobs.runtime import console, process
from jobs.runtime.progress import Progress
process.attach_terminal()
console.TERMINAL = 0.0
messages = console.Console({how})
messages.line("  here → there")
messages.begin("ingest")
messages.progress("ingest", Progress(10.0, 0.25, 500.0, "2 of 8 tasks"))
messages.warn("the café is closed")
messages.progress("ingest", Progress(20.0, 0.5, 1000.0, "4 of 8 tasks"))
messages.stage("ingest", "12 images", 1.25)
messages.begin("encode")
messages.broken("encode", 2.0)
messages.begin("sample")
console.Console({how}).error("encode failed: do this\\n  and that")
"""


def print_everything(messages: Console) -> None:
    messages.line("  here → there")
    messages.line()
    messages.begin("ingest")
    messages.progress("ingest", Progress(10.0, 0.25, 500.0, "2 of 8 tasks"))
    messages.stage("ingest", "12 images", 1.25, rows={"images": 12})
    messages.detail("    wrote images version 0", stage="ingest")
    messages.warn("the café is closed")
    messages.broken("encode", 2.0)
    messages.results({"curated": "/w/curated"}, {"ingest": 1.25})
    messages.error("\n".join(FAILURE), code=1)


def printed(capsys: pytest.CaptureFixture[str], **how: Any) -> list[str]:
    print_everything(Console(**how))
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.removesuffix("\n").split("\n")  # \r ends no line


def in_terminal(how: str = "", **options: Any) -> str:
    return run_in_terminal([sys.executable, "-c", SCRIPT.format(how=how)], **options)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show progress whenever there is some."""
    monkeypatch.setattr(console, "ELSEWHERE", 0.0)
    monkeypatch.setattr(console, "TERMINAL", 0.0)


def test_text_is_the_documented_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == [
        "  here → there",
        "",
        "  ingest       … 2 of 8 tasks, 50 images/s, 30 s left",
        "  ingest       12 images                                                      1.2 s",
        "warning: the café is closed",
        *FAILURE,
    ]
    assert "    wrote images version 0" in printed(capsys, verbose=True)


def test_quiet_leaves_results_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["warning: the café is closed", "curated   /w/curated", *FAILURE]
    assert printed(capsys, quiet=True) == wanted
    assert screen(in_terminal("quiet=True")) == [wanted[0], *FAILURE, ""]


@pytest.mark.parametrize("how", [{}, {"quiet": True}, {"verbose": True}])
def test_json_is_an_object_a_line_and_nothing_else(
    capsys: pytest.CaptureFixture[str], how: dict[str, bool]
) -> None:
    entries = [json.loads(line) for line in printed(capsys, log_format="json", **how)]
    assert all(list(entry)[:4] == ["time", "level", "stage", "event"] for entry in entries)
    events = {entry["event"]: entry for entry in entries}
    assert list(events["failed"])[4:] == ["text", "code"]
    assert events["failed"]["text"] == "\n".join(FAILURE)
    assert (events["failed"]["level"], events["failed"]["code"]) == ("error", 1)
    assert (events["warning"]["level"], events["result"]["level"]) == ("warning", "result")
    assert list(events["result"])[4:] == ["seconds", "curated"]
    assert events["result"]["curated"] == "/w/curated"
    if how.get("quiet"):
        assert events.keys() == {"warning", "result", "failed"}
        return
    assert len(entries) == 8 + bool(how.get("verbose"))  # none for the empty line
    assert list(events["done"])[4:] == ["summary", "seconds", "rows"]
    assert events["done"]["rows"] == {"images": 12}
    assert events["done"]["seconds"] == 1.25
    wanted = {"share": 0.25, "images": 500.0, "images_per_second": 50.0, "seconds_left": 30.0}
    assert events["progress"].items() >= wanted.items()
    assert "text" not in events["progress"]
    assert events["broken"].items() >= {"stage": "encode", "seconds": 2.0}.items()
    assert events["started"]["level"] == "info"
    assert ("detail" in events) == bool(how.get("verbose"))


def test_json_stays_whole_while_a_thread_writes_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each console writes from both threads; a switch may come after any of their writes."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    one, other = Console(log_format="json"), Console(log_format="json")
    try:
        with one.watching("encode", lambda: Progress(1.0, 0.5, 10.0)):
            for number in range(2000):
                other.line(f"line {number}", stage="train")
    finally:
        sys.setswitchinterval(interval)
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    texts = [entry["text"] for entry in entries if entry["event"] == "message"]
    assert texts == [f"line {number}" for number in range(2000)]
    assert sum(entry["event"] == "progress" for entry in entries) > 10


@pytest.mark.parametrize("piped", [False, True])
def test_a_terminal_shows_progress_in_one_line_that_is_replaced(piped: bool) -> None:
    received = in_terminal(piped=piped, columns=WIDE)
    ingest = "  ingest       "
    shown = received.index("2 of 8 tasks")
    assert screen(received[:shown])[1:] == [ingest.rstrip()]
    assert screen(received[: received.index("\r", shown)])[1:] == [
        f"{ingest}2 of 8 tasks, 50 images/s, 30 s left"
    ]
    again = received.index("4 of 8 tasks")
    assert screen(received[: received.index("\r", again)])[1:] == [
        "warning: the café is closed",
        f"{ingest}4 of 8 tasks, 50 images/s, 20 s left",
    ]
    assert screen(received, WIDE) == [
        "  here → there",
        "warning: the café is closed",
        f"{ingest}12 images{' ' * 54}1.2 s",
        *FAILURE,
        "",
    ]


def test_the_seconds_of_a_stage_fit_a_terminal_of_80_columns() -> None:
    line = screen(in_terminal(columns=80), 80)[2]
    assert line == "  ingest       12 images" + f"{'1.2 s':>56}"
    assert len(line) == 80


@pytest.mark.parametrize("columns", [12, 30, 200])
def test_the_live_line_fits_a_terminal_of_any_width(columns: int) -> None:
    """A line that wraps would leave a row behind; lines that stay may wrap."""
    received = in_terminal(columns=columns)
    lines = [line for line in screen(received, columns) if "tasks" in line or "…" in line]
    assert lines == []
    assert "".join(screen(received, columns)).startswith("  here → there"[:columns])


def test_colours_are_for_terminals_that_want_them() -> None:
    assert "\x1b[33mwarning: the café is closed\x1b[0m" in in_terminal()
    assert not any(code.endswith("m") for code in codes(in_terminal(NO_COLOR="1")))
    dumb = in_terminal(TERM="dumb")
    assert codes(dumb) == []
    assert "tasks" not in dumb
    assert "\x1b" not in in_terminal("log_format='json'")


def codes(received: str) -> list[str]:
    return re.findall(r"\x1b\[[?0-9;]*[A-Za-z]", received)


def test_rich_is_imported_for_a_terminal_alone() -> None:
    script = SCRIPT.format(how="") + "import sys\nassert 'rich' not in sys.modules\n"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "\x1b" not in run.stdout


def test_lines_are_printed_once_however_logging_is_configured(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither do other consoles nor the root logger's handlers repeat them, nor we theirs."""
    consoles = [Console(), Console(quiet=True), Console(log_format="json")]
    # Its own level, which a command that ran in this process may have raised.
    with caplog.at_level(logging.DEBUG, "py4j"):
        consoles[0].line("one")
        logging.getLogger("py4j").warning("of theirs")
    assert capsys.readouterr().out == "one\n"
    assert caplog.messages == ["of theirs"]
    assert logging.getLevelName(logging.INFO) == "INFO"


def test_progress_is_sparse_where_all_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "ELSEWHERE", 3600.0)
    messages = Console()
    messages.begin("encode")
    for _ in range(100):
        messages.progress("encode", Progress(1.0, 0.5))
    assert capsys.readouterr().out == ""


def test_watching_asks_until_the_end_and_forgives(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def current() -> Progress:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no Spark")
        return Progress(1.0, 0.5)

    with Console().watching("encode", current):
        while len(calls) < 3:
            time.sleep(0.001)
    count = len(calls)
    assert "1 s left" in capsys.readouterr().out
    time.sleep(0.01)
    assert len(calls) == count
    with Console(quiet=True).watching("encode", current):
        time.sleep(0.01)
    assert len(calls) == count


def test_the_format_is_known_where_the_settings_are_wrong() -> None:
    assert (
        log_format_without_settings(["--set", "no.such=1", "--log-format=json", "--more"]) == "json"
    )
    assert log_format_without_settings(["--images", "x"]) == "text"


def test_no_name_reaches_the_terminal_with_controls(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels stand in the summary of a stage, and paths in messages and errors."""
    name = "cat\x1b]0;owned\x07\x1b[2K\r"
    messages = Console()
    messages.line(name)
    messages.warn(name)
    messages.error(f"failed: {name}\n  and so on", code=1)
    messages.stage("modes", f"2 classes: {name}\n  publish 9 images", 1.0)
    messages.line(console.abbreviated([name, "dog\n  publish 9 images"]))
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\r"} & set(out)
    assert out.count("\n") == 6  # none of a name
    assert out.count(r"\x1b]0;owned\x07\x1b[2K\r") == 5


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (1.0, 0, "100%"),
        (0.997, 0, ">99%"),
        (0.993, 0, "99%"),
        (0.9996, 1, ">99.9%"),
        (0.003, 0, "<1%"),
        (0.0003, 1, "<0.1%"),
        (0.0, 0, "0%"),
        (0.417, 1, "41.7%"),
    ],
)
def test_a_share_rounds_neither_to_all_nor_to_nothing(share: float, digits: int, text: str) -> None:
    assert console.percentage(share, digits) == text
