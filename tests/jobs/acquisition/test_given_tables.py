"""Tables that other programs wrote become images, or the message says what to change."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import given_tables
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.acquisition import Ingest
from tests.support.pictures import encoded, picture

pytestmark = pytest.mark.spark

COUNT = 4
PARQUET = ("ingest.source=parquet", "ingest.id_column=id")
RunIngest = Callable[..., Run]


def table(**more: Any) -> pa.Table:
    """Images of two classes, with further columns."""
    columns = {
        "image": [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(COUNT)],
        "label": ["a", "b"] * 2,
        "id": [f"i{number}" for number in range(COUNT)],
    }
    return pa.table(columns | more)


def put(folder: Path, rows: pa.Table, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / "p.parquet", **options)
    return folder


def test_types_of_pandas_are_read_or_left_out_with_a_word(
    spark: SparkSession, run_ingest: RunIngest, tmp_path: Path
) -> None:
    stamps = pd.to_datetime(["2024-01-01 10:00:00.123456789"] * COUNT)
    rows = table(
        naive=pa.array(stamps, pa.timestamp("ns")),
        taken=pa.array(stamps.tz_localize("UTC"), pa.timestamp("ns", "UTC")),
        at=pa.array([datetime.time(1, 2, 3)] * COUNT, pa.time64("ns")),
        half=pa.array(np.arange(COUNT, dtype=np.float16)),
        long=pa.array([decimal.Decimal(1)] * COUNT, pa.decimal256(40, 0)),
        kind=pa.array(["x"] * COUNT).dictionary_encode(),
        age=pa.array([datetime.timedelta(hours=1)] * COUNT, pa.duration("us")),
        small=pa.array(range(COUNT), pa.uint16()),
    )
    run = run_ingest(put(tmp_path / "table", rows), *PARQUET)
    read = run.warehouse.read("images")
    assert read.count() == COUNT
    assert {row.kind for row in read.collect()} == {"x"}
    assert not {"at", "half", "long"} & set(read.columns)
    moments = read.selectExpr("date_format(taken, 'SSSSSS') AS t", "string(naive) AS n").collect()
    assert {(row.t, row.n) for row in moments} == {("123456", "2024-01-01 10:00:00.123456")}
    source = str(tmp_path / "table")
    said = "\n".join(given_tables.read(spark, source, Ingest(source="parquet")).notices)
    assert "column 'taken' has nanoseconds, and is carried in microseconds" in said
    for name in ("at", "half", "long"):
        assert f"column {name!r} is " in said


def test_no_reader_sees_other_times(run_ingest: RunIngest, tmp_path: Path) -> None:
    """INT96 would end in the year 2262."""
    far = pa.array([datetime.datetime(9999, 12, 31)] * COUNT, pa.timestamp("us", "UTC"))
    run = run_ingest(put(tmp_path / "table", table(far=far)), *PARQUET)
    for path in Path(run.warehouse.path("images")).rglob("part-*.parquet"):
        schema = pq.ParquetFile(path).schema
        assert "INT96" not in {schema.column(number).physical_type for number in range(len(schema))}


@pytest.mark.parametrize("names", [("001", "002", "010", "1"), ("2024-01-01", "2024-1-1")])
def test_names_of_folders_stay_as_they_are(
    names: tuple[str, ...], run_ingest: RunIngest, tmp_path: Path
) -> None:
    for number, name in enumerate(names):
        rows = table(rank=pa.array([number] * COUNT)).drop_columns("label")
        rows = rows.set_column(
            rows.column_names.index("id"), "id", pa.array([f"{name}-{i}" for i in range(COUNT)])
        )
        put(tmp_path / f"table/label={name}/year=2024", rows)
    run = run_ingest(tmp_path / "table", *PARQUET)
    found = run.warehouse.read("images")
    assert {row.label for row in found.select("label").distinct().collect()} == set(names)
    years = {row.year for row in found.collect()}
    assert years == {2024}, "other columns have the type that Spark gives them"


def test_names_without_folders_are_of_their_class(run_ingest: RunIngest, tmp_path: Path) -> None:
    """As Hugging Face writes them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"bytes": encoded(Image.fromarray(picture(10 * label + number)), "PNG"), "path": name}
        for label in range(3)
        for number, name in enumerate(("0.png", "1.png"))
    ]
    labels = pa.array([label for label in range(3) for _ in range(2)])
    put(tmp_path / "table", pa.table({"image": pa.array(rows, kind), "label": labels}))
    run = run_ingest(tmp_path / "table", "ingest.source=parquet")
    ids = {row.image_id for row in run.warehouse.read("images").collect()}
    assert ids == {f"{label}/{number}.png" for label in range(3) for number in range(2)}


