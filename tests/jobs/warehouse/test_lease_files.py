"""Files that are created once, in a real file system; and those where that cannot be promised."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from benchmarks import lease_races
from jobs.errors import JobError
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.lease_files import HadoopLeaseFiles
from jobs.warehouse.spark_store import SparkStore

pytestmark = [pytest.mark.spark, pytest.mark.cluster]
RACES = 150  # benchmarks/lease_races.py runs 1,500


def test_a_file_is_created_once(spark: SparkSession, remote: str) -> None:
    files = HadoopLeaseFiles(spark, remote)
    assert files.numbers() == []
    assert files.read(1) is None
    assert files.create(1, b"one")
    assert not files.create(1, b"two")
    assert files.create(1, b"one"), "an answer that was lost: the file is the caller's"
    assert files.create(12345678, b"later")
    assert sorted(files.numbers()) == [1, 12345678]
    first = files.read(1)
    assert first is not None
    assert first.data == b"one"
    time.sleep(1.1)  # s3a tells whole seconds
    files.rewrite(1, b"three")
    again = files.read(1)
    assert again is not None
    assert again.data == b"three"
    assert first.modified < again.modified <= files.now()
    files.delete(1)
    files.delete(1)
    assert files.read(1) is None
    assert files.numbers() == [12345678]


def test_a_file_that_another_run_is_just_writing_is_not_ours(
    spark: SparkSession, remote: str
) -> None:
    """On HDFS the file is there, and empty, before it is closed."""
    if not remote.startswith("hdfs:"):
        pytest.skip("a file appears when it is closed")
    files = HadoopLeaseFiles(spark, remote)
    assert spark._jvm is not None
    path = spark._jvm.org.apache.hadoop.fs.Path(files.path(1))
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    stream = path.getFileSystem(conf).create(path, False)
    try:
        assert not files.create(1, b"two")
        existing = files.read(1)
        assert existing is not None
        assert existing.data == b""
    finally:
        stream.close()


def test_a_file_system_that_promises_nothing_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    files = HadoopLeaseFiles(spark, f"file://{tmp_path}/w")
    with pytest.raises(JobError, match=r"whether file:// creates a file only if there is none"):
        files.now()
    with pytest.raises(JobError, match="cannot be locked"):
        files.create(1, b"one")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_system_that_is_not_there_is_one_message(spark: SparkSession) -> None:
    files = HadoopLeaseFiles(spark, "nosuch://bucket/w")
    with pytest.raises(JobError, match=r"/\.lease cannot be written: .*nosuch") as refused:
        files.now()
    assert "\n" not in str(refused.value)


def test_a_store_writes_while_it_holds_the_lease(spark: SparkSession, remote: str) -> None:
    schema = tables.TABLES["anomalies"].schema
    commit = CommitInfo("run", "anomalies", "mark")
    rows = arrow_frames.frame(spark, [("001", "a", 0.5, 0.5, 1)], schema)
    first, second = SparkStore(spark, remote), SparkStore(spark, remote)
    files = HadoopLeaseFiles(spark, remote)
    with first.lease("run-one", print):
        assert first.write(rows, "anomalies", commit) == 0
        first.files.write("models/one", b"1")
    with second.lease("run-two", print):
        assert second.write(rows, "anomalies", commit, append=True) == 1
        for change in (
            lambda: first.write(rows, "anomalies", commit),
            lambda: first.another().write(rows, "anomalies", commit),
            lambda: first.files.write("models/one", b"2"),
        ):
            with pytest.raises(JobError, match=r"run run-two .* took it over"):
                change()
    assert files.numbers() == [2]
    assert first.files.read("models/one") == b"1"
    assert second.another().commits("anomalies")[0].version == 1


def test_of_two_runs_one_wins_each_race(remote: str) -> None:
    races = lease_races.race(remote, RACES, {})
    assert races.wrong == []
    assert races.numbers == list(range(1, RACES + 1))
    assert {run for runs in races.winners for run in runs} == {0, 1}, "one was always the first"
