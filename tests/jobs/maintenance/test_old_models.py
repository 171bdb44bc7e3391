"""Models that nothing refers to are deleted, after as long as old versions can be read."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import models
from jobs.maintenance import old_models
from jobs.runtime.console import Console
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from udfs.autoencoder import weights

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=30)


def run(stage: str, days: int, model: str | None, state: str = "done") -> dict[str, Any]:
    started = NOW - timedelta(days=days)
    return {"stage": stage, "state": state, "started": started, "model_id": model}


def test_a_model_counts_as_used_until_30_days_after_the_next_one_took_its_place() -> None:
    runs = [
        run("encode", 90, "replaced long ago"),
        run("encode", 60, "replaced 10 days ago"),
        run("encode", 50, None),
        run("encode", 40, "of a run that failed", "failed"),
        run("encode", 10, "newest"),
        run("train", 70, "of another stage"),
        run("prune", 1, None),
    ]
    used = old_models.used_by_runs(runs, SINCE) - {None}
    assert used == {"replaced 10 days ago", "newest", "of another stage"}


@pytest.mark.spark
def test_old_models_go_and_those_in_use_stay(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(spark, str(tmp_path))
    ids = {}
    for name, days in (("in latents", 90), ("in runs", 80), ("new", 2), ("old", 31), ("naive", 90)):
        trained = NOW - timedelta(days=days)
        about = {"trained_at": (trained.replace(tzinfo=None) if name == "naive" else trained)}
        ids[name] = models.store(
            store, name.encode(), {"trained_at": about["trained_at"].isoformat()}
        ).model_id
    for name, days in (("half", 31), ("half of today", 0)):  # killed before model.json
        ids[name] = weights.model_id(name.encode())
        store.files.write(f"models/{ids[name]}/weights.safetensors", name.encode())
        file = tmp_path / f"models/{ids[name]}/weights.safetensors"
        os.utime(file, (time.time() - days * 86_400,) * 2)
    store.files.write("models/mine/weights.safetensors", b"no model of ours")
    latents = [{"image_id": "a", "model_id": ids["in latents"]}]
    store.write(tables.rows("latents", latents), "latents", CommitInfo("run", "encode", "mark"))
    rows = [run("train", 29, ids["in runs"]) | {"run_id": "r", "state": "skipped"}]
    store.write(tables.rows("runs", rows), "runs", CommitInfo("run", "runs", ""))
    old_models.delete(store, Console(), dry_run=True)
    assert len(store.files.entries("models")) == 8
    old_models.delete(store, Console(), dry_run=False)
    stay = {"in latents", "in runs", "new", "half of today"}
    assert store.files.entries("models") == sorted(["mine", *(ids[name] for name in stay)])
    said = capsys.readouterr().out
    assert "to delete: 3 of 7 models" in said
    assert "deleted: 3 of 7 models" in said