def test_another_kind_of_table_is_recognised(
    spark: SparkSession, run_ingest: RunIngest, tmp_path: Path
) -> None:
    put(tmp_path / "plain", table())
    delta = str(tmp_path / "delta")
    spark.read.parquet(str(tmp_path / "plain")).write.format("delta").save(delta)
    with pytest.raises(JobError, match=r"is a Delta table.*: set ingest.source = delta"):
        given_tables.read(spark, delta, Ingest(source="parquet"))
    with pytest.raises(JobError, match=r"is no Delta table.*: set ingest.source = parquet"):
        given_tables.read(spark, str(tmp_path / "plain"), Ingest(source="delta"))
    with pytest.raises(JobError, match=r"holds a Delta table.* set ingest.source = delta"):
        run_ingest(tmp_path / "delta")
    put(tmp_path / "folders/label=a", table())
    with pytest.raises(JobError, match=r"holds a Parquet table.* set ingest.source = parquet"):
        run_ingest(tmp_path / "folders")


def test_a_codec_that_spark_lacks_is_named(spark: SparkSession, tmp_path: Path) -> None:
    put(tmp_path / "table", table(), compression="brotli")
    with pytest.raises(JobError, match=r"p\.parquet is compressed with brotli.*compression='zstd'"):
        given_tables.read(spark, str(tmp_path / "table"), Ingest(source="parquet"))


# A column of each type that a program writes, beside the images of `table`.
def by_pandas(folder: Path) -> list[str]:
    frame = table().to_pandas()
    stamp = pd.Timestamp("2024-01-01 10:00:00.123456789")
    frame = frame.assign(
        naive=stamp,
        zoned=stamp.tz_localize("Europe/Kyiv"),
        span=pd.Timedelta("1h"),
        day=datetime.date(2024, 1, 1),
        clock=datetime.time(1, 2, 3),
        half=np.float16(0.5),
        tiny=np.int8(1),
        unsigned=np.uint64(2**63),
        missing=pd.array([1, None, 3, 4], dtype="Int64"),
        flag=pd.array([True, None, False, True], dtype="boolean"),
        kind=pd.Categorical(["x", "y", "x", "y"]),
        text=pd.array(["a", None, "c", "d"], dtype="string"),
        listed=[[1, 2]] * COUNT,
        nested=[{"a": 1, "b": "x"}] * COUNT,
        exact=decimal.Decimal("1.25"),
    )
    frame.to_parquet(folder / "p.parquet")
    return list(frame.columns)


def by_polars(folder: Path) -> list[str]:
    frame = pl.from_arrow(table())
    assert isinstance(frame, pl.DataFrame)
    moment = datetime.datetime(2024, 1, 1, 10, 0, 0, 123456)
    frame = frame.with_columns(
        *(
            pl.lit(1).cast(kind).alias(str(kind))
            for kind in (pl.Int8, pl.UInt16, pl.UInt32, pl.UInt64)
        ),
        pl.lit(0.5).cast(pl.Float32).alias("single"),
        pl.lit(1).cast(pl.Decimal(38, 2)).alias("exact"),
        pl.lit(moment.date()).alias("day"),
        pl.lit(moment.time()).alias("clock"),
        *(
            pl.lit(moment).cast(pl.Datetime(unit)).alias(f"at_{unit}")
            for unit in ("ms", "us", "ns")
        ),
        pl.lit(moment).dt.replace_time_zone("Europe/Kyiv").alias("zoned"),
        pl.lit(datetime.timedelta(hours=1)).alias("span"),
        pl.lit("x").cast(pl.Categorical).alias("kind"),
        pl.lit("x").cast(pl.Enum(["x", "y"])).alias("choice"),
        pl.lit([1, 2]).alias("listed"),
        pl.lit([1.0, 2.0]).cast(pl.Array(pl.Float64, 2)).alias("fixed"),
        pl.struct(pl.lit(1).alias("a"), pl.lit("x").alias("b")).alias("nested"),
        pl.lit(None).alias("nothing"),
        pl.lit(b"x").alias("data"),
    )
    frame.write_parquet(folder / "p.parquet")
    return list(frame.columns)


