"""Processes of a run that was started in a process session of its own."""

from __future__ import annotations

import time
from pathlib import Path


def in_session(session: int) -> dict[int, list[str]]:
    """Return the command lines of a session's living processes, by pid."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:  # it ended while we looked
            continue
        if int(its) == session and state not in "ZX":
            found[int(folder.name)] = words
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_text(errors="surrogateescape").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def wait_until_gone(session: int, seconds: float = 60) -> None:
    """Wait until no process of a session is left; none is ended here."""
    end = time.monotonic() + seconds
    while left := in_session(session):
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.1)
