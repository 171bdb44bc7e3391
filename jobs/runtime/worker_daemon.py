"""Spark's daemon of Python workers, with what workers import: for jobs on one machine.

PySpark forks its workers from a daemon that has imported little, so that each of them imports
pandas, torch and this project anew, which takes seconds. Workers of this one have all of it from
their beginning. spark-submit.sh names it to Spark (spark.python.daemon.module). A job calls `name`
before Spark starts, and `begin` when it has.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from pyspark import daemon
from pyspark.sql import SparkSession

MODULES = "LATENT_DEDUP_WORKER_MODULES"  # the environment variable with the names of modules


def main() -> None:
    """Import the modules and serve workers until Spark ends.

    Importing starts no thread but one of jemalloc, which goes on in a forked process.
    """
    with _stdout_apart():
        for module in ("pyspark.worker", *os.environ.get(MODULES, "").split()):
            with contextlib.suppress(Exception):  # the worker that needs it will say what is wrong
                importlib.import_module(module)
    gc.collect()
    gc.freeze()  # see `arrow_frames.keep_modules`
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


def name(modules: Iterable[str]) -> None:
    """Tell the daemon of a Spark that is started after this what to import."""
    os.environ[MODULES] = " ".join(dict.fromkeys(modules))


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