def by_duckdb(folder: Path) -> list[str]:
    put(folder / "rows", table())
    types = {
        "tiny": "1::TINYINT", "unsigned": "1::UBIGINT", "huge": "1::HUGEINT", "single": "1::FLOAT",
        "exact": "1::DECIMAL(38, 2)", "day": "DATE '2024-01-01'", "clock": "TIME '01:02:03'",
        "at": "TIMESTAMP '2024-01-01 10:00:00.123456'", "at_s": "'2024-01-01'::TIMESTAMP_S",
        "at_ms": "'2024-01-01'::TIMESTAMP_MS", "at_ns": "'2024-01-01'::TIMESTAMP_NS",
        "zoned": "'2024-01-01 10:00:00+02'::TIMESTAMPTZ", "span": "INTERVAL 1 HOUR",
        "zoned_clock": "'01:02:03+02'::TIMETZ", "key": "uuid()", "data": "'x'::BLOB",
        "choice": "'x'::ENUM ('x', 'y')", "listed": "[1, 2]", "fixed": "[1.0, 2.0]::DOUBLE[2]",
        "nested": "{'a': 1, 'b': 'x'}", "map": "MAP {'a': 1}", "flag": "true", "bits": "'101'::BIT",
    }  # fmt: skip
    columns = ", ".join(f"{value} AS {name}" for name, value in types.items())
    duckdb.connect().execute(
        f"COPY (SELECT *, {columns} FROM '{folder}/rows/p.parquet') TO '{folder}/p.parquet'"
    )
    (folder / "rows/p.parquet").unlink()
    (folder / "rows").rmdir()
    return [*table().column_names, *types]


def by_arrow(folder: Path) -> list[str]:
    more = {
        "half": pa.array(np.ones(COUNT, np.float16)),
        "tiny": pa.array([1] * COUNT, pa.uint8()),
        "small": pa.array([1] * COUNT, pa.uint32()),
        "unsigned": pa.array([1] * COUNT, pa.uint64()),
        "text": pa.array(["x"] * COUNT, pa.large_string()),
        "view": pa.array(["x"] * COUNT, pa.string_view()),
        "data": pa.array([b"x"] * COUNT, pa.large_binary()),
        "fixed_data": pa.array([b"xy"] * COUNT, pa.binary(2)),
        "fixed": pa.array([[1.0, 2.0]] * COUNT, pa.list_(pa.float32(), 2)),
        "large": pa.array([[1]] * COUNT, pa.large_list(pa.int64())),
        "map": pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int64())),
        "kind": pa.array(["x"] * COUNT).dictionary_encode(),
        "exact": pa.array([decimal.Decimal(1)] * COUNT, pa.decimal128(38, 2)),
        "long": pa.array([decimal.Decimal(1)] * COUNT, pa.decimal256(60, 2)),
        "day": pa.array([19_000] * COUNT, pa.date32()),
        "clock": pa.array([1] * COUNT, pa.time32("ms")),
        "span": pa.array([1] * COUNT, pa.duration("ns")),
        "at_s": pa.array([1] * COUNT, pa.timestamp("s")),
        "at_ns": pa.array([1] * COUNT, pa.timestamp("ns", "UTC")),
        "key": pa.array([bytes(16)] * COUNT, pa.uuid()),
        "nothing": pa.nulls(COUNT),
        "deep": pa.array([{"a": [1]}] * COUNT),
    }
    put(folder, table(**more))
    return list(table(**more).column_names)


