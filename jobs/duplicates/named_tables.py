"""Names of the published tables in a catalog of the Spark session: the setting `publish.table`.

A name is an external table over the warehouse's folder. So nothing is copied, the name shows what
`publish` wrote last, and dropping it deletes no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from jobs import paths
from jobs.errors import JobError, SettingsError, reason
from jobs.runtime.stage import RunContext
from jobs.settings.duplicates import Publish
from jobs.warehouse.comments import COMMENTS

SESSION_CATALOG = "spark_catalog"
SPLITS = "_splits"  # what the name of the table splits ends with
DELTA_CATALOG = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
EXTERNAL = "EXTERNAL"


class Registered(NamedTuple):
    """A table of a catalog: its type, such as EXTERNAL or VIEW, and where it lies."""

    kind: str
    location: str


def names(settings: Publish) -> Mapping[str, str]:
    """Return the name of each published table; none without the setting."""
    if not settings.table:
        return {}
    tables = {"curated": settings.table}
    return tables | {"splits": settings.table + SPLITS} if settings.split else tables


def check(run: RunContext) -> None:
    """Raise SettingsError, before hours of work, if the tables cannot get the names wanted."""
    settings = run.settings.publish
    if not settings.table:
        return
    try:
        _check_catalog(run.spark, settings)
        for table, name in names(settings).items():
            _check_free(run, table, name)
    except (PySparkException, Py4JJavaError) as refused:
        raise JobError(
            f"publish.table = {settings.table!r}: its catalog cannot be asked: {reason(refused)}"
        ) from refused


def _check_catalog(spark: SparkSession, settings: Publish) -> None:
    """Raise SettingsError if the catalog or the schema is not there, or forgets its tables."""
    key = f"publish.table = {settings.table!r}"
    catalog, schema, _ = _parts(settings.table)
    plugin = spark.conf.get(f"spark.sql.catalog.{catalog}", None)
    if catalog != SESSION_CATALOG and plugin is None:
        raise SettingsError(
            f"{key}: there is no catalog {catalog}; set spark.sql.catalog.{catalog}, for example "
            f"after -- on the command line, or name one that there is, such as {SESSION_CATALOG}"
        )
    kept = spark.conf.get("spark.sql.catalogImplementation", "in-memory") == "hive"
    if catalog == SESSION_CATALOG and plugin in (None, DELTA_CATALOG) and not kept:
        raise SettingsError(
            f"{key}: {SESSION_CATALOG} would forget the name when this command ends; give it a "
            "metastore, by -- --conf spark.sql.catalogImplementation=hive and a hive-site.xml"
        )
    if not spark.catalog.databaseExists(f"`{catalog}`.`{schema}`"):
        raise SettingsError(
            f"{key}: there is no schema {schema} in {catalog}; create it first: "
            f"CREATE SCHEMA {catalog}.{schema}"
        )


def _check_free(run: RunContext, table: str, name: str) -> None:
    """Raise SettingsError if the name is taken by anything else than this warehouse's table."""
    registered = find(run.spark, name)
    if registered is not None and not _is_ours(run, table, registered):
        place = f" at {registered.location}" if registered.location else ""
        raise SettingsError(
            f"publish.table = {run.settings.publish.table!r}: {name} is already a table or view "
            f"({registered.kind}{place}), and not this warehouse's {table}: choose another name, "
            "or drop it"
        )


def find(spark: SparkSession, name: str) -> Registered | None:
    """Return what a catalog holds under a name; None if nothing."""
    if not spark.catalog.tableExists(_quoted(name)):
        return None
    described = spark.sql(f"DESCRIBE TABLE EXTENDED {_quoted(name)}").collect()
    details = {row.col_name: row.data_type for row in described}
    return Registered(details.get("Type", "table"), details.get("Location", ""))


def _is_ours(run: RunContext, table: str, registered: Registered) -> bool:
    if registered.kind != EXTERNAL:
        return False
    path = run.warehouse.path(table)
    return paths.absolute(registered.location) == paths.absolute(path)


def register(run: RunContext) -> None:
    """Give the published tables their names where they do not have them yet."""
    for table, name in names(run.settings.publish).items():
        location = (
            paths.for_spark(run.warehouse.path(table)).replace("\\", "\\\\").replace("'", "\\'")
        )
        try:
            _check_free(run, table, name)
            if find(run.spark, name) is not None:
                continue
            run.spark.sql(f"CREATE TABLE {_quoted(name)} USING delta LOCATION '{location}'")
        except (PySparkException, Py4JJavaError) as refused:
            raise JobError(
                f"publish.table: {name} was not created over {run.warehouse.path(table)}, which is "
                f"written: {reason(refused)}. A catalog that takes no table at a LOCATION cannot "
                f"name it: take a schema of {SESSION_CATALOG}, or leave publish.table empty"
            ) from refused
        run.console.line(f"    {name} is {run.warehouse.path(table)}", event="named")


def forget(run: RunContext, earlier: Mapping[str, str]) -> None:
    """Drop names that an earlier run gave and that are no longer wanted; no file is deleted.

    A name that somebody has given to another table since, stays.
    """
    wanted = names(run.settings.publish)
    for table, name in earlier.items():
        if wanted.get(table) == name:
            continue
        try:
            registered = find(run.spark, name)
            ours = registered is not None and _is_ours(run, table, registered)
            if ours:
                run.spark.sql(f"DROP TABLE {_quoted(name)}")
        except (PySparkException, Py4JJavaError) as refused:
            registered = ours = None
            run.console.detail(f"    {name}: {reason(refused)}")
        if not ours:
            run.console.warn(
                f"{name}, which publish.table gave to {table} before, was not dropped: this "
                "session's catalog does not have it, or has another table of that name"
            )


def with_comments(rows: DataFrame, table: str) -> DataFrame:
    """Return the rows of a published table with comments on its columns, which Delta stores."""
    for name, comment in COMMENTS[table].items():
        rows = rows.withMetadata(name, {"comment": comment})
    return rows


def _parts(name: str) -> tuple[str, str, str]:
    """Return catalog, schema and table of a name that the settings allow."""
    *catalog, schema, table = name.split(".")
    return (catalog[0] if catalog else SESSION_CATALOG), schema, table


def _quoted(name: str) -> str:
    return ".".join(f"`{part}`" for part in _parts(name))
