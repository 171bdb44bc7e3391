"""A file costs at most the process that decodes it, and that file alone is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.acquisition import decoder_process, decoders
from jobs.acquisition.decoders import Answer, examined
from jobs.acquisition.decoding import Decoding
from jobs.errors import JobError
from tests.support.hostile_files import DEADLY, deadly
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode

GOOD = encoded(Image.fromarray(picture(1)), "PNG")
QUICK = Decoding(10**6, max_seconds=1)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


@pytest.fixture(autouse=True)
def _own_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes in which some files do harm, and none of them afterwards."""
    end_idle()
    monkeypatch.syspath_prepend(str(DEADLY))
    yield
    end_idle()


def end_idle() -> None:
    while decoders._idle:
        decoders._idle.pop().end()


def outcomes(files: list[bytes], decoding: Decoding = QUICK) -> dict[int, str]:
    answers = examined([("", data) for data in files], decoding, with_tiles=True)
    return {answer.number: answer.code for answer in answers if answer.code is not None}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("SIGSEGV", "crashed"),
        ("SIGABRT", "crashed"),
        ("SIGKILL", "crashed"),
        ("end", "crashed"),
        ("hoard", "too_large"),
        ("spin", "too_slow"),
    ],
)
def test_a_file_that_ends_its_process_is_refused_alone(kind: str, code: str) -> None:
    files = [GOOD] * 40
    files[3] = files[35] = deadly(kind)  # in two requests
    expected = dict.fromkeys(range(40), "") | {3: code, 35: code}
    assert outcomes(files) == expected


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "PATIENCE", 3)
    assert outcomes([GOOD, deadly("hang"), GOOD]) == {0: "", 1: "too_slow", 2: ""}


def test_the_reason_says_how_the_process_ended() -> None:
    (answer,) = examined([("", deadly("SIGBUS"))], QUICK, with_tiles=True)
    assert (answer.code, answer.digest) == ("crashed", "")
    assert "ended by SIGBUS" in answer.text


def test_what_a_lost_process_had_answered_is_the_same_as_ever() -> None:
    """Each file's images are yielded once, whatever was lost with a process."""
    decoding = Decoding(10**6, 64, 1, max_seconds=1)
    files = [("", data) for data in (GOOD, deadly("SIGSEGV"), GOOD)]
    answers = list(examined(files, decoding, with_tiles=True))
    tiles = list(decode.stream(GOOD, max_pixels=10**6, tile=64, stride=1))
    for number in (0, 2):
        own = [answer for answer in answers if answer.number == number]
        assert b"".join(answer.pixels for answer in own) == b"".join(t.pixels for t in tiles)
        assert [tile[0] for answer in own for tile in answer.tiles] == [t.suffix for t in tiles]
        assert {answer.digest for answer in own} == {decode.sha256(GOOD)}


def test_a_process_that_is_killed_from_outside_costs_no_file() -> None:
    """Also when some images of a file were yielded before: the others follow."""
    data = encoded(Image.fromarray(picture(2, 700)), "PNG")
    decoding = Decoding(10**6, 64, 8)
    answers = examined([("", data)], decoding, with_tiles=True)
    first: Answer = next(answers)
    assert first.code is None
    os.kill(running(), signal.SIGKILL)
    rest = list(answers)
    names = [tile[0] for answer in (first, *rest) for tile in answer.tiles]
    tiles = decode.stream(data, max_pixels=10**6, tile=64, stride=8)
    assert names == [tile.suffix for tile in tiles]
    assert rest[-1].code == ""


def running() -> int:
    """The only process that this one has started and that decodes."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (pid,) = (
        pid
        for pid in children
        if decoder_process.__name__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return int(pid)


def test_a_process_serves_many_requests_and_one_that_ended_is_replaced() -> None:
    outcomes([GOOD])
    first = running()
    outcomes([GOOD] * 70)
    assert running() == first
    os.kill(first, signal.SIGKILL)
    assert outcomes([GOOD]) == {0: ""}
    assert running() != first


def test_a_process_that_has_just_ended_by_itself_is_no_fault_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process is never idle for long enough to get a request; the next one is."""
    program = (
        "import pathlib, sys; from jobs.acquisition import decoder_process as process; "
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r}); "
        "process.IDLE = 60 if seen.exists() else 0; seen.touch(); process.main(int(sys.argv[1]))"
    )
    monkeypatch.setattr(decoders, "_PROGRAM", program)
    assert outcomes([GOOD] * 3) == {0: "", 1: "", 2: ""}


def test_a_process_ends_with_its_worker_even_while_it_decodes() -> None:
    script = """
import os, signal, threading, time
from jobs.acquisition.decoders import examined
from jobs.acquisition.decoding import Decoding
from tests.support.hostile_files import deadly
answers = examined([("", deadly("hang"))], Decoding(10**6), with_tiles=True)
threading.Timer(3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
next(answers)
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    assert worker.wait(60) == -signal.SIGKILL
    end = time.monotonic() + 60
    while left := of_session(worker.pid):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def of_session(session: int) -> list[str]:
    """The names of a session's processes that have not ended."""
    names = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, _, _, own = rest.split()[:4]
        if own == str(session) and state not in "ZX":
            names.append(name)
    return names


def test_a_process_that_cannot_start_is_no_fault_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_PROGRAM", "import nothing_of_this_name")
    with pytest.raises(JobError, match="nothing_of_this_name"):
        outcomes([GOOD])


def test_a_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """With a tebibyte of zeros no process has the memory to read it."""
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    (answer,) = examined([(str(sparse), None)], Decoding(10**6), with_tiles=True)
    assert answer.code == "too_large"
    assert f"{1 << 40} bytes: more than ingest.max_bytes" in answer.text


def test_a_large_file_comes_after_small_ones() -> None:
    """The limit of memory is that of each file."""
    data = encoded(Image.new("RGB", (700, 700)), "BMP")
    large = data + bytes((300 << 20) - len(data))
    decoding = Decoding(10**6, max_bytes=300 << 20)
    assert outcomes([GOOD, large, GOOD], decoding) == {0: "", 1: "", 2: ""}


def test_bytes_of_a_table_have_the_same_limit() -> None:
    assert outcomes([GOOD], Decoding(10**6, max_bytes=len(GOOD))) == {0: ""}
    assert outcomes([GOOD], Decoding(10**6, max_bytes=len(GOOD) - 1)) == {0: "too_large"}
