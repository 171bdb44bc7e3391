"""The lock of a warehouse in a mounted folder: one run writes to it at a time.

It is taken before Spark starts, so that a second run is refused at once. Other warehouses are
reached by Spark alone, and held by a lease (lease.py) once it has started.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from jobs import paths
from jobs.errors import JobError


@contextmanager
def lock(root: str) -> Iterator[None]:
    """Hold a warehouse in a mounted folder alone; two JVMs can both win a Delta commit there.

    Raises JobError that names the holder. Does nothing for other warehouses: `Store.lease`.
    """
    if not paths.is_mounted(root):
        yield
        return
    folder = paths.mounted(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open(folder / ".lock")
    except OSError as refused:
        raise JobError(f"--warehouse {root}: cannot be written: {refused}") from refused
    with os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace") as handle:
        _hold(handle, folder)
        yield


def _open(file: Path) -> int:
    """Open the lock's file, and no other one: it is about to be emptied and written.

    Raises JobError if there is something else, such as a link to a file that somebody needs.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o666)
    except OSError as refused:
        if refused.errno == errno.ELOOP:
            raise _not_ours(file) from refused
        raise
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        os.close(descriptor)
        raise _not_ours(file)
    return descriptor


def _not_ours(file: Path) -> JobError:
    return JobError(
        f"{file} is a link, or no regular file, and no run made it: find out who did, and remove it"
    )


def _hold(handle: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        handle.seek(0)
        holder = handle.read().strip() or "another run"
        raise JobError(f"{folder} is in use by {holder}: wait for it, or end it") from held
    except OSError as refused:
        raise JobError(
            f"{folder}: its file system cannot lock files ({refused.strerror}): mount it with "
            "locks, or put the warehouse elsewhere"
        ) from refused
    handle.seek(0)
    handle.truncate()
    handle.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%H:%M:%S}")
    handle.flush()
