"""The console: everything that a command tells its user, printed on stdout.

Use it instead of `print` in jobs. Each message is one line of text or, with `--log-format json`,
one JSON object. Progress is shown in a live line on a terminal and by a line every 15 seconds
elsewhere. Levels and formats are those of `logging`, the live line is one of `rich`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from jobs.runtime.progress import Progress
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted
from jobs.settings.terminal import visible, visible_name

if TYPE_CHECKING:
    from rich.live import Live

TERMINAL = 0.5  # seconds between two updates of the live line
ELSEWHERE = 15.0  # seconds between two lines of progress in a file, which keeps them all
STAGE_WIDTH = len("similarities")  # the longest name of a stage
SUMMARY_WIDTH = 58  # of a stage's line; the seconds follow
CLOCK_WIDTH = 9
LISTED = 4  # items of a list that are named in a message
LEVELS = {
    "detail": logging.DEBUG,
    "info": logging.INFO,
    "result": logging.INFO + 5,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
LEVEL_NAMES = {number: name for name, number in LEVELS.items()}
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}  # on a terminal, unless NO_COLOR is set

_LOCK = threading.RLock()  # of stdout, which all consoles share; progress comes from a thread


def abbreviated(items: Sequence[str]) -> str:
    """Return the first items of a list, and how many more there are."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(map(visible_name, items[:LISTED])) + more


def percentage(share: float, digits: int = 0) -> str:
    """Return a share in percent; 100 % only where it is all, and 0 % only where it is none.

    share: 0 to 1. digits: behind the point.
    """
    text, smallest = f"{share:.{digits}%}", 10.0**-digits
    if share < 1 and text == f"{1:.{digits}%}":
        return f">{100 - smallest:.{digits}f}%"
    if share > 0 and text == f"{0:.{digits}%}":
        return f"<{smallest:.{digits}f}%"
    return text


def stage_column(stage: str) -> str:
    """Return the beginning of a stage's line, padded so that what follows forms one column."""
    return f"  {stage:<{STAGE_WIDTH}}"


