"""What the user reads: one line a stage, and a summary at the end. All of it on stdout."""

from __future__ import annotations

import sys


class Console:
    """Lines on stdout; `quiet` leaves only warnings."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._open = False

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
        if not self.quiet and sys.stdout.isatty():
            print(f"  {stage:<9} …", end="", flush=True)
            self._open = True

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
