"""Spark's daemon of Python workers, with what workers import: for jobs on one machine.

PySpark forks its workers from a daemon that has imported little, so that each of them imports
pandas, torch and this project anew, which takes seconds. Workers of this one have all of it from
their beginning. spark-submit.sh names it to Spark (spark.python.daemon.module).

A process of the `fork_server`, which has imported it all already, takes this one's place where it
can. This module itself imports nothing but the standard library before it has asked for that.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jobs.runtime import fork_server, workers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    """Serve workers until Spark ends, in a process forked from the server or in this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the job ends Java, and Java this
    if not fork_server.has_served():
        workers.import_modules()
        workers.serve()


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
