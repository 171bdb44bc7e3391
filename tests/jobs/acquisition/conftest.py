"""Runs of the job `ingest`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.runtime.run import Run
from tests.support.session import settings_for

Ingest = Callable[..., Run]


@pytest.fixture
def run_ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    def run(root: Path, *flags: str) -> Run:
        current = Run(spark, settings_for(root, tmp_path / "warehouse", *flags), "ingest")
        current.execute(ingest.STAGE)
        return current

    return run
