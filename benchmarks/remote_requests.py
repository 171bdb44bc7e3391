"""Requests and commits of a small pipeline whose images and tables lie behind a URI.

    .venv/bin/python -m benchmarks.remote_requests URI [--conf NAME=VALUE ...]

It renders about 50 images, copies them below a new folder of the URI, and runs the pipeline on them
twice: the second run has nothing to do. The requests are those that Hadoop's file systems have
counted in Spark's process, which is driver and executor here. Commits are those of the tables.

--conf: settings of Spark, as spark.hadoop.fs.s3a.endpoint=...; and for s3a the folder with its jars
as spark.driver.extraClassPath=FOLDER/*.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from benchmarks.results import recorded
from benchmarks.runs import run_pipeline
from benchmarks.session import start
from jobs.acquisition import sample
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.hadoop import HadoopFileSystem
from jobs.warehouse.store import open_store

SURVEY = ("sample.labels=2", "sample.scenes=10", "sample.processes=1")
FAST = ("train.epochs=1",)
# The words by which Hadoop's counts name what goes over the network: calls of an HDFS's NameNode,
# and requests of an object store.
REQUESTS = {"hdfs": ("op_",), "s3a": ("object_", "action_http_")}


def counts(spark: SparkSession, scheme: str) -> Counter[str]:
    """What the file systems of a scheme have asked for in this process, by the name of it."""
    jvm = spark._jvm
    assert jvm is not None
    found: Counter[str] = Counter()
    every = jvm.org.apache.hadoop.fs.FileSystem.getGlobalStorageStatistics().iterator()
    while every.hasNext():
        statistics = every.next()
        if statistics.getScheme() != scheme:
            continue
        values = statistics.getLongStatistics()
        while values.hasNext():
            value = values.next()
            if value.getName().startswith(REQUESTS[scheme]) and value.getValue():
                found[value.getName()] += value.getValue()
    return found


def commits(spark: SparkSession, warehouse: str) -> int:
    """The commits of all tables."""
    store = open_store(spark, warehouse)
    return sum(store.version(name) + 1 for name in tables.TABLES if store.exists(name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("uri")
    parser.add_argument("--conf", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    conf = dict(setting.split("=", 1) for setting in given.conf)
    spark = start(2, {"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "2"} | conf)
    root = f"{given.uri.rstrip('/')}/{secrets.token_hex(4)}"
    scheme = urlsplit(given.uri).scheme
    with tempfile.TemporaryDirectory() as folder:
        sample.main(build({}, SURVEY, images=folder, quiet=True))
        system = HadoopFileSystem(spark, root)
        system.system.mkdirs(system.path(root))
        for part in Path(folder).iterdir():
            target = system.path(f"{root}/images/{part.name}")
            system.system.copyFromLocalFile(False, system.path(f"file:{part}"), target)
    settings = build({}, FAST, images=f"{root}/images", warehouse=f"{root}/warehouse", quiet=True)
    made = 0
    for name in ("the first run", "again, nothing to do"):
        before, clock = counts(spark, scheme), time.monotonic()
        run_pipeline(spark, settings)
        took = time.monotonic() - clock
        asked = counts(spark, scheme) - before
        now = commits(spark, settings.warehouse)
        print(f"{name}: {took:.0f} s, {now - made} commits, {asked.total():,} requests")
        print("  " + ", ".join(f"{what} {count:,}" for what, count in asked.most_common()))
        made = now
    spark.stop()


if __name__ == "__main__":
    recorded(main)
