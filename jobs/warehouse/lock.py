"""The lock of a warehouse in a mounted folder: one run writes to it at a time.

It is taken before Spark starts, so that a second run is refused at once. Other warehouses are
reached by Spark alone, and held by a lease (lease.py) once it has started.
"""

from __future__ import annotations

import fcntl
import os
import socket
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
        handle = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as refused:
        raise JobError(f"--warehouse {root}: cannot be written: {refused}") from refused
    with handle:
        _hold(handle, folder)
        yield


def _hold(handle: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        handle.seek(0)
        holder = handle.read().strip() or "another run"
        raise JobError(f"{folder} is in use by {holder}: wait for it, or end it") from held
    handle.seek(0)
    handle.truncate()
    handle.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%H:%M:%S}")
    handle.flush()
