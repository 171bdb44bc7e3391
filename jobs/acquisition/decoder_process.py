"""The process that reads and decodes source files, so that a file can end nothing but this process.

A decoder is a parser of whatever people bring, written in C: a file may let it crash, run for hours
or ask for all memory. `decoders` starts this process beside each Python worker and sends it
requests (`decoding`). It ends with the worker, or by itself when it has been idle for IDLE seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import logging
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from jobs.acquisition import listing
from jobs.acquisition.allowed_paths import REASON, is_allowed
from jobs.acquisition.decoding import (
    LENGTHS,
    SPREAD,
    TILES,
    Decoding,
    Item,
    message,
    too_many_bytes,
)
from udfs.acquisition import decode, limits
from udfs.acquisition.unusable import Unusable

IDLE = 60  # seconds
NO_MEMORY = 75  # the exit code of a process that ran out of memory
IDLE_ENDED = 74  # that of one that was idle; a codec may end it with any other code
BATCH = 512  # images in an answer: 6 MB of pixels
PIPE = 1 << 20  # bytes of answers that need not have been read
HELD_BYTES, HELD_SECONDS = 256 << 10, 1.0  # of answers that are sent together
SPARE = 512 << 20  # bytes that a process may take beside a file and its frame
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def main(parent: int) -> None:
    """Answer requests on stdin until it ends; the first message is how files are decoded.

    parent: the process that started this one.
    """
    answers = _private_stdout()
    _never_wait_for_stderr()
    _end_with(parent)
    _be_the_first_to_go()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would show somebody's images
    requests = open(0, "rb", buffering=0)  # noqa: SIM115 (the descriptor of stdin)
    settings = _read_message(requests)
    if settings is None:
        return
    process = _Process(Decoding(**settings[0]), answers, _address_space())
    process.answer({"ready": True})
    process.send()
    while select.select([requests], [], [], IDLE)[0]:
        process.limit_reading()
        request = _read_message(requests)
        if request is None:
            return
        process.serve(*request)
    sys.exit(IDLE_ENDED)


def _never_wait_for_stderr() -> None:
    """Let nothing that a library says of a file hold up this process.

    The worker reads its stderr, a pipe, only when it has ended, for the reason.
    """
    logging.disable()  # Pillow logs an error for each directory of an odd TIFF
    os.set_blocking(2, False)  # codecs print by themselves


@dataclass
class _Process:
    """Answers requests; address_space: bytes that this process has before it decodes anything.

    held: answers that were not sent yet, since each message wakes the worker, which costs a quarter
    of what it takes to decode a small file. sent: when some were, in seconds.
    """

    decoding: Decoding
    answers: int
    address_space: int
    held: list[bytes] = field(default_factory=list)
    sent: float = 0.0

    def serve(self, request: dict[str, Any], data: bytes) -> None:
        """Answer each item of a request with what is wanted of it."""
        at = 0
        for item in (Item(**item) for item in request["items"]):
            try:
                self._limit_time()
                self.limit_reading()
                content = None if item.size is None else data[at : at + item.size]
                at += item.size or 0
                self._examine(item, content, request["want"])
            except MemoryError:
                os._exit(NO_MEMORY)  # the worker begins anew with a fresh process
        self.send()

    def answer(self, content: dict[str, Any], data: bytes = b"") -> None:
        """Send a message, or keep it for a moment."""
        self.held.append(message(content, data))
        if sum(map(len, self.held)) >= HELD_BYTES or time.monotonic() > self.sent + HELD_SECONDS:
            self.send()

    def send(self) -> None:
        """Send all messages that are held."""
        rest = memoryview(b"".join(self.held))
        while rest:
            rest = rest[os.write(self.answers, rest) :]
        self.held, self.sent = [], time.monotonic()

    def _examine(self, item: Item, content: bytes | None, want: str) -> None:
        digest = ""
        try:
            if content is None:
                content = self._read(item.path)
            elif len(content) > self.decoding.max_bytes:
                raise too_many_bytes(len(content), self.decoding.max_bytes)
            digest = decode.sha256(content)
            self._limit_decoding(content)
            if want == SPREAD:
                found = decode.spread(content, self.decoding.max_pixels, tuple(self.decoding.bands))
                self.answer({"digest": digest, "spread": found, "code": ""})
                return
            tiles = self._tiles(content, item)
            if want != TILES:
                next(tiles)  # the frame is decoded, and holds one tile at least
                tiles = iter(())
            self._send_tiles(itertools.islice(tiles, item.skip, None), digest)
        except Unusable as reason:
            self.answer({"digest": digest, "code": reason.code, "message": reason.message})

    def _send_tiles(self, tiles: Iterator[decode.Tile], digest: str) -> None:
        """Answer with the images of a file; the last message says that these are all."""
        batch = list(itertools.islice(tiles, BATCH))
        while True:
            following = list(itertools.islice(tiles, BATCH)) if len(batch) == BATCH else []
            described = [(t.suffix, t.width, t.height, t.pixels_sha256, t.shown) for t in batch]
            content = {"digest": digest, "tiles": described, "code": None if following else ""}
            self.answer(content, b"".join(tile.pixels for tile in batch))
            if not following:
                return
            batch = following

    def _read(self, path: str) -> bytes:
        within = self.decoding.within
        if within is not None and not is_allowed(path, within):
            raise Unusable(*REASON)
        try:
            return listing.read(path, self.decoding.max_bytes)
        except (OSError, ValueError) as refused:  # ValueError: a name with a zero byte
            raise Unusable(
                "unreachable",
                f"the file cannot be read: {refused}; make it readable and run it again (with "
                "--overwrite ingest where nothing else changed)",
            ) from refused

    def _tiles(self, content: bytes, item: Item) -> Iterator[decode.Tile]:
        how = self.decoding
        return decode.stream(
            content,
            max_pixels=how.max_pixels,
            tile=how.tile,
            stride=how.stride,
            depth=how.depth(item.ranges),
        )

    def _limit_decoding(self, content: bytes) -> None:
        """Let a file be decoded, and its largest frame be held."""
        self._limit_memory(2 * len(content) + limits.BYTES_PER_PIXEL * self.decoding.max_pixels)

    def limit_reading(self) -> None:
        """Let a file of the largest size be read, and copied while it is put together."""
        self._limit_memory(4 * self.decoding.max_bytes)

    def _limit_time(self) -> None:
        """Let the system end this process if it takes more processor time for the next file."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime)
        _soft_limit(resource.RLIMIT_CPU, used + 1 + self.decoding.max_seconds)

    def _limit_memory(self, needed: int) -> None:
        """Let the system refuse more memory than what is needed at most, in bytes."""
        _soft_limit(resource.RLIMIT_AS, self.address_space + SPARE + needed)


def _soft_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY or value < hard:
        with contextlib.suppress(ValueError, OSError):  # a system that has no such limit
            resource.setrlimit(kind, (value, hard))


def _read_message(requests: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Return the next request; None if there will be no more."""
    lengths = _read_exactly(requests, LENGTHS.size)
    if lengths is None:
        return None
    text_length, data_length = LENGTHS.unpack(lengths)
    text, data = (_read_exactly(requests, length) for length in (text_length, data_length))
    return None if text is None or data is None else (json.loads(text), data)


def _read_exactly(requests: BinaryIO, length: int) -> bytes | None:
    parts: list[bytes] = []
    while length:
        part = requests.read(length)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _private_stdout() -> int:
    """Return a copy of stdout, and send to nowhere what libraries print."""
    answers = os.dup(1)
    # So that this process seldom waits for the worker; not all systems have it.
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, PIPE)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _end_with(parent: int) -> None:
    """Let this process end when the worker does, even while it decodes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()


def _be_the_first_to_go() -> None:
    """Let the kernel end this process, and not the worker or the JVM, when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _address_space() -> int:
    """Return the bytes of address space that this process has mapped."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 30
    return pages * resource.getpagesize()
