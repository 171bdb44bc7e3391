"""The table `runs`: one row a run and stage, written beside the work by a thread of its own.

A row costs a commit, which costs a second or two whatever is in it; nobody waits for that. The
order of the rows is kept, and `close` (or `settle`) returns when they are all in the table.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.common import schemas
from jobs.common.storage import Stamp, Warehouse

# For one row at a time: what Spark would compile runs once.
SMALL = {"spark.sql.codegen.factoryMode": "NO_CODEGEN", "spark.sql.shuffle.partitions": "1"}


class Ledger:
    """The rows of one run, and what earlier runs left in the table."""

    def __init__(self, spark: SparkSession, root: str, run_id: str) -> None:
        # A session of its own: Delta leaves the version of the last commit in the session's
        # settings, where two threads would take each other's.
        self._spark = spark.newSession()
        for name, value in SMALL.items():
            self._spark.conf.set(name, value)
        self._warehouse = Warehouse(self._spark, root)
        self._run_id = run_id
        self._rows: dict[str, dict[str, Any]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._pending: list[Future[None]] = []

    def record(self, row: dict[str, Any]) -> None:
        """Put a stage's row down; a row of the same stage and run is replaced."""
        known = row["stage"] in self._rows
        self._rows[row["stage"]] = row
        rows = list(self._rows.values()) if known else [row]
        self._pending.append(self._thread.submit(self._write, rows, known))

    def settle(self) -> None:
        """Wait until every row is in the table; raises what went wrong with the first lost."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Settle, and end the thread."""
        try:
            self.settle()
        finally:
            self._thread.shutdown()

    def close_stale(self) -> None:
        """Turn `started` rows of runs that died into `failed` ones."""
        if not self._warehouse.exists("runs"):
            return
        stale = self._warehouse.read("runs").where("state = 'started'")
        dead = [row.run_id for row in stale.select("run_id").distinct().collect()]
        if not dead:
            return
        died = F.col("state") == "started"
        message = F.lit("ended without a word: killed, or its machine lost")
        where = F.col("run_id").isin(dead)
        rows = self._warehouse.read("runs").where(where)
        rows = rows.withColumns(
            {
                "state": F.when(died, F.lit("failed")).otherwise(F.col("state")),
                "message": F.when(died, message).otherwise(F.col("message")),
            }
        )
        named = ", ".join(f"'{run_id}'" for run_id in dead)
        stamp = Stamp(self._run_id, "runs", "")
        self._warehouse.write(rows.coalesce(1), "runs", stamp, where=f"run_id IN ({named})")

    def last(self) -> dict[str, tuple[str, dict[str, int]]]:
        """Of each stage: its last state but `skipped`, and the versions its last `done` names."""
        if not self._warehouse.exists("runs"):
            return {}
        rows = self._warehouse.read("runs").where("state != 'skipped'")
        done = F.col("state") == "done"
        last = rows.groupBy("stage").agg(
            F.max_by("state", "started").alias("state"),
            F.max_by(F.when(done, F.col("versions_written")), F.when(done, F.col("started"))).alias(
                "written"
            ),
        )
        return {row.stage: (row.state, row.written or {}) for row in last.collect()}

    def _write(self, rows: list[dict[str, Any]], replace: bool) -> None:
        """The rows of a run are one partition: it is replaced without a look inside."""
        frame = self._spark.createDataFrame(rows, schemas.TABLES["runs"].schema).coalesce(1)
        stamp = Stamp(self._run_id, "runs", "")
        where = f"run_id = '{self._run_id}'" if replace else None
        self._warehouse.write(frame, "runs", stamp, append=not replace, where=where)
