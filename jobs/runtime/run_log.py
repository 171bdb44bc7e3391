"""Write the table `runs`, which has one row for each stage of each run.

A thread of its own writes the rows, so that no stage waits for them. Rows that come while it writes
go into one commit, the next: in an object store a commit takes seconds, more than some stages.
`settle` and `close` return when all rows are in the table.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import Store

DIED = "ended without a word: killed, or its machine lost"  # message of a run that died


@dataclass(frozen=True)
class LastRow:
    """A stage's last state, and the versions of tables in its last row with the state `done`."""

    state: str = ""
    written: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)


class RunLog:
    """Writes the rows of one run, and reads those of earlier runs."""

    def __init__(self, warehouse: Store, run_id: str) -> None:
        # The thread needs a store of its own, since a store's cache of tables is for one thread.
        self._warehouse = warehouse.another()
        self._run_id = run_id
        self._rows: dict[str, dict[str, Any]] = {}
        self._unwritten: set[str] = set()  # stages
        self._written: set[str] = set()
        self._access = threading.Lock()  # to these three
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run_log")
        self._pending: list[Future[None]] = []

    def record(self, row: dict[str, Any]) -> None:
        """Write a stage's row, which replaces an earlier one of the same stage and run."""
        with self._access:
            self._rows[row["stage"]] = row
            self._unwritten.add(row["stage"])
        self._pending.append(self._thread.submit(self._write_rows))

    def settle(self) -> None:
        """Wait until every row is in the table. Raises the error of the first that failed."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Wait until every row is in the table, and end the thread."""
        try:
            self.settle()
        finally:
            self._thread.shutdown()

    def close_stale(self) -> None:
        """Turn `started` rows of runs that died into `failed` ones."""
        rows = self._warehouse.query("runs")
        dead = {row["run_id"] for row in rows if row["state"] == "started"}
        if not dead:
            return
        ended = [
            row | {"state": "failed", "message": DIED} if row["state"] == "started" else row
            for row in rows
            if row["run_id"] in dead
        ]
        named = ", ".join(f"'{run_id}'" for run_id in sorted(dead))
        commit = CommitInfo(self._run_id, "runs", "")
        where = f"run_id IN ({named})"
        self._warehouse.write(tables.rows("runs", ended), "runs", commit, where=where)

    def last(self) -> dict[str, LastRow]:
        """Return each stage's last state other than `skipped`, and what it read and wrote."""
        stages: dict[str, LastRow] = {}
        for row in sorted(self._warehouse.query("runs"), key=lambda row: row["started"]):
            if row["state"] == "skipped":
                continue
            last = replace(stages.get(row["stage"], LastRow()), state=row["state"])
            if row["state"] == "done":
                versions = (dict(row[f"versions_{done}"] or {}) for done in ("written", "read"))
                last = LastRow("done", *versions)
            stages[row["stage"]] = last
        return stages

    def _write_rows(self) -> None:
        """Append new rows, or replace the run's rows: a partition, so no file is read."""
        with self._access:
            replace = bool(self._unwritten & self._written)
            rows = [row for stage, row in self._rows.items() if replace or stage in self._unwritten]
            self._written |= self._unwritten
            self._unwritten = set()
        if not rows:
            return  # an earlier call wrote them
        commit = CommitInfo(self._run_id, "runs", "")
        where = f"run_id = '{self._run_id}'" if replace else None
        table = tables.rows("runs", rows)
        self._warehouse.write(table, "runs", commit, append=not replace, where=where)
