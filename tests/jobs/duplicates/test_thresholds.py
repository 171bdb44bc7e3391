"""Thresholds that rules find by themselves, for each class or for all."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from jobs.autoencoder import whiten
from jobs.duplicates import thresholds
from jobs.duplicates.prune import KeptCount, threshold_rows
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.duplicates import Prune
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents
from tests.support.vectors import definition
from udfs.duplicates.thresholds import (
    AngleMoments,
    BisectionSearch,
    angle_histogram,
    keep_share,
    kept_counts,
    pair_angles,
    pair_rate,
)


@pytest.mark.whole
def test_thresholds_are_found_in_both_spaces_as_defined(given: GivenLatents) -> None:
    """keep_share and pair_rate find T for each class, keep_share_all one T for all classes."""
    rules = ("fixed:0.9", "keep_share:0.5", "keep_share_all:0.4", "pair_rate:0.01")
    flags = (
        'prune.space=["raw", "whitened"]',
        f"prune.thresholds={[0.9, *rules[1:]]}".replace("'", '"'),
    )
    given.job(whiten.STAGE, *flags)
    given.prune(*flags)
    warehouse = open_store(given.spark, str(given.folder))
    spaces = {
        "raw": {row.image_id: row.latent for row in warehouse.read("latents").collect()},
        "whitened": {row.image_id: row.vector for row in warehouse.read("vectors").collect()},
    }
    selection = warehouse.read("selection").collect()
    decided = {(r.image_id, r.rule, r.space): r for r in selection}
    assert len(decided) == len(selection) == len(given.images) * len(rules) * len(spaces)
    shown = {
        (r.label, r.rule, r.space): (r.threshold, r.reached)
        for r in warehouse.read("thresholds").collect()
    }
    names = sorted(given.images)
    for space, vectors in spaces.items():
        classes = {
            label: np.array([vectors[n] for n in names if n.startswith(label)], np.float32)
            for label in ("large", "small", "one")
        }
        low = 0.0 if space == "raw" else -1.0
        search = BisectionSearch.of(0.4, len(given.images), low)
        while search.left:
            tried = search.next_thresholds(1)
            search.narrow([sum(kept_counts(rows, tried)[0] for rows in classes.values())])
        values = {label: pair_angles(rows) for label, rows in classes.items()}
        pooled = np.concatenate([values[label] for label in ("large", "one", "small")])
        for label, rows in classes.items():
            of = values[label] if label == "large" else pooled  # 8 pairs of the small do not tell
            expected = {
                "fixed:0.9": 0.9,
                "keep_share:0.5": keep_share(rows, 0.5, low=low),
                "keep_share_all:0.4": search.high,
                "pair_rate:0.01": pair_rate(angle_histogram(of, AngleMoments.of(of).step), 0.01),
            }
            of_class = [name for name in names if name.startswith(label)]
            for rule, threshold in expected.items():
                cover = definition(rows[:0], rows, threshold, np.arange(len(rows)))
                for i, name in enumerate(of_class):
                    row = decided[name, rule, space]
                    keeper = None if cover.kept[i] else of_class[cover.keeper[i]]
                    assert (row.kept, row.kept_id) == (cover.kept[i], keeper)
                    assert row.threshold == pytest.approx(threshold, abs=1e-12)
                found, reached = shown[label, rule, space]
                assert found == pytest.approx(threshold, abs=1e-12)
                assert reached == cover.kept.mean()
    # A new batch is decided by the thresholds of the first.
    before = warehouse.read("selection").count()
    given.add("small/z.png", "small", given.latents["small/0003ü.png"], 1)
    given.write()
    append = (*flags, "prune.mode=append")
    given.job(whiten.STAGE, *append)
    with pytest.raises(JobError, match="made with"):
        given.prune(*append, "prune.seed=5")
    given.prune(*append)
    new = warehouse.read("selection").where("image_id = 'small/z.png'").collect()
    assert open_store(given.spark, str(given.folder)).read("selection").count() == before + 8
    for row in new:
        assert (row.kept, row.kept_id) == (False, "small/0003ü.png")
        assert row.threshold == shown["small", row.rule, row.space][0]


def test_thresholds_state_the_share_kept(finished: Run) -> None:
    for row in finished.warehouse.read("thresholds").collect():
        chosen = finished.warehouse.read("selection").where(
            (F.col("label") == row.label) & (F.col("rule") == row.rule)
        )
        assert row.reached == pytest.approx(chosen.where("kept").count() / chosen.count())
        assert row.asked == row.threshold
        assert row.candidates is None


def test_no_threshold_is_searched_for_under_an_overlap_rule(given: GivenLatents) -> None:
    """Beside rules that search for T it has none, in any group; alone, nothing is computed."""
    members = given.spark.createDataFrame(
        [("a", "raw/x", 0, [1.0, 0.0]), ("b", "raw/x", 0, [1.0, 0.1])],
        "image_id string, group string, reference_mask bigint, latent array<float>",
    )
    both = Prune(("overlap:0.7", 0.9, "keep_share:0.5"), space=("raw",))
    found = thresholds.determined(members, {"raw/x": 2}, both, [])
    assert found.names == ("overlap:0.7", "fixed:0.9", "keep_share:0.5")
    assert np.isnan(found.common).tolist() == [True, False, True]
    assert np.isnan(found.values("raw/x")).tolist() == [True, False, False]
    alone = thresholds.determined(members, {"raw/x": 2}, Prune(("overlap:0.7",)), [])
    assert not alone.by_group


def test_an_overlap_rule_states_its_candidates() -> None:
    counts = [
        KeptCount("a", "overlap:0.7", "raw", None, 4, 3),
        KeptCount("a", "fixed:0.9", "raw", 0.9, 4, 2),
    ]
    settings = Prune((0.9, "overlap:0.7"), candidates=(0.6,), space=("raw",))
    rows = threshold_rows(counts, settings).to_pylist()
    assert [(row["asked"], row["candidates"], row["threshold"]) for row in rows] == [
        (0.7, 0.6, None),
        (0.9, None, 0.9),
    ]
