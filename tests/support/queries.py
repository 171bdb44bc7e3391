"""Rows through one of the report's SQL queries, without Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa


def query_rows(folder: Path, sql: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The result of one of the report's queries on these rows."""
    deltalake.write_deltalake(str(folder / "t"), pa.Table.from_pylist(rows))
    query = deltalake.QueryBuilder().register("rows", deltalake.DeltaTable(str(folder / "t")))
    return [dict(row) for row in pa.table(query.execute(sql).read_all()).to_pylist()]
