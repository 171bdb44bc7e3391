"""A new batch of images leaves earlier decisions as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.warehouse.store import open_store
from tests.support.given_latents import ROUNDS_OF, GivenLatents


def test_a_new_batch_leaves_earlier_decisions_as_they_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    given = GivenLatents(spark, tmp_path, {"large": 90, "small": 20})
    early = sorted(given.images)[::2]
    given.write(early)
    given.prune("prune.mode=append")  # there is nothing yet: all
    first = given.selection()
    given.write()
    given.prune("prune.mode=append", *ROUNDS_OF)
    both = given.selection()
    assert first.items() <= both.items()
    assert both == given.defined(order=lambda image: image["image_id"] not in early)
    assert not all(kept for kept, *_ in (both[key] for key in both.keys() - first.keys()))
    with pytest.raises(JobError, match="made with other settings"):
        given.prune("prune.mode=append", "prune.thresholds=[0.9]")
    for change in ({"sha256": "changed"}, {"label": "small"}, None):
        image = dict(given.images[early[0]])
        given.images[early[0]] |= change or {}
        given.write(None if change else [*given.images][:-1])
        with pytest.raises(JobError, match="have vanished since, or have other content"):
            given.prune("prune.mode=append")
        given.images[early[0]] = image
    assert given.selection() == both


def test_a_wrong_earlier_decision_fails_the_audit_of_the_next_batch(
    spark: SparkSession, tmp_path: Path
) -> None:
    """A removed copy is recorded as kept; the audit of a later batch must see it."""
    given = GivenLatents(spark, tmp_path, {"a": 30})
    given.write(sorted(given.images)[:29])
    given.prune("prune.mode=append")
    warehouse = open_store(spark, str(tmp_path))
    commit = warehouse.newest("selection")
    assert commit is not None
    removed = next(key for key, (kept, *_) in sorted(given.selection().items()) if not kept)
    lie = {"kept": F.lit(True), "kept_id": F.lit(None).cast("string")}
    there = (F.col("image_id") == removed[0]) & (F.col("rule") == removed[1])
    rows = warehouse.read("selection").withColumns(
        {name: F.when(there, value).otherwise(F.col(name)) for name, value in lie.items()}
    )
    warehouse.write(rows.localCheckpoint(), "selection", replace(commit, run_id="liar"))
    given.write()
    with pytest.raises(JobError, match="pairs of kept images above T"):
        given.prune("prune.mode=append")
