"""Trained models that nothing has used for as long as old versions can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs import paths
from jobs.autoencoder import models
from jobs.maintenance.table_files import readable
from jobs.runtime.console import Console
from jobs.warehouse import tables
from jobs.warehouse.store import Store

MODEL_ID = re.compile(r"[0-9a-f]{64}")
# The tables whose rows name the model that they were computed with.
NAMING = ("latents", "spaces", "vectors", "gradients")


def delete(store: Store, console: Console, *, dry_run: bool) -> None:
    """Delete the models that no commit within the retention refers to."""
    folder = store.files.path(models.FOLDER)
    if paths.is_mounted(folder) and Path(folder).is_symlink():
        return  # another warehouse may use them
    since = datetime.now(UTC) - timedelta(days=tables.RETENTION_DAYS)
    stored = [name for name in store.files.entries(models.FOLDER) if MODEL_ID.fullmatch(name)]
    needed = used(store, since)
    old = [name for name in stored if name not in needed and not trained_since(store, name, since)]
    if old:
        files = [file for name in old for file in store.files.infos(f"{models.FOLDER}/{name}")]
        size = readable(sum(file.size for file in files))
        verb = "to delete" if dry_run else "deleted"
        console.line(
            f"  {verb}: {len(old)} of {len(stored)} models, {size}: not used for "
            f"{tables.RETENTION_DAYS} days",
            event="models",
        )
    if not dry_run:
        for name in old:
            store.files.delete(f"{models.FOLDER}/{name}")


def used(store: Store, since: datetime) -> set[str]:
    """Return the models that the tables name now, and those that were in use since a moment."""
    sql = "SELECT DISTINCT model_id FROM rows"
    named = {row["model_id"] for table in NAMING for row in store.query(table, sql)}
    runs = store.query("runs", "SELECT stage, state, started, model_id FROM rows")
    return {model_id for model_id in named | used_by_runs(runs, since) if model_id}


def used_by_runs(runs: Iterable[Mapping[str, Any]], since: datetime) -> set[str | None]:
    """Return the models of runs since a moment, and what each stage had used last before it.

    What a stage wrote before, can be read for as long after it was replaced.
    """
    models_used, before = set(), {}
    for row in sorted(runs, key=lambda row: row["started"]):
        if _utc(row["started"]) >= since:
            models_used.add(row["model_id"])
        elif row["model_id"] and row["state"] in ("done", "skipped"):
            before[row["stage"]] = row["model_id"]
    return models_used | set(before.values())


def trained_since(store: Store, model_id: str, since: datetime) -> bool:
    """Return whether a model was written since a moment.

    Without a readable model.json the date of its newest file counts.
    """
    folder = f"{models.FOLDER}/{model_id}"
    try:
        about = json.loads(store.files.read(f"{folder}/model.json"))
        trained = datetime.fromisoformat(about["trained_at"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        files = store.files.infos(folder)
        newest = max((file.modified for file in files), default=0.0)
        trained = datetime.fromtimestamp(newest, UTC)
    return _utc(trained) >= since


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
