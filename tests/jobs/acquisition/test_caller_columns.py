"""A table's further columns arrive under names and types that every reader knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from PIL import Image
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.runtime.run import Run
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode as definition

Ingest = Callable[..., Run]


def test_columns_get_names_and_types_that_every_reader_knows(
    spark: SparkSession, run_ingest: Ingest, tmp_path: Path
) -> None:
    """Hugging Face's struct, duplicate ids, missing labels, names and types that need a change."""
    first, second = (encoded(Image.fromarray(picture(seed)), "PNG") for seed in (6, 7))
    small = min(first, second, key=definition.sha256)
    rows = [
        ("one", "cat", "train", Row(bytes=first, path="a/1.png"), 1.5, datetime(2026, 1, 2, 3, 4)),
        ("two", "cat", None, Row(bytes=second, path=None), None, None),
        ("two", "dog", None, Row(bytes=first, path=None), 2.5, None),
        ("three", None, None, Row(bytes=first, path=None), 3.5, None),
        (None, "cat", None, Row(bytes=first, path=None), 3.5, None),
        ("four", "cat", None, Row(bytes=None, path=None), 4.5, None),
        ("five", "cat", None, Row(bytes=b"no image", path=None), 4.5, None),
    ]
    image = T.StructType(
        [T.StructField("bytes", T.BinaryType()), T.StructField("path", T.StringType())]
    )
    schema = T.StructType(
        [
            T.StructField("key", T.StringType()),
            T.StructField("class", T.StringType()),
            T.StructField("part", T.StringType()),
            T.StructField("img", image),
            T.StructField("ground sample (m)", T.DoubleType()),
            T.StructField("taken", T.TimestampNTZType()),
        ]
    )
    frame = spark.createDataFrame(rows, schema)
    frame = frame.withColumn("label", F.lit("caller's")).withColumn(
        "extra", F.parse_json(F.lit("[1]"))
    )
    frame.write.parquet(str(tmp_path / "table"))
    flags = (
        "ingest.source=parquet",
        "ingest.image_column=img",
        "ingest.label_column=class",
        "ingest.id_column=key",
        "ingest.split_column=part",
    )
    run = run_ingest(tmp_path / "table", *flags)
    found = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert set(found) == {"one", "two"}
    assert found["one"].split == "train"
    assert found["one"].path == "a/1.png"
    assert found["one"]["source_ground_sample__m_"] == 1.5
    assert found["one"].source_label == "caller's"
    assert found["one"].extra == "[1]"
    assert run.warehouse.read("images").schema["taken"].dataType == T.TimestampType()
    assert found["two"].sha256 == definition.sha256(small)
    rejects = run.warehouse.read("rejects").collect()
    assert sorted((str(row.image_id), row.error_code) for row in rejects) == [
        ("None", "missing_label"),
        ("five", "not_an_image"),
        ("four", "empty"),
        ("three", "missing_label"),
        ("two", "duplicate_id"),
    ]
