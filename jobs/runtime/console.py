"""What the user reads, all of it on stdout: a line a stage, or (`--log-format json`) an object.

On a terminal progress is shown in place, elsewhere by a line now and then.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self

from jobs.runtime.progress import Progress
from jobs.settings.model import STAGES, Settings

TERMINAL = 0.5  # seconds between two words on progress: on a terminal, which shows the last
ELSEWHERE = 15.0  # and in a file, which keeps all
LONGEST = max(map(len, STAGES))
NAMED = 4  # of a list, on a line of its own
LEVELS = ("detail", "info", "result", "warning", "error")


def some(items: Sequence[str]) -> str:
    """The first of a list, and how many more there are."""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def named(stage: str) -> str:
    """A stage at the beginning of its line: what follows stands in one column."""
    return f"  {stage:<{LONGEST}}"


class Console:
    """Lines on stdout: `quiet` leaves results, warnings and errors, `verbose` adds details."""

    def __init__(
        self, quiet: bool = False, *, verbose: bool = False, log_format: str = "text"
    ) -> None:
        self.json = log_format == "json"
        self._least = LEVELS.index("result" if quiet else "detail" if verbose else "info")
        self._open = False
        self._said = time.monotonic()
        self._lock = threading.RLock()  # progress comes from a thread of its own

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the command line asks for it."""
        return cls(settings.quiet, verbose=settings.verbose, log_format=settings.log_format)

    def shows(self, level: str) -> bool:
        """Whether something of this level is said."""
        return LEVELS.index(level) >= self._least

    def line(self, text: str = "", *, stage: str = "", event: str = "message", **more: Any) -> None:
        """One line."""
        self._say("info", event, stage, text, more)

    def detail(self, text: str, *, stage: str = "", **more: Any) -> None:
        """A line for those who want to know all."""
        self._say("detail", "detail", stage, text, more)

    def warn(self, text: str) -> None:
        """A line that is said even when quiet."""
        self._say("warning", "warning", "", f"warning: {text}", {})

    def error(self, text: str, **more: Any) -> None:
        """Why the command ends otherwise than it should."""
        self._say("error", "failed", "", text, more)

    def results(self, places: Mapping[str, str], seconds: Mapping[str, float]) -> None:
        """Where the result lies, for scripts: people have read it in the summary."""
        if self.json:
            rounded = {stage: round(value, 3) for stage, value in seconds.items()}
            self._say("result", "result", "", "", {"seconds": rounded, **places})
        elif not self.shows("info"):
            for name, place in places.items():
                self._say("result", "result", "", f"{name:<9} {place}", {})

    def begin(self, stage: str) -> None:
        """Say that a stage runs; on a terminal its line is replaced when it ends."""
        self._said = time.monotonic()
        if self.json:
            self._say("info", "started", stage, "", {})
        elif sys.stdout.isatty():
            self._in_place(f"{named(stage)} …")

    def progress(self, stage: str, progress: Progress) -> None:
        """How far a stage is: in its line on a terminal, elsewhere a line now and then."""
        in_place = sys.stdout.isatty() and not self.json
        now = time.monotonic()
        if now - self._said < (TERMINAL if in_place else ELSEWHERE):
            return
        self._said = now
        if in_place:
            self._in_place(f"{named(stage)} {progress}")
        else:
            self._say(
                "info", "progress", stage, f"{named(stage)} … {progress}", progress.fields(), False
            )

    @contextmanager
    def watching(self, stage: str, now: Callable[[], Progress | None]) -> Iterator[None]:
        """Say the progress while something runs that does not come back to say it."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(TERMINAL):
                with suppress(Exception):  # no word on progress is worth a failure
                    found = now()
                    if found is not None and not over.is_set():
                        self.progress(stage, found)

        if not self.shows("info"):
            yield
            return
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(5)  # it ends with its last question, unless Spark never answers

    def stage(
        self, stage: str, summary: str, seconds: float | None, event: str = "done", **more: Any
    ) -> None:
        """The line of a stage that ended."""
        clock = "" if seconds is None else f"{seconds:.1f} s"
        if seconds is not None:
            more = {"seconds": round(seconds, 3), **more}
        text = f"{named(stage)} {summary:<58} {clock:>9}"
        self._say("info", event, stage, text, {"summary": summary, **more}, False)

    def broken(self, stage: str, seconds: float) -> None:
        """Say that a stage ended before it was done; why is said when the command ends."""
        self.clear()
        if self.json:
            self._say("info", "broken", stage, "", {"seconds": round(seconds, 3)})

    def clear(self) -> None:
        """Take back what is shown in place."""
        with self._lock:
            if self._open:
                print("\r\033[K", end="", flush=True)
                self._open = False

    def _in_place(self, text: str) -> None:
        if self.shows("info"):
            with self._lock:
                width = shutil.get_terminal_size().columns - 1  # a line that wraps would stay
                print(f"\r\033[K{text[:width]}", end="", flush=True)
                self._open = True

    def _say(
        self,
        level: str,
        event: str,
        stage: str,
        text: str,
        fields: Mapping[str, Any],
        told: bool = True,
    ) -> None:
        """One line; in JSON the text only where it is `told`, not made of the fields."""
        if not self.shows(level):
            return
        with self._lock:
            self.clear()
            if not self.json:
                print(text, flush=True)
                return
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            entry = {"time": when, "level": level, "stage": stage, "event": event}
            if told and text.strip():
                entry["text"] = text.strip()
            if len(entry) > 4 or fields or event != "message":  # an empty line says nothing
                print(json.dumps(entry | dict(fields), default=str), flush=True)
