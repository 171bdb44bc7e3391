"""What the user reads: one line a stage, and a summary at the end. All of it on stdout."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

TERMINAL = 0.5  # seconds between two words on progress: on a terminal, which shows the last
ELSEWHERE = 15.0  # and in a file, which keeps all
NAMED = 4  # of a list, on a line of its own


def some(items: Sequence[str]) -> str:
    """The first of a list, and how many more there are."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


class Console:
    """Lines on stdout; `quiet` leaves only warnings."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._open = False
        self._said = time.monotonic()

    def line(self, text: str = "") -> None:
        """One line."""
        if not self.quiet:
            self._end_open()
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """A line that is said even when quiet."""
        self._end_open()
        print(f"warning: {text}", flush=True)

    def begin(self, stage: str) -> None:
        """Say that a stage runs; on a terminal its line is replaced when it ends."""
        self._said = time.monotonic()
        if not self.quiet and sys.stdout.isatty():
            print(f"  {stage:<9} …", end="", flush=True)
            self._open = True

    def progress(self, stage: str, text: str) -> None:
        """How far a stage is: in its line on a terminal, elsewhere a line now and then."""
        terminal = sys.stdout.isatty()
        now = time.monotonic()
        if self.quiet or now - self._said < (TERMINAL if terminal else ELSEWHERE):
            return
        self._said = now
        if terminal:
            print(f"\r\033[K  {stage:<9} {text}", end="", flush=True)
            self._open = True
        else:
            self.line(f"  {stage:<9} … {text}")

    @contextmanager
    def watching(self, stage: str, text: Callable[[], str]) -> Iterator[None]:
        """Say `progress` while something runs that does not come back to say it."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(TERMINAL):
                self.progress(stage, text())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def stage(self, stage: str, summary: str, seconds: float | None) -> None:
        """The line of a stage that ended."""
        clock = "" if seconds is None else f"{seconds:.1f} s"
        if self._open:
            print("\r\033[K", end="")
            self._open = False
        self.line(f"  {stage:<9} {summary:<58} {clock:>9}")

    def _end_open(self) -> None:
        if self._open:
            print(flush=True)
            self._open = False