class Console:
    """Messages to the user: `quiet` leaves results, warnings and errors, `verbose` adds details.

    Messages may come from several threads at once.
    """

    def __init__(
        self, quiet: bool = False, *, verbose: bool = False, log_format: str = "text"
    ) -> None:
        self.json = log_format == "json"
        # The logger is not registered with `logging.getLogger`: it has no parent, so other
        # libraries' handlers do not print our lines again, and no two consoles share handlers.
        least = "result" if quiet else "detail" if verbose else "info"
        self._logger = logging.Logger("latent_dedup", LEVELS[least])
        handler = _StdoutHandler()
        if self.json:
            handler.setFormatter(_JsonFormatter())
        self._logger.addHandler(handler)
        self._last_progress = time.monotonic()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the console that the command line asks for."""
        return cls(settings.quiet, verbose=settings.verbose, log_format=settings.log_format)

    def shows(self, level: str) -> bool:
        """Return whether messages of this level, one of `LEVELS`, are printed."""
        return self._logger.isEnabledFor(LEVELS[level])

    def line(self, text: str = "", *, stage: str = "", event: str = "message", **more: Any) -> None:
        """Print a message."""
        self._log("info", event, stage, text, more)

    def detail(self, text: str, *, stage: str = "", **more: Any) -> None:
        """Print a message that is shown only with --verbose."""
        self._log("detail", "detail", stage, text, more)

    def warn(self, text: str) -> None:
        """Print a warning, which --quiet does not suppress."""
        self._log("warning", "warning", "", f"warning: {text}", {})

    def error(self, text: str, **more: Any) -> None:
        """Print why the command fails."""
        self._log("error", "failed", "", text, more)

    def results(self, paths: Mapping[str, str], seconds: Mapping[str, float]) -> None:
        """Print the paths of the results, for scripts: people read them in the summary."""
        if self.json:
            rounded = {stage: round(value, 3) for stage, value in seconds.items()}
            self._log("result", "result", "", "", {"seconds": rounded, **paths})
        elif not self.shows("info"):
            for name, path in paths.items():
                self._log("result", "result", "", f"{name:<9} {path}", {})

    def begin(self, stage: str) -> None:
        """Tell that a stage begins; on a terminal its live line is replaced when it ends."""
        self._last_progress = time.monotonic()
        if self.json:
            self._log("info", "started", stage, "", {})
        elif self._is_live():
            _show_live(f"{stage_column(stage)} …")

    def progress(self, stage: str, progress: Progress) -> None:
        """Show how far a stage is, unless that was shown a moment ago."""
        live = self._is_live()
        now = time.monotonic()
        if now - self._last_progress < (TERMINAL if live else ELSEWHERE):
            return
        self._last_progress = now
        if live:
            _show_live(f"{stage_column(stage)} {progress}")
        else:
            text = "" if self.json else f"{stage_column(stage)} … {progress}"
            self._log("info", "progress", stage, text, progress.fields())

    @contextmanager
    def watching(self, stage: str, current: Callable[[], Progress | None]) -> Iterator[None]:
        """Show the progress that `current` returns, from a thread, while the body runs."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(TERMINAL):
                with suppress(Exception):  # no message on progress is worth a failure
                    progress = current()
                    if progress is not None and not ended.is_set():
                        self.progress(stage, progress)

        if not self.shows("info"):
            yield
            return
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(5)  # it ends with its last question, unless Spark never answers

    def stage(
        self, stage: str, summary: str, seconds: float | None, event: str = "done", **more: Any
    ) -> None:
        """Print the line of a stage that ended."""
        clock = "" if seconds is None else f"{seconds:.1f} s"
        if seconds is not None:
            more = {"seconds": round(seconds, 3), **more}
        shown = visible_name(summary)
        text = f"{stage_column(stage)} {shown:<{_summary_width()}} {clock:>{CLOCK_WIDTH}}"
        fields = {"summary": summary, **more}
        self._log("info", event, stage, "" if self.json else text, fields)

    def broken(self, stage: str, seconds: float) -> None:
        """Tell that a stage failed; the reason follows when the command ends."""
        _clear_live()
        if self.json:
            self._log("info", "broken", stage, "", {"seconds": round(seconds, 3)})

    def _is_live(self) -> bool:
        """Return whether progress is shown in the live line."""
        return not self.json and self.shows("info") and sys.stdout.isatty()

    def _log(
        self, level: str, event: str, stage: str, text: str, fields: Mapping[str, Any]
    ) -> None:
        """Print one message without credentials and control characters.

        In JSON an empty text or line is left out.
        """
        text, more = redacted(text), redacted(dict(fields))
        entry = {"stage": stage, "event": event}
        if text.strip():
            entry["text"] = text.strip()
        if self.json and event == "message" and "text" not in entry and not fields:
            return
        shown = text if self.json else visible(text)
        self._logger.log(LEVELS[level], shown, extra={"entry": entry | more})


class _JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, stage, event, text, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"time": when, "level": LEVEL_NAMES[record.levelno], **vars(record)["entry"]}
        return json.dumps(entry, default=str)


class _StdoutHandler(logging.Handler):
    """Prints records in place of the live line; unlike `logging`'s, it raises what goes wrong."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        with _LOCK:
            _clear_live()
            if sys.stdout.isatty() and not isinstance(self.formatter, _JsonFormatter):
                style = STYLES.get(record.levelno)
                _live_line().console.out(text, style=style, highlight=False)
            else:
                print(text, flush=True)


@cache
def _live_line() -> Live:
    """Return the process's one live line. Importing rich takes 0.1 s: only terminals need it."""
    from rich.console import Console as Terminal
    from rich.live import Live

    return Live(
        console=Terminal(),  # prints on what sys.stdout is at that moment
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _summary_width() -> int:
    """Return how far the summary of a stage is padded, so that the seconds fit the terminal."""
    if not sys.stdout.isatty():
        return SUMMARY_WIDTH
    rest = len(stage_column("")) + CLOCK_WIDTH + 2
    return max(0, min(SUMMARY_WIDTH, _live_line().console.width - rest))


def _show_live(text: str) -> None:
    """Show text in the live line, cut to the terminal's width: a second line would remain."""
    from rich.text import Text

    with _LOCK:
        live = _live_line()
        if not live.is_started:
            live.start()
            live.console.show_cursor(True)  # a killed process would leave it hidden
        live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)


def _clear_live() -> None:
    """Remove the live line, if there is one."""
    with _LOCK:
        if sys.stdout.isatty():
            _live_line().stop()
