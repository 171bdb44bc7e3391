"""Files of one table that have other columns, or other types, than the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import given_schemas, given_tables
from jobs.acquisition.given_schemas import agreed, wider
from jobs.errors import JobError
from jobs.settings.acquisition import Ingest
from tests.support.pictures import encoded, picture

PARQUET = Ingest(source="parquet", id_column="id")


def rows(start: int, **more: Any) -> pa.Table:
    """Two images with further columns, or others in place of these."""
    images = [encoded(Image.fromarray(picture(start + number)), "PNG") for number in range(2)]
    columns = {"image": images, "label": ["a", "b"], "id": [f"i{start}", f"i{start + 1}"]}
    return pa.table(columns | more)


def put(folder: Path, *tables: pa.Table) -> list[Path]:
    folder.mkdir(parents=True)
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{number}.parquet")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("one", "other", "wide"),
    [
        (pa.int16(), pa.int64(), pa.int64()),
        (pa.float64(), pa.float32(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.large_string(), pa.string(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.list_(pa.int32()), pa.list_(pa.int32()), pa.list_(pa.int32())),
        (pa.int64(), pa.float64(), None),
        (pa.int64(), pa.string(), None),
        (pa.binary(), pa.string(), None),
    ],
)
def test_the_wider_of_two_types(
    one: pa.DataType, other: pa.DataType, wide: pa.DataType | None
) -> None:
    assert wider(one, other) == wider(other, one) == wide


def test_files_that_are_alike_have_nothing_to_agree_on(tmp_path: Path) -> None:
    labelled = rows(2).replace_schema_metadata({"written": "later"})
    files = put(tmp_path / "t", rows(0), labelled)
    assert agreed(str(tmp_path / "t"), files) is None
    assert agreed(str(tmp_path / "t"), files[:1]) is None
    files[1].write_bytes(b"PAR1 and no more")
    assert agreed(str(tmp_path / "t"), files) is None


def test_only_footers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = put(tmp_path / "t", rows(0), rows(2, score=[1, 2]))
    monkeypatch.setattr(pq, "read_table", None)
    both = agreed(str(tmp_path / "t"), files)
    assert both is not None
    assert both.schema.names == ["image", "label", "id", "score"]
    assert both.clashes == {}
    assert given_schemas.THREADS >= 8


@pytest.mark.spark
def test_columns_that_only_some_files_have_are_read(spark: SparkSession, tmp_path: Path) -> None:
    """By the first file alone, `score` would be lost, and `small` would end the job."""
    small = pa.array([1, 2], pa.int32())
    put(tmp_path / "t", rows(0, small=small), rows(2, small=[3, 2**40], score=[0.5, 1.5]))
    read = given_tables.read(spark, str(tmp_path / "t"), PARQUET)
    found = {row.id: (row.small, row.score) for row in read.frame.collect()}
    assert found == {"i0": (1, None), "i1": (2, None), "i2": (3, 0.5), "i3": (2**40, 1.5)}
    assert read.notices == ()


@pytest.mark.spark
def test_a_column_that_nobody_needs_is_left_out_by_name(
    spark: SparkSession, tmp_path: Path
) -> None:
    put(tmp_path / "t", rows(0, note=["x", "y"]), rows(2, note=[1, 2]))
    read = given_tables.read(spark, str(tmp_path / "t"), PARQUET)
    assert read.frame.columns == ["image", "label", "id"]
    assert read.frame.count() == 4
    assert read.notices == (
        "column 'note' is string in part-0.parquet and int64 in part-1.parquet, and is left out",
    )


@pytest.mark.spark
def test_a_column_that_is_needed_ends_it_with_file_and_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    put(tmp_path / "t", rows(0), rows(2), rows(4, label=[1, 2]))
    with pytest.raises(JobError) as caught:
        given_tables.read(spark, str(tmp_path / "t"), PARQUET)
    said = "column 'label' is string in part-0.parquet and int64 in part-2.parquet"
    assert f"its files differ: {said}: write the column alike" in str(caught.value)
    assert "\n" not in str(caught.value)
