"""What Python workers are forked from: a process that has imported what they need, and serves them.

`worker_daemon` and `fork_server` use these functions.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from types import SimpleNamespace

MODULES = "LATENT_DEDUP_WORKER_MODULES"  # the environment variable with the names of modules


def import_modules() -> None:
    """Import what workers need.

    Importing starts no thread but one of jemalloc, which goes on in a forked process.
    """
    with _stdout_apart():
        for module in ("pyspark.worker", "pyspark.daemon", *os.environ.get(MODULES, "").split()):
            with contextlib.suppress(Exception):  # the worker that needs it will say what is wrong
                importlib.import_module(module)
    gc.collect()
    gc.freeze()  # see `arrow_frames.keep_modules`


def serve() -> None:
    """Fork a worker for each connection of Spark, until Spark closes stdin."""
    from pyspark import daemon

    said = SimpleNamespace(print_exc=_print_exception, format_exc=traceback.format_exc)
    daemon.traceback = said  # type: ignore[assignment, attr-defined]
    daemon.manager()


@contextlib.contextmanager
def _stdout_apart() -> Iterator[None]:
    """Let what is printed go to stderr: on stdout Spark awaits the address of the daemon."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _print_exception() -> None:
    """Print the exception of a worker, unless it is that Spark gave up the task or has ended."""
    if not isinstance(sys.exc_info()[1], BrokenPipeError | EOFError):
        traceback.print_exc()
