"""Tables that other programs wrote become images, or the message says what to change."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
