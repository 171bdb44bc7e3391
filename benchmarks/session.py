"""Spark for measurements and tests: in this process, set up as spark-submit.sh does locally."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from udfs import arrow
from udfs.vectors.cosine import Matrix

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ROOT / "build/classes.jsa"  # of make setup: a start is seconds shorter with it


def settings() -> dict[str, str]:
    """conf/spark-local.conf, as spark-submit would read it."""
    lines = (ROOT / "conf/spark-local.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    return {name: value.strip() for name, value in pairs}


def jars() -> str:
    """Delta's jars, as spark.jars takes them; raises FileNotFoundError where there are none."""
    found = sorted((ROOT / "build/ivy/jars").glob("*.jar"))
    if not found:
        raise FileNotFoundError("Delta's jars are missing: run make setup")
    return ",".join(str(path) for path in found)


def start(slots: int, changed: Mapping[str, str] = MappingProxyType({})) -> SparkSession:
    """A local session of so many slots, with conf/spark-local.conf, some settings changed."""
    (ROOT / "build/no-conf").mkdir(parents=True, exist_ok=True)
    options = f'"-Dlog4j2.configurationFile=file:{ROOT}/conf/log4j2.properties"'
    if CLASSES.is_file() and CLASSES.stat().st_size:
        options += f' "-XX:SharedArchiveFile={CLASSES}" -Xlog:cds*=off'
    given = os.environ.get("SPARK_SUBMIT_OPTS", "")
    os.environ |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(ROOT / "build/no-conf"),
        "SPARK_SUBMIT_OPTS": given if options in given else f"{options} {given}",
    }
    builder = SparkSession.builder.appName("latent-dedup").master(f"local[{slots},4]")
    for name, value in (settings() | dict(changed)).items():
        if name != "spark.master":
            builder = builder.config(name, value)
    return builder.config("spark.jars", jars()).getOrCreate()


def numbered(spark: SparkSession, rows: Matrix) -> DataFrame:
    """Rows of a matrix as a frame (i, v) that lies in memory."""
    count = len(rows)
    vectors = arrow.list_column(rows, np.ones(count, np.bool_))
    table = pa.table({"i": np.arange(count, dtype=np.int32), "v": vectors})
    frame = spark.createDataFrame(table).repartition(8).cache()
    frame.count()
    return frame
