"""Spark's daemon of Python workers, with what workers import: for jobs on one machine.

PySpark forks its workers from a daemon that has imported little, so that each of them imports
pandas, torch and this project anew, which takes seconds. Workers of this one have all of it from
their beginning. spark-submit.sh names it to Spark (spark.python.daemon.module).

A `fork_server` that has imported it all already takes the daemon's place, where there is one. This
module itself imports nothing but the standard library before it has asked for that.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jobs.runtime import fork_server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    """Serve workers until Spark ends, in a process forked from the server or in this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches Java, which ends this process
    if not fork_server.has_served():
        import_modules()
        serve()


def import_modules() -> None:
    """Import what workers need.

    Importing starts no thread but one of jemalloc, which goes on in a forked process.
    """
    with _stdout_apart():
        for module in ("pyspark.worker", "pyspark.daemon", *fork_server.modules()):
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


def begin(spark: SparkSession) -> None:
    """Let Spark start the daemon now, while the driver prepares its first query."""
    threading.Thread(target=_run_a_worker, args=(spark,), daemon=True).start()


def _run_a_worker(spark: SparkSession) -> None:
    # By a query, since Spark keeps other daemons for other kinds of tasks.
    with contextlib.suppress(Exception):  # the first query of the job will say what is wrong
        spark.range(1, numPartitions=1).mapInArrow(_same, "id bigint").collect()


def _same(batches: Iterator[Any]) -> Iterator[Any]:
    """Stand for work."""
    return batches


if __name__ == "__main__":
    main()
