"""Has files read and decoded by a process of their own, and finds the file that ends it.

Each Python worker of the executors keeps one such process (`decoder_process`), which answers one
file after the other. When it dies, the files without an answer are tried one by one, and one that
ends two processes is the culprit. Use `examined`, or `spread_of` for the values of deep pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs.acquisition.decoder_process import IDLE_ENDED, NO_MEMORY, PIPE
from jobs.acquisition.decoding import LENGTHS, REASON, SPREAD, TILES, Decoding, Item
from jobs.errors import JobError
from udfs.acquisition.ranges import Range

FILES, REQUEST_BYTES = 32, 8 << 20  # of a request, at most; one file may be larger
START_SECONDS = 120  # until a process is ready; a busy machine takes a second
# A file may take so many times its processor time, since other processes use the cores as well. A
# file system that does not answer is given up after that, too.
PATIENCE = 10
_PROGRAM = "import sys; from jobs.acquisition.decoder_process import main; main(int(sys.argv[1]))"


@dataclass(frozen=True)
class Answer:
    """One message about a file: some of its images, or at last why there are none.

    number: the file's place in what was asked. tiles: suffix, width, height, pixels_sha256 and
    range of values of images, and their pixels one after the other. code: "" if the file became
    images, else the code of `rejects`; None if more messages about this file follow. spread: kind,
    edges and quantiles of a deep picture's values (`ranges.Spread`), if that was asked.
    """

    number: int
    digest: str
    tiles: Sequence[Sequence[Any]] = ()
    pixels: bytes = b""
    code: str | None = None
    text: str = ""
    spread: Sequence[Any] | None = None


Files = Sequence[tuple[str, bytes | None]]
Ranges = Sequence[Mapping[str, Range]]


def examined(
    files: Files, decoding: Decoding, *, with_tiles: bool, ranges: Ranges = ()
) -> Iterator[Answer]:
    """Yield the answers about files, in their order; a file's last one has a code.

    Args:
        files: path and bytes of each; the bytes are None where the file is to be read.
        decoding: how they are decoded.
        with_tiles: whether their images are asked for.
        ranges: of each file the ranges of its class, by kind; none where none is fixed.

    Raises:
        JobError: if no process can be started, or a file whose images were partly yielded ends its
            process twice.

    """
    want = TILES if with_tiles else REASON
    for first, count in _requests(files):
        yield from _Request(files, ranges, decoding, want, first, first + count).answers()


def spread_of(files: Files, decoding: Decoding) -> Iterator[Answer]:
    """Yield an answer about each file, with the spread of its values if it is a deep picture."""
    for first, count in _requests(files):
        yield from _Request(files, (), decoding, SPREAD, first, first + count).answers()


def _requests(files: Files) -> Iterator[tuple[int, int]]:
    """Yield the first file, and the number of files, of each request."""
    first, held = 0, 0
    for number, (_, content) in enumerate(files):
        size = len(content or b"")
        if number > first and (number - first == FILES or held + size > REQUEST_BYTES):
            yield first, number - first
            first, held = number, 0
        held += size
    if first < len(files):
        yield first, len(files) - first


@dataclass
class _Request:
    """Files that are asked about at once, and how far the answers are.

    next: the file whose answer is awaited. seen: its images that were yielded. deaths: how many
    processes have died of it. alone: whether files are asked about one by one, after a death.
    """

    files: Files
    ranges: Ranges
    decoding: Decoding
    want: str
    next: int
    end: int
    seen: int = 0
    deaths: int = 0
    alone: bool = False

    def answers(self) -> Iterator[Answer]:
        """Yield all answers, with another process whenever one dies."""
        while self.next < self.end:
            end = self._end()
            try:
                with _process(self.decoding) as process:
                    process.send(*self._message(end))
                    while self.next < end:
                        yield from self._received(*process.receive())
            except _Died as death:
                yield from self._after(death)

    def _end(self) -> int:
        return self.next + 1 if self.alone else self.end

    def _message(self, end: int) -> tuple[dict[str, Any], list[bytes]]:
        files = self.files[self.next : end]
        sizes = [None if content is None else len(content) for _, content in files]
        ranges = self.ranges[self.next : end] or [{}] * len(files)
        items = [
            Item(path, size, ranges=fixed)
            for (path, _), size, fixed in zip(files, sizes, ranges, strict=True)
        ]
        items[0] = replace(items[0], skip=self.seen)
        data = [content for _, content in files if content]
        return {"items": [asdict(item) for item in items], "want": self.want}, data

    def _received(self, content: dict[str, Any], data: bytes) -> Iterator[Answer]:
        tiles = content.get("tiles", ())
        code, text = content["code"], content.get("message", "")
        spread = content.get("spread")
        answer = Answer(self.next, content["digest"], tiles, data, code, text, spread)
        self.seen += len(tiles)
        if code is not None:
            self._go_on()
        yield answer

    def _after(self, death: _Died) -> Iterator[Answer]:
        """Yield the reason if the file is to blame for the death of its process."""
        if death.returncode == IDLE_ENDED:  # just when the request came
            return
        self.deaths += self.alone
        self.alone = True  # answers that were not sent yet died with the process
        reason = death.reason(self.decoding)
        if self.deaths == 0 or (self.deaths == 1 and reason[0] != "too_slow"):
            return
        if self.seen:
            raise JobError(f"{self.files[self.next][0]}: {reason[1]}")
        number = self.next
        self._go_on()
        yield Answer(number, "", code=reason[0], text=reason[1])

    def _go_on(self) -> None:
        self.next, self.seen, self.deaths = self.next + 1, 0, 0


class _Died(Exception):  # noqa: N818 (its cause is a file, not an error of the program)
    """Raised when a process ends, or is given up, before it answers.

    returncode: as `subprocess` has it; None if the process did not answer in time.
    """

    def __init__(self, returncode: int | None) -> None:
        super().__init__(returncode)
        self.returncode = returncode

    def reason(self, decoding: Decoding) -> tuple[str, str]:
        """Return the code and the message of the file that is to blame."""
        if self.returncode is None:
            seconds = PATIENCE * decoding.max_seconds
            return "too_slow", f"it was not read and decoded within {seconds} s; {_AGAIN}"
        if self.returncode == -signal.SIGXCPU:
            return (
                "too_slow",
                f"decoding it takes more than ingest.max_seconds = {decoding.max_seconds} s of "
                "processor time: save it anew, or raise the setting",
            )
        if self.returncode == NO_MEMORY:
            return "too_large", f"there was not enough memory to decode it; {_AGAIN}"
        if self.returncode == -signal.SIGKILL:
            return (
                "crashed",
                "the process that decoded it was killed, as the system does when memory runs out; "
                + _AGAIN,
            )
        how = (
            signal.Signals(-self.returncode).name
            if self.returncode < 0
            else f"exit code {self.returncode}"
        )
        return "crashed", f"the process that decoded it ended by {how}: save it anew, or remove it"


_AGAIN = "run it again (with --overwrite ingest where nothing else changed)"


class _Process:
    """A process that decodes files, of this process's user."""

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding
        self._patience = PATIENCE * decoding.max_seconds
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",  # each thread would map memory, of which it has little
        }
        self._unread = bytearray()
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            bufsize=0,
        )
        try:
            self.send(asdict(decoding), [])  # a command line would show it to all users
            self.receive(START_SECONDS)
        except _Died as death:
            assert self._popen.stderr is not None
            said = b"" if death.returncode is None else self._popen.stderr.read()[-2000:]
            self.end()
            raise JobError(
                f"no process to decode images can be started: {death.returncode} "
                f"{said.decode(errors='replace')}"
            ) from death

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._popen.poll() is None

    def send(self, content: dict[str, Any], data: Sequence[bytes]) -> None:
        """Send a request. The process reads all of it before it answers."""
        assert self._popen.stdin is not None
        text = json.dumps(content).encode()
        head = LENGTHS.pack(len(text), sum(map(len, data))) + text
        try:
            for part in (head, *data):
                rest = memoryview(part)
                while rest:
                    rest = rest[self._popen.stdin.write(rest) :]
        except BrokenPipeError:
            raise _Died(self._popen.wait()) from None

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], bytes]:
        """Return the next answer. Raises _Died if there is none in time."""
        end = time.monotonic() + (seconds or self._patience)
        text_length, data_length = LENGTHS.unpack(self._read(LENGTHS.size, end))
        text = self._read(text_length, end)
        return json.loads(text), self._read(data_length, end)

    def end(self) -> None:
        """Kill the process and forget it; one that hangs in the kernel is not waited for."""
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self, length: int, end: float) -> bytes:
        while len(self._unread) < length:
            assert self._popen.stdout is not None
            if not select.select([self._popen.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise _Died(None)
            part = self._popen.stdout.read(PIPE)
            if not part:
                raise _Died(self._popen.wait())
            self._unread += part
        data = bytes(self._unread[:length])
        del self._unread[:length]
        return data


_idle: list[_Process] = []  # the process of this worker, between two requests


@contextmanager
def _process(decoding: Decoding) -> Iterator[_Process]:
    """Lend this worker's process. It is ended if it dies, or if not all its answers were read."""
    process = _idle.pop() if _idle else None
    if process is not None and not (process.decoding == decoding and process.is_alive()):
        process.end()
        process = None
    process = process or _Process(decoding)
    try:
        yield process
    except BaseException:
        process.end()
        raise
    _idle.append(process)