def by_hugging_face(folder: Path) -> list[str]:
    """The layout of `datasets`: a struct of bytes and name, and the classes in the metadata."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = table()
    rows = [{"bytes": data, "path": None} for data in plain["image"].to_pylist()]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "boxes": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
    }
    made = pa.table(
        {"image": pa.array(rows, image), "label": [0, 1] * 2, "boxes": [[0.5, 1.0]] * COUNT}
    )
    info = json.dumps({"info": {"features": features}})
    put(folder, made.replace_schema_metadata({"huggingface": info}))
    return list(made.column_names)


def by_delta_rs(folder: Path) -> list[str]:
    rows = table(
        tiny=pa.array([1] * COUNT, pa.int8()),
        exact=pa.array([decimal.Decimal(1)] * COUNT, pa.decimal128(38, 2)),
        day=pa.array([19_000] * COUNT, pa.date32()),
        zoned=pa.array([1] * COUNT, pa.timestamp("us", "UTC")),
        naive=pa.array([1] * COUNT, pa.timestamp("us")),
        listed=[[1]] * COUNT,
        map=pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int64())),
        nested=[{"a": 1}] * COUNT,
    )
    deltalake.write_deltalake(folder.as_uri(), rows)
    return list(rows.column_names)


def by_spark(folder: Path) -> list[str]:
    session = SparkSession.active()
    put(folder.with_name("rows"), table())
    frame = session.read.parquet(str(folder.with_name("rows"))).selectExpr(
        "*",
        "1Y AS tiny",
        "CAST(1 AS DECIMAL(38, 2)) AS exact",
        "DATE '2024-01-01' AS day",
        "TIMESTAMP '2024-01-01 10:00:00' AS at",
        "TIMESTAMP_NTZ '2024-01-01 10:00:00' AS naive",
        "INTERVAL '1' HOUR AS span",
        "INTERVAL '2' YEAR AS years",
        "array(1, 2) AS listed",
        "map('a', 1) AS map",
        "named_struct('a', 1, 'b', 'x') AS nested",
        "CAST(1 AS FLOAT) AS single",
    )
    frame.write.mode("overwrite").parquet(str(folder))
    return list(frame.columns)


WRITERS = [
    *(by_pandas, by_polars, by_duckdb, by_arrow, by_hugging_face, by_spark),
    by_delta_rs,
]


@pytest.mark.parametrize("write", WRITERS)
def test_each_column_of_each_writer_is_read_or_left_out_by_name(
    spark: SparkSession, tmp_path: Path, write: Callable[[Path], list[str]]
) -> None:
    """Of each type that it has; and the rows with the images are all there."""
    folder = tmp_path / "table"
    folder.mkdir()
    columns = write(folder)
    source = "delta" if write is by_delta_rs else "parquet"
    frame, notices = given_tables.read(spark, str(folder), Ingest(source=source))
    left_out = {name for name in columns if name not in frame.columns}
    for name in left_out:
        assert any(f"column {name!r} is " in notice for notice in notices), name
    assert set(frame.columns) <= set(columns)
    assert not left_out & {"image", "label", "id"}
    named = "column 'label' holds numbers of classes: 0 = cat, 1 = dog"
    assert (named in notices) == (write is by_hugging_face)
    frame.write.format("noop").mode("overwrite").save()  # every column can be read
    rows = frame.select("image").collect()
    assert len(rows) == COUNT
    data = [row.image["bytes"] if write is by_hugging_face else row.image for row in rows]
    assert sorted(map(bytes, data)) == sorted(table()["image"].to_pylist())


def test_delta_tables_are_read_as_their_log_says(
    spark: SparkSession, run_ingest: RunIngest, tmp_path: Path
) -> None:
    """Rows that a deletion vector takes out stay out, and columns have their newest names."""
    put(tmp_path / "rows", table(old=list(range(COUNT))))
    folder = tmp_path / "a table ä"
    frame = spark.read.parquet(str(tmp_path / "rows")).coalesce(1)
    frame.write.format("delta").option("delta.enableDeletionVectors", "true").option(
        "delta.columnMapping.mode", "name"
    ).save(str(folder))
    spark.sql(f"DELETE FROM delta.`{folder}` WHERE id = 'i2'")
    assert list(folder.rglob("deletion_vector_*.bin")), "the row would be gone from the file"
    spark.sql(f"ALTER TABLE delta.`{folder}` RENAME COLUMN old TO new")
    run = run_ingest(folder, "ingest.source=delta", "ingest.id_column=id")
    rows = run.warehouse.read("images").collect()
    assert {(row.image_id, row.new) for row in rows} == {("i0", 0), ("i1", 1), ("i3", 3)}
