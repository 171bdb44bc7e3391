"""The table `runs`: one row a run and stage, written beside the work by a thread of its own.

Nobody waits for a row. Their order is kept, and `close` (or `settle`) returns when they are all in
the table.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import Store, open_store

DIED = "ended without a word: killed, or its machine lost"


class RunLog:
    """The rows of one run, and what earlier runs left in the table."""

    def __init__(self, warehouse: Store, run_id: str) -> None:
        # One of its own: what a warehouse remembers of its tables is for one thread.
        self._warehouse = open_store(warehouse.spark, warehouse.root)
        self._run_id = run_id
        self._rows: dict[str, dict[str, Any]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run_log")
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

    def last(self) -> dict[str, tuple[str, dict[str, int]]]:
        """Of each stage: its last state but `skipped`, and the versions its last `done` names."""
        found: dict[str, tuple[str, dict[str, int]]] = {}
        for row in sorted(self._warehouse.query("runs"), key=lambda row: row["started"]):
            if row["state"] != "skipped":
                said = dict(found.get(row["stage"], ("", {}))[1])
                if row["state"] == "done":
                    said = dict(row["versions_written"] or {})
                found[row["stage"]] = row["state"], said
        return found

    def _write(self, rows: list[dict[str, Any]], replace: bool) -> None:
        """The rows of a run are one partition: it is replaced without a look inside."""
        commit = CommitInfo(self._run_id, "runs", "")
        where = f"run_id = '{self._run_id}'" if replace else None
        table = tables.rows("runs", rows)
        self._warehouse.write(table, "runs", commit, append=not replace, where=where)
