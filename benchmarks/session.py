"""Spark for measurements: in this process, configured as ./spark-submit.sh does on one machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent


def start(slots: int) -> SparkSession:
    """A local session of so many slots, with conf/spark-local.conf and Delta's jars."""
    os.environ |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(ROOT / "conf"),
    }
    builder = SparkSession.builder.appName("benchmark")
    for line in (ROOT / "conf/spark-local.conf").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, value = line.split(None, 1)
            builder = builder.config(name, value.strip())
    jars = sorted(str(path) for path in (ROOT / "build/ivy/jars").glob("*.jar"))
    builder = builder.master(f"local[{slots},4]").config("spark.jars", ",".join(jars))
    return builder.getOrCreate()
