"""Reads tables by a reader that is not Spark, as a program of its own: see test_readers.py.

    python tests/support/foreign_readers.py READER WAREHOUSE TARGET TABLE...

It imports nothing of the project, nor torch and pyspark: a child starts in a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

LAST = "all.json"


def read_by_deltalake(path: Path) -> pa.Table:
    from deltalake import DeltaTable

    return DeltaTable(path).to_pyarrow_table()


def read_by_duckdb(path: Path) -> pa.Table:
    import duckdb
    import duckdb_extensions

    duckdb_extensions.import_extension("delta")  # from the package: nothing is downloaded
    connection = duckdb.connect()
    connection.execute("LOAD delta")
    connection.execute("SET TimeZone = 'UTC'")
    return connection.execute("SELECT * FROM delta_scan(?)", [str(path)]).to_arrow_table()


def read_by_polars(path: Path) -> pa.Table:
    import polars

    return polars.read_delta(str(path)).to_arrow()


def protocol(path: Path) -> dict[str, Any]:
    """What a reader must know, as deltalake sees it."""
    from deltalake import DeltaTable

    table = DeltaTable(path)
    found = table.protocol()
    return {
        "versions": [found.min_reader_version, found.min_writer_version],
        "features": [*(found.reader_features or ()), *(found.writer_features or ())],
        "properties": table.metadata().configuration,
    }


READERS = {"deltalake": read_by_deltalake, "duckdb": read_by_duckdb, "polars": read_by_polars}


def main(reader: str, warehouse: Path, target: Path, tables: list[str]) -> None:
    """Read every table and write it as an Arrow file; the last file holds the protocols."""
    for name in tables:
        table = READERS[reader](warehouse / name)
        with pa.ipc.new_file(str(target / f"{name}.arrow"), table.schema) as writer:
            writer.write_table(table)
    protocols = {name: protocol(warehouse / name) for name in tables}
    (target / LAST).write_text(json.dumps(protocols))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
