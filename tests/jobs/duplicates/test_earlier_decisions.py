"""A new batch of images leaves earlier decisions as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.warehouse.store import open_store
from tests.support.given_latents import ROUNDS_OF, THRESHOLDS, GivenLatents, withdraw
from tests.support.vectors import definition


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


@pytest.mark.parametrize(
    "flags",
    [pytest.param((), id="tasks"), pytest.param(ROUNDS_OF, marks=pytest.mark.whole, id="rounds")],
)
def test_a_withdrawn_image_frees_those_that_it_stood_for_alone(
    spark: SparkSession, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    given = GivenLatents(spark, tmp_path, {"large": 90, "small": 20})
    new = sorted(given.images)[::11]
    given.write([name for name in given.images if name not in new])
    given.prune("prune.mode=append", *flags)
    first = given.selection()
    keepers = Counter(keeper for _, keeper, _ in first.values() if keeper)
    ((out, _),) = keepers.most_common(1)
    freed = {key for key, (_, keeper, _) in first.items() if keeper == out}
    stay = {key: row for key, row in first.items() if key[0] != out and key not in freed}
    assert len({rule for _, rule in freed}) > 1, "several rules decide anew"
    assert {name for name, _ in freed} & {name for name, _ in stay}, "not all of them each image"
    del given.images[out]
    given.write()
    with pytest.raises(JobError, match="have vanished since"):
        given.prune("prune.mode=append", *flags)
    withdraw(spark, tmp_path, out)
    given.prune("prune.mode=append", *flags)
    both = given.selection()
    assert stay.items() <= both.items()
    expected = decided_anew(given, stay, freed, new)
    assert {key: both[key] for key in expected} == expected
    assert both.keys() == stay.keys() | expected.keys()
    given.prune("prune.mode=append", *flags, "publish.rule=fixed:0.8")
    assert given.selection() == both, "nothing is withdrawn twice"


Rows = dict[tuple[str, str], tuple[bool, str | None, float | None]]


def decided_anew(
    given: GivenLatents, stay: Rows, freed: set[tuple[str, str]], new: list[str]
) -> Rows:
    """What the definition gives: first the images that are free by a rule, then the new ones."""
    found: Rows = {}
    for threshold in THRESHOLDS:
        rule = f"fixed:{threshold}"
        for label in ("large", "small"):
            of_label = sorted(name for name in given.images if name.startswith(label))
            kept = [name for name in of_label if stay.get((name, rule), (False,))[0]]
            open_ones = [name for name in of_label if (name, rule) in freed]
            open_ones += [name for name in of_label if name in new]
            names = kept + open_ones
            rows = np.array([given.latents[name] for name in names])
            order = np.arange(len(open_ones))
            cover = definition(rows[: len(kept)], rows[len(kept) :], threshold, order)
            for i, name in enumerate(open_ones):
                keeper = None if cover.kept[i] else names[cover.keeper[i]]
                similarity = None if cover.kept[i] else float(cover.similarity[i])
                found[name, rule] = (bool(cover.kept[i]), keeper, similarity)
    return found


def test_versions_that_are_gone_stop_the_withdrawal(spark: SparkSession, tmp_path: Path) -> None:
    given = GivenLatents(spark, tmp_path, {"a": 20})
    given.write()
    given.prune("prune.mode=append")
    out = next(iter(given.images))
    del given.images[out]
    given.write()
    withdraw(spark, tmp_path, out)
    table = DeltaTable((tmp_path / "latents").as_uri())
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(JobError, match="the versions of the tables with them are gone"):
        given.prune("prune.mode=append")


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
