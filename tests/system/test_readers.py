"""Every table as deltalake, DuckDB and Polars read it, beside what Spark reads.

They read in a child process (support/foreign_readers.py): deltalake sometimes aborts when its
interpreter ends. So a child's outcome is what it has written by then, and its last file says that
it was all; only an end by a signal *after* that file is let pass. A failure to read leaves no last
file, or ends by an exception: both are seen.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.runtime.run import Run
from jobs.warehouse import tables as declared
from jobs.warehouse.store import Store, open_store
from tests.support.folders import ROOT
from tests.support.foreign_readers import LAST, READERS
from tests.support.pictures import encoded, picture
from tests.support.session import Runner
from tests.support.tables import WRITTEN

pytestmark = pytest.mark.whole

CHILD = str(ROOT / "tests/support/foreign_readers.py")


def read_elsewhere(
    reader: str, warehouse: str, target: Path
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """The tables and protocols as a child process of its own reads them."""
    arguments = [sys.executable, CHILD, reader, warehouse, str(target), *sorted(WRITTEN)]
    done = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    said = f"{reader} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    assert (target / LAST).exists(), said
    assert done.returncode <= 0, said
    if done.returncode:
        print(f"after all was read, {said}")
    tables = {
        name: pa.ipc.open_file(pa.OSFile(str(target / f"{name}.arrow"))).read_all()
        for name in WRITTEN
    }
    return tables, json.loads((target / LAST).read_text())


def plain(value: Any) -> Any:
    """One form for values that readers give in different forms: maps, instants, NaN."""
    match value:
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case datetime():
            return value.astimezone(UTC).isoformat()
        case float() if math.isnan(value):
            return "NaN"
        case bytearray() | memoryview():
            return bytes(value)
        case list() if value and all(_is_entry(part) for part in value):
            return sorted(repr(plain(_entry(part))) for part in value)
        case list() | tuple():
            return [plain(part) for part in value]
        case _:
            return value


def _is_entry(part: Any) -> bool:
    """Arrow's maps are lists of pairs, Polars' lists of structs of key and value."""
    return isinstance(part, tuple) or (isinstance(part, dict) and part.keys() == {"key", "value"})


def _entry(part: Any) -> list[Any]:
    return [part["key"], part["value"]] if isinstance(part, dict) else list(part)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """All rows in one order, all columns in one order."""
    names = sorted(table.column_names)
    found = [{name: plain(row[name]) for name in names} for row in table.to_pylist()]
    return sorted(found, key=repr)


def assert_read_alike(warehouse: Store, reader: str, target: Path) -> None:
    """Rows, columns and values are those that Spark reads, and no table needs a special reader."""
    tables, protocols = read_elsewhere(reader, warehouse.root, target)
    assert tables.keys() == protocols.keys() == WRITTEN
    for name, table in tables.items():
        expected = warehouse.read(name).toArrow()
        assert expected.num_rows > 0, f"{name} is empty: the comparison would show nothing"
        assert table.column_names == expected.column_names, name
        assert rows(table) == rows(expected), name
        found = protocols[name]
        assert found["versions"] == [1, 2], name
        assert found["features"] == [], name
        assert found["properties"].get("delta.enableDeletionVectors", "false") == "false", name
        assert found["properties"].get("delta.columnMapping.mode", "none") == "none", name


@pytest.mark.spark
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gives_the_same_values_for_every_table(
    spark: SparkSession,
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    reader: str,
    tmp_path: Path,
) -> None:
    warehouse = undisturbed[0]
    if reader == "polars":  # it reads no Delta table below a path with a space (polars#20944)
        warehouse = shutil.copytree(warehouse, tmp_path / "warehouse")
    assert_read_alike(open_store(spark, str(warehouse)), reader, tmp_path)


WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901)
NESTED = T.StructType(
    [
        T.StructField("a b", T.IntegerType()),
        T.StructField("A B", T.DecimalType(8, 2)),
        T.StructField("seen", T.ArrayType(T.TimestampNTZType())),
        T.StructField("tags", T.MapType(T.StringType(), T.ArrayType(T.ByteType()))),
        T.StructField("inner", T.StructType([T.StructField("x=y", T.DateType())])),
    ]
)
# The caller's column, its type, a value, and what the warehouse has: name, type, value.
# fmt: off
ODD: list[tuple[str, T.DataType, Any, str, str, Any]] = [
    ("ground sample (m)", T.DoubleType(), 0.5, "source_ground_sample__m_", "double", 0.5),
    ("a,b;c{d}=e\tf\ng", T.LongType(), 7, "source_a_b_c_d__e_f_g", "bigint", 7),
    ("score", T.LongType(), 3, "source_score", "bigint", 3),
    ("Score", T.StringType(), "three", "source_Score_2", "string", "three"),
    ("label", T.StringType(), "mine", "source_label", "string", "mine"),
    ("source_label", T.StringType(), "too", "source_source_label", "string", "too"),
    ("Weight", T.FloatType(), math.nan, "source_Weight", "float", math.nan),
    ("content", T.StringType(), "c", "source_content", "string", "c"),
    ("hash", T.StringType(), "h", "hash", "string", "h"),
    ("usable", T.BooleanType(), True, "usable", "boolean", True),
    ("place", T.StringType(), "here", "place", "string", "here"),
    ("removed", T.BooleanType(), False, "removed", "boolean", False),
    ("model_id", T.StringType(), "m", "model_id", "string", "m"),
    ("dotted.name", T.ShortType(), 5, "source_dotted_name", "smallint", 5),
    ("back`tick", T.ByteType(), 6, "source_back_tick", "tinyint", 6),
    ("ünï图", T.StringType(), "図", "ünï图", "string", "図"),
    ("_hidden", T.BinaryType(), b"\0\xff", "_hidden", "binary", b"\0\xff"),
    ("taken", T.TimestampNTZType(), WHEN, "taken", "timestamp", WHEN.replace(tzinfo=UTC)),
    ("sent", T.TimestampType(), WHEN.replace(tzinfo=UTC), "sent", "timestamp",
     WHEN.replace(tzinfo=UTC)),
    ("day", T.DateType(), date(1969, 7, 20), "day", "date", date(1969, 7, 20)),
    ("price", T.DecimalType(20, 3), Decimal("12345678901234567.125"), "price", "decimal(20,3)",
     Decimal("12345678901234567.125")),
    ("took", T.DayTimeIntervalType(), timedelta(hours=1), "took", "string",
     "INTERVAL '0 01:00:00' DAY TO SECOND"),
    ("counts", T.MapType(T.StringType(), T.IntegerType()), {"a": 1, "b": None}, "counts",
     "map<string,int>", {"a": 1, "b": None}),
    ("names", T.ArrayType(T.StringType()), ["x", None], "names", "array<string>", ["x", None]),
    ("nested", NESTED, (1, Decimal("2.50"), [WHEN, None], {"t": [1]}, (date(2026, 1, 1),)),
     "nested",
     "struct<source_a_b:int,source_A_B_2:decimal(8,2),seen:array<timestamp>,"
     "tags:map<string,array<tinyint>>,inner:struct<source_x_y:date>>",
     {"source_a_b": 1, "source_A_B_2": Decimal("2.50"), "seen": [WHEN.replace(tzinfo=UTC), None],
      "tags": {"t": [1]}, "inner": {"source_x_y": date(2026, 1, 1)}}),
]
# fmt: on
JSON = {"note": '{"a":[1,null]}', "notes": '[{"b":2}]'}  # columns of variant, and of an array of it
SOURCE = (
    "ingest.source=parquet",
    "ingest.image_column=picture",
    "ingest.label_column=class",
    "ingest.id_column=key",
)


def write_odd_table(spark: SparkSession, path: Path) -> None:
    """Twelve pictures: the first of each class has a value in every column, the others have none.

    One id comes twice, so that the choice between two rows meets the callers' columns as well.
    """
    ours = [
        T.StructField("key", T.StringType()),
        T.StructField("class", T.StringType()),
        T.StructField("picture", T.BinaryType()),
    ]
    schema = T.StructType([*ours, *(T.StructField(name, kind) for name, kind, *_ in ODD)])
    data = []
    for number in range(12):
        content = encoded(Image.fromarray(picture(number - (number % 3 == 2))), "PNG")
        values = [value if number % 6 == 0 else None for _, _, value, *_ in ODD]
        data.append((f"id {number:02}", "ab"[number // 6], content, *values))
    data.append(("id 11", "b", b"no picture", *[None for _ in ODD]))
    frame = spark.createDataFrame(data, schema).withColumns(
        {
            "note": F.parse_json(F.lit(JSON["note"])),
            "notes": F.array(F.parse_json(F.lit('{"b":2}'))),
            "nothing": F.lit(None),
        }
    )
    frame.coalesce(1).write.parquet(str(path))


@pytest.fixture(scope="module")
def odd(spark: SparkSession, run_pipeline: Runner, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("odd")
    write_odd_table(spark, folder / "table")
    return run_pipeline(folder / "table", folder / "warehouse", *SOURCE, "train.epochs=1")


@pytest.mark.spark
@pytest.mark.parametrize("table", ["images", "curated"])
def test_callers_columns_arrive(odd: Run, table: str) -> None:
    frame = odd.warehouse.read(table)
    own = {name: kind for _, _, _, name, kind, _ in ODD} | dict.fromkeys(JSON, "string")
    names = declared.TABLES[table].schema.names
    found = {field.name: field.dataType.simpleString() for field in frame.schema}
    assert {name: found[name] for name in found if name not in names} == own
    assert "nothing" not in {name.lower() for name in found}
    for row in rows(frame.where("image_id = 'id 00'").toArrow()):
        for _, _, _, name, _, value in ODD:
            wanted = list(value.items()) if name == "counts" else value
            if name == "nested":
                wanted = value | {"tags": list(value["tags"].items())}
            assert row[name] == plain(wanted), name
        assert {name: row[name] for name in JSON} == JSON
    assert frame.where("image_id = 'id 00'").count() == 1


@pytest.mark.spark
def test_renamed_columns_are_kept_on_record(odd: Run) -> None:
    commit = odd.warehouse.newest("images", "ingest")
    assert commit is not None
    assert commit.metadata["renamed"] == {old: new for old, _, _, new, _, _ in ODD if old != new}


@pytest.mark.spark
def test_the_readable_one_of_two_rows_with_the_same_id_is_kept(odd: Run) -> None:
    rejects = odd.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("id 11", "duplicate_id")]
    assert odd.warehouse.read("images").count() == 12


@pytest.mark.spark
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gives_the_same_values_for_the_callers_columns(
    odd: Run, reader: str, tmp_path: Path
) -> None:
    assert_read_alike(odd.warehouse, reader, tmp_path)
