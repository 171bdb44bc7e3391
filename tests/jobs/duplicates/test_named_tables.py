"""The names that the published tables get in a catalog: what is refused, given and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.duplicates import named_tables
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.settings.duplicates import Publish
from jobs.warehouse import tables
from jobs.warehouse.comments import COMMENTS
from jobs.warehouse.commits import CommitInfo
from tests.support.session import settings_for

NAME = "spark_catalog.named.curated"


def test_splits_get_a_name_where_there_are_any() -> None:
    assert named_tables.names(Publish()) == {}
    assert named_tables.names(Publish(table="a.b")) == {"curated": "a.b"}
    both = Publish(table="c.a.b", split=("train:0.5", "test:0.5"))
    assert named_tables.names(both) == {"curated": "c.a.b", "splits": "c.a.b_splits"}


@pytest.fixture
def schema(spark: SparkSession) -> Iterator[None]:
    """A schema of this session's catalog, which forgets it; test_recipes has a metastore."""
    spark.sql("CREATE SCHEMA named")
    yield
    spark.sql("DROP SCHEMA named CASCADE")


def run_of(spark: SparkSession, folder: Path, table: str, *flags: str) -> Run:
    """A run on a warehouse with both published tables, whose names `table` asks for."""
    flags = (f"publish.table={table}", *flags)
    run = Run(spark, settings_for(folder, folder / "it's a `w`", *flags), "publish")
    for name in ("curated", "splits"):
        if not run.warehouse.exists(name):
            rows = named_tables.with_comments(
                spark.createDataFrame(tables.rows(name, []), tables.TABLES[name].schema), name
            )
            run.warehouse.write(rows, name, CommitInfo("run", "publish", "mark"))
    return run


@pytest.mark.spark
@pytest.mark.usefixtures("schema")
def test_names_are_given_once_and_taken_back(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(spark, tmp_path, NAME)
    for _ in range(2):
        named_tables.register(run)
    for name, table in ((NAME, "curated"), (f"{NAME}_splits", "splits")):
        found = named_tables.find(spark, name)
        assert found is not None
        assert found.kind == "EXTERNAL"
        described = spark.sql(f"DESCRIBE {name}").collect()
        assert {row.col_name: row.comment for row in described} == COMMENTS[table]
    # A new name, and no splits any more: the old names go, the tables stay.
    later = run_of(spark, tmp_path, "named.other", "publish.split=[]")
    named_tables.forget(later, named_tables.names(run.settings.publish))
    named_tables.register(later)
    assert [row.tableName for row in spark.sql("SHOW TABLES IN named").collect()] == ["other"]
    assert later.warehouse.exists("splits")
    assert spark.table("named.other").count() == 0
    assert "warning" not in capsys.readouterr().out
    # Somebody gave a name to a table of theirs: it stays, and we say so.
    spark.sql("CREATE TABLE named.theirs (a INT) USING parquet")
    named_tables.forget(later, {"curated": "named.theirs"})
    assert spark.catalog.tableExists("named.theirs")
    assert "named.theirs, which publish.table gave to curated before" in capsys.readouterr().out


@pytest.mark.spark
@pytest.mark.usefixtures("schema")
def test_a_name_that_is_taken_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("CREATE TABLE named.theirs (a INT) USING parquet")
    spark.sql("CREATE VIEW named.seen_splits AS SELECT 1 AS a")
    with pytest.raises(SettingsError, match=r"named\.theirs is already a table or view \(MANAGED"):
        named_tables.register(run_of(spark, tmp_path, "named.theirs"))
    with pytest.raises(SettingsError, match=r"named\.seen_splits is already .* \(VIEW\), and"):
        named_tables.register(run_of(spark, tmp_path, "named.seen"))


@pytest.mark.spark
@pytest.mark.usefixtures("schema")
def test_what_cannot_have_a_name_is_told_before_the_work(
    spark: SparkSession, tmp_path: Path
) -> None:
    def refused(table: str) -> str:
        with pytest.raises((SettingsError, JobError)) as caught:
            named_tables.check(run_of(spark, tmp_path, table))
        return str(caught.value)

    assert "there is no catalog lake; set spark.sql.catalog.lake" in refused("lake.named.curated")
    # The session of the tests has no metastore.
    assert "would forget the name when this command ends" in refused(NAME)
    named_tables.check(Run(spark, settings_for(tmp_path, tmp_path), "publish"))
    spark.conf.set("spark.sql.catalog.broken", "no.such.Plugin")
    try:
        assert "its catalog cannot be asked: " in refused("broken.named.curated")
    finally:
        spark.conf.unset("spark.sql.catalog.broken")
