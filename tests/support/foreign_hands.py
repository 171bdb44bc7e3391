"""What other programs do to a Delta table: each a function of the table's folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

# Spark (those of delta-rs need none), the folder, and new rows.
Hand = Callable[[Any, str, pa.Table], None]


def _sql(spark: SparkSession, command: str, folder: str) -> None:
    spark.newSession().sql(command.format(f"delta.`{folder}`"))


def _by_rs(folder: str) -> DeltaTable:
    return DeltaTable(Path(folder).as_uri())


def spark_append(spark: SparkSession, folder: str, rows: pa.Table) -> None:
    spark.createDataFrame(rows).write.format("delta").mode("append").save(folder)


def spark_overwrite(spark: SparkSession, folder: str, rows: pa.Table) -> None:
    spark.createDataFrame(rows).write.format("delta").mode("overwrite").save(folder)


def spark_merge(spark: SparkSession, folder: str, rows: pa.Table) -> None:
    spark.createDataFrame(rows).createOrReplaceTempView("merged_rows")
    spark.sql(
        f"MERGE INTO delta.`{folder}` AS old USING merged_rows AS new "
        "ON old.image_id = new.image_id WHEN NOT MATCHED THEN INSERT *"
    )


def rs_append(spark: SparkSession, folder: str, rows: pa.Table) -> None:
    write_deltalake(Path(folder).as_uri(), rows, mode="append")


def rs_overwrite(spark: SparkSession, folder: str, rows: pa.Table) -> None:
    write_deltalake(Path(folder).as_uri(), rows, mode="overwrite")


# `rows` are new ones; of the old ones that with the id 001 is deleted or changed. All tables have
# an earlier version with other rows.
ADDING = ("spark_append", "rs_append", "spark_merge")
CHANGES: dict[str, Hand] = {
    "spark_append": spark_append,
    "rs_append": rs_append,
    "spark_overwrite": spark_overwrite,
    "rs_overwrite": rs_overwrite,
    "spark_merge": spark_merge,
    "spark_delete": lambda spark, folder, rows: _sql(
        spark, "DELETE FROM {} WHERE image_id = '001'", folder
    ),
    "spark_update": lambda spark, folder, rows: _sql(
        spark, "UPDATE {} SET label = 'changed' WHERE image_id = '001'", folder
    ),
    "spark_restore": lambda spark, folder, rows: _sql(
        spark, "RESTORE TABLE {} TO VERSION AS OF 0", folder
    ),
    "rs_delete": lambda spark, folder, rows: _ignored(_by_rs(folder).delete("image_id = '001'")),
    "rs_update": lambda spark, folder, rows: _ignored(
        _by_rs(folder).update(predicate="image_id = '001'", updates={"label": "'changed'"})
    ),
    "rs_restore": lambda spark, folder, rows: _ignored(_by_rs(folder).restore(0)),
}
UPKEEP: dict[str, Hand] = {
    "spark_optimize": lambda spark, folder, rows: _sql(spark, "OPTIMIZE {}", folder),
    "spark_properties": lambda spark, folder, rows: _sql(
        spark, "ALTER TABLE {} SET TBLPROPERTIES ('their.own' = '1')", folder
    ),
    "spark_vacuum": lambda spark, folder, rows: _sql(spark, "VACUUM {}", folder),
    "rs_optimize": lambda spark, folder, rows: _ignored(_by_rs(folder).optimize.compact()),
    "rs_vacuum": lambda spark, folder, rows: _ignored(_by_rs(folder).vacuum(dry_run=False)),
    "rs_checkpoint": lambda spark, folder, rows: _by_rs(folder).create_checkpoint(),
}


def _ignored(answer: object) -> None:
    """Drop what delta-rs tells of a command."""


def clean_up_log(folder: str) -> None:
    """Do what a month and somebody's checkpoint do: only the newest state stays in the log.

    The files are dated back, since Delta goes by their age.
    """
    old = time.time() - 40 * 24 * 3600
    log = Path(folder, "_delta_log")
    for path in [*log.glob("*.json"), *log.glob("*.parquet")]:
        os.utime(path, (old, old))
    table = deltalake.DeltaTable(Path(folder).as_uri())
    table.create_checkpoint()
    table.cleanup_metadata()
