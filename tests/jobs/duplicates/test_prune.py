"""The job `prune` gives the selection that its definition gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs.duplicates import prune
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.duplicates import Prune
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.support.given_latents import ROUNDS_OF, GivenLatents
from udfs.vectors import cosine

EVIDENCE = arrow_frames.struct(tables.EVIDENCE).names


def test_tasks_select_as_defined(given: GivenLatents) -> None:
    expected = given.defined()
    assert {kept for kept, *_ in expected.values()} == {True, False}
    given.prune()
    assert given.selection() == expected
    version = open_store(given.spark, str(given.folder)).version("selection")
    again = given.prune(*ROUNDS_OF)  # sizes of tasks and windows decide nothing
    assert again.warehouse.version("selection") == version


def test_overlap_rules_need_pictures(given: GivenLatents) -> None:
    """The images of vectors have none; those of an earlier version have no hash of theirs."""
    flags = ('prune.thresholds=["overlap:0.7"]', "publish.rule=overlap:0.7")
    warehouse = open_store(given.spark, str(given.folder))
    images = warehouse.read("images")
    vectors = CommitInfo("vectors", "ingest", "vectors", metadata={"vectors": True})
    warehouse.write(images, "images", vectors)
    with pytest.raises(JobError, match=r"made of vectors and holds none: give numbers in prune"):
        given.prune(*flags)
    path = warehouse.path("images")
    earlier = CommitInfo("earlier", "ingest", "earlier")
    writer = images.drop("pixels_sha256").write.format("delta").mode("overwrite")
    writer.option("overwriteSchema", "true").option("userMetadata", earlier.json()).save(path)
    with pytest.raises(JobError, match=r"by an earlier version: run \./spark-submit\.sh ingest"):
        given.prune(*flags)
    given.prune()  # numbers need none


def test_the_summary_names_each_kind_of_rule() -> None:
    settings = Prune((0.8, 0.9, "pair_rate:0.01", "overlap:0.7"), space=("raw",))
    stage_run: Any = SimpleNamespace(settings=SimpleNamespace(prune=settings), rows={}, summary="")
    counts = [
        prune.KeptCount("a", rule, "raw", None, 10, kept)
        for rule, kept in zip(settings.rules, (4, 6, 5, 9), strict=True)
    ]
    prune.summarise(stage_run, counts, 1)
    assert stage_run.rows == {
        "kept_overlap:0.7": 9,
        "kept_0.9": 6,
        "kept_0.8": 4,
        "kept_pair_rate:0.01": 5,
    }
    assert stage_run.summary == (
        "1 classes; kept 90% at overlap ≥ 0.7, 60% at 0.9, 40% at 0.8, 50% at pair_rate:0.01"
    )


def test_selection_keeps_both_promises(finished: Run) -> None:
    """No two kept images are above T; a removed one names the first kept one that is."""
    latents = {
        row.image_id: np.array(row.latent, np.float32)
        for row in finished.warehouse.read("latents").collect()
    }
    selection = finished.warehouse.read("selection").collect()
    assert {row.threshold for row in selection} == {0.999, 0.97}
    assert any(not row.kept for row in selection)
    assert {row[name] for row in selection for name in EVIDENCE} == {None}
    for threshold in (0.999, 0.97):
        for label in ("field", "town"):
            rows = [r for r in selection if (r.label, r.threshold) == (label, threshold)]
            rows.sort(key=lambda row: row.image_id.encode())
            kept: list[str] = []
            for row in rows:
                pairs = [
                    (other, cosine.exact_similarity(latents[row.image_id], latents[other]))
                    for other in kept
                ]
                first = next((pair for pair in pairs if pair[1] > threshold), (None, None))
                assert (row.kept_id, row.similarity) == first
                assert row.kept == (first[0] is None)
                if row.kept:
                    kept.append(row.image_id)
