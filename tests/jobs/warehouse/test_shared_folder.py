"""What is said of files that one machine sees and another does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.main import explain
from jobs.warehouse import arrow_frames, shared_folder, tables
from jobs.warehouse.commits import UNFINISHED, CommitInfo
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.parquet_write import ADDED, Files, passthrough
from jobs.warehouse.shared_folder import WrittenFile

NOT_SHARED = "do not share the folder"
COMMIT = CommitInfo("run", "ingest", "first")
IMAGES = tables.TABLES["images"].schema


def image_frame(spark: SparkSession, count: int) -> DataFrame:
    """Rows of `images` with a caller's column, which Spark therefore writes."""
    values = {
        column.name: F.lit("a").cast(column.dataType)
        for column in IMAGES
        if column.name != "image_id"
    }
    values |= {"modified_at": F.current_timestamp(), "width": F.lit(1), "height": F.lit(1)}
    values |= {"levels": F.lit(1), "range_low": F.lit(0.0), "range_high": F.lit(1.0)}
    ids = spark.range(0, count, numPartitions=2).select(
        F.col("id").cast("string").alias("image_id")
    )
    frame = ids.withColumns(values | {"size_bytes": F.lit(1).cast("bigint"), "mine": F.lit(7)})
    return frame.select(*IMAGES.names[:-1], "mine", IMAGES.names[-1])


class LosingStore(LocalStore):
    """A store whose Spark writes one file less here than the executors say."""

    def _write_by_spark(self, rows, table, commit, fresh, append, where):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        folder = Path(self.path(table))
        before = set(folder.glob("*.parquet"))
        version = super()._write_by_spark(rows, table, commit, fresh, append, where)
        sorted(set(folder.glob("*.parquet")) - before)[0].unlink()
        return version


@pytest.mark.parametrize("change", ["missing", "shorter", "none"])
def test_written_files_are_checked_by_their_size(tmp_path: Path, change: str) -> None:
    files = []
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"12345")
        files.append(WrittenFile(name, 5))
    if change == "none":
        shared_folder.check_written(tmp_path, files)
        return
    if change == "missing":
        (tmp_path / "b").unlink()
    else:
        (tmp_path / "b").write_bytes(b"1234")
    with pytest.raises(JobError, match=f"1 of 3 files .* such as b,.*{NOT_SHARED} {tmp_path}"):
        shared_folder.check_written(tmp_path, files)


def test_only_a_folder_that_is_missing_is_another_disks(tmp_path: Path) -> None:
    (tmp_path / "field").mkdir()
    assert not shared_folder.is_hidden_here(str(tmp_path / "field/deleted.jpg"))
    assert shared_folder.is_hidden_here(str(tmp_path / "urban/image.jpg"))
    assert not shared_folder.is_hidden_here("s3://bucket/urban/image.jpg")


def test_an_error_of_spark_is_explained_if_the_driver_sees_the_file(tmp_path: Path) -> None:
    here = tmp_path / "part 1.parquet"
    here.touch()
    for text in (
        f"[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file {here.as_uri()}. "
        "File does not exist. It is possible the underlying files have been updated.",
        f"Caused by: java.io.FileNotFoundException: File {here.as_uri()} does not exist\n\tat x",
    ):
        assert shared_folder.explained(text) == shared_folder.message(
            tmp_path, "part 1.parquet cannot be read on an executor"
        )
        assert NOT_SHARED in explain(RuntimeError(text))
        assert shared_folder.explained(text.replace("part%201", "gone")) is None
    assert shared_folder.explained("another error") is None


@pytest.mark.spark
def test_a_task_that_lacks_the_folder_says_so_in_one_line(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The error of a task reaches the user as its message alone."""
    files = Files(tmp_path / "images", passthrough, arrow_frames.arrow_schema(IMAGES), ())
    rows = image_frame(spark, 4).select(IMAGES.names)
    with pytest.raises(PythonException) as failure:
        arrow_frames.mapped(rows, files.write, ADDED).collect()
    expected = rf"{tmp_path}/images is missing on [\w.-]+: the executors .*{NOT_SHARED} .*"
    assert re.fullmatch(expected, explain(failure.value))


@pytest.mark.spark
def test_a_commit_of_spark_without_its_files_is_undone(spark: SparkSession, tmp_path: Path) -> None:
    losing, whole = LosingStore(spark, str(tmp_path)), LocalStore(spark, str(tmp_path))
    with pytest.raises(JobError, match=NOT_SHARED):
        losing.write(image_frame(spark, 4), "images", COMMIT)
    assert not LocalStore(spark, str(tmp_path)).exists("images")
    whole.write(image_frame(spark, 4), "images", COMMIT)
    second = CommitInfo("run", "ingest", "second")
    with pytest.raises(JobError, match=NOT_SHARED):
        LosingStore(spark, str(tmp_path)).write(image_frame(spark, 9), "images", second)
    after = LocalStore(spark, str(tmp_path))
    assert after.read("images").count() == 4
    newest = after.newest("images", "ingest")
    assert newest is not None
    assert newest.fingerprint == UNFINISHED
    after.write(image_frame(spark, 9), "images", second)
    assert after.read("images").count() == 9
