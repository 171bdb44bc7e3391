"""What the console says, in both formats and at each level."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest

from jobs.main import log_format
from jobs.runtime import console
from jobs.runtime.console import Console
from jobs.runtime.progress import Progress, Tasks, duration


def say_everything(told: Console) -> None:
    told.line("  here → there")
    told.line()
    told.begin("ingest")
    told.progress("ingest", Progress(10.0, 0.25, 500.0, "2 of 8 tasks"))
    told.stage("ingest", "12 images", 1.25, rows={"images": 12})
    told.detail("    wrote images version 0", stage="ingest")
    told.warn("the café is closed")
    told.broken("encode", 2.0)
    told.results({"curated": "/w/curated"}, {"ingest": 1.25})
    told.error("encode failed: do this\n  and that", code=1)


def said(capsys: pytest.CaptureFixture[str], **how: Any) -> list[str]:
    say_everything(Console(**how))
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.removesuffix("\n").split("\n")  # \r ends no line


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is said whenever there is some."""
    monkeypatch.setattr(console, "ELSEWHERE", 0.0)
    monkeypatch.setattr(console, "TERMINAL", 0.0)


def test_each_level_says_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    failure = ["encode failed: do this", "  and that"]
    normal = said(capsys)
    assert normal[0] == "  here → there"
    assert "  ingest       … 2 of 8 tasks, 50 images/s, 30 s left" in normal
    assert normal[-3:] == ["warning: the café is closed", *failure]
    assert not any("version 0" in line or "/w/curated" in line for line in normal)
    assert "    wrote images version 0" in said(capsys, verbose=True)
    quiet = said(capsys, quiet=True)
    assert quiet == ["warning: the café is closed", "curated   /w/curated", *failure]


@pytest.mark.parametrize("how", [{}, {"quiet": True}, {"verbose": True}])
def test_json_is_an_object_a_line_and_nothing_else(
    capsys: pytest.CaptureFixture[str], how: dict[str, bool]
) -> None:
    entries = [json.loads(line) for line in said(capsys, log_format="json", **how)]
    assert all({"time", "level", "stage", "event"} <= entry.keys() for entry in entries)
    events = {entry["event"]: entry for entry in entries}
    assert events["failed"]["text"] == "encode failed: do this\n  and that"
    assert (events["failed"]["level"], events["failed"]["code"]) == ("error", 1)
    assert events["result"]["curated"] == "/w/curated"
    if how.get("quiet"):
        assert events.keys() == {"warning", "result", "failed"}
        return
    assert events["done"]["rows"] == {"images": 12}
    assert events["done"]["seconds"] == 1.25
    wanted = {"share": 0.25, "images": 500.0, "images_per_second": 50.0, "seconds_left": 30.0}
    assert events["progress"].items() >= wanted.items()
    assert ("detail" in events) == bool(how.get("verbose"))


def test_a_terminal_shows_progress_in_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    lines = said(capsys)
    shown = next(line for line in lines if "2 of 8" in line).split("\r\033[K")
    assert "  ingest       …" in shown
    assert all(len(part) < 30 for part in shown if "tasks" in part)  # none wraps
    assert shown[-1].startswith("  ingest       12 images")  # and the stage's line takes its place


def test_progress_is_sparse_where_all_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "ELSEWHERE", 3600.0)
    told = Console()
    told.begin("encode")
    for _ in range(100):
        told.progress("encode", Progress(1.0, 0.5))
    assert capsys.readouterr().out == ""


def test_watching_asks_until_the_end_and_forgives(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def now() -> Progress:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("no Spark")
        return Progress(1.0, 0.5)

    with Console().watching("encode", now):
        while len(asked) < 3:
            time.sleep(0.001)
    count = len(asked)
    assert "1 s left" in capsys.readouterr().out
    time.sleep(0.01)
    assert len(asked) == count
    with Console(quiet=True).watching("encode", now):
        time.sleep(0.01)
    assert len(asked) == count


def test_progress_without_a_beginning_or_an_end() -> None:
    assert str(Progress(3.0)) == "3 s"
    assert str(Progress(3.0, 0.0, 0.0, "0 of 8 tasks")) == "0 of 8 tasks"
    assert str(Progress(0.0, 0.5, 10.0)) == "0 s left"
    assert [duration(seconds) for seconds in (8.4, 200, 7500)] == [
        "8 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_the_format_is_known_where_the_settings_are_wrong() -> None:
    assert log_format(["--set", "no.such=1", "--log-format=json", "--more"]) == "json"
    assert log_format(["--images", "x"]) == "text"


class Stage:
    """As pyspark's SparkStageInfo."""

    def __init__(self, stage: int, tasks: int, completed: int) -> None:
        self.stageId, self.numTasks, self.numCompletedTasks = stage, tasks, completed


class Tracker:
    """As pyspark's StatusTracker; the last of its active stages is forgotten already."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = {stage.stageId: stage for stage in stages}

    def getActiveStageIds(self) -> list[int]:  # noqa: N802
        return [*self.stages, 99]

    def getStageInfo(self, number: int) -> Stage | None:  # noqa: N802
        return self.stages.get(number)


def tasks(*stages: Stage) -> Tasks:
    class Context:
        def statusTracker(self) -> Tracker:  # noqa: N802
            return Tracker(*stages)

    class Session:
        sparkContext = Context()  # noqa: N815

    spark: Any = Session()
    return Tasks(spark)


def test_of_sparks_stages_the_largest_is_told() -> None:
    found = tasks(Stage(3, 4, 4), Stage(5, 16, 4)).now(images=1000)
    assert found is not None
    assert (found.share, found.images, found.note) == (0.25, 250.0, "4 of 16 tasks")
    assert tasks(Stage(3, 1, 0)).now() is None
    assert tasks().now() is None
