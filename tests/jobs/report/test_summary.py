"""Rejects by their code, with examples."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa

from jobs.report import summary


def test_rejects_by_code_have_examples(tmp_path: Path) -> None:
    rows = [
        {"stage": "ingest", "error_code": code, "path": f"/{n}", "image_id": None}
        | {"error_message": f"message {n}"}
        for n, code in enumerate(["empty"] + 5 * ["truncated"])
    ]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    deltalake.write_deltalake(str(tmp_path / "t"), pa.Table.from_pylist(rows, schema))
    query = deltalake.QueryBuilder().register("rows", deltalake.DeltaTable(str(tmp_path / "t")))
    codes = summary.rejects(pa.table(query.execute(summary.CODES).read_all()).to_pylist())
    assert [(row["code"], row["files"]) for row in codes] == [("truncated", 5), ("empty", 1)]
    assert [example["example"] for example in codes[0]["examples"]] == ["/1", "/2", "/3"]
    assert codes[0]["message"] == "message 1"
