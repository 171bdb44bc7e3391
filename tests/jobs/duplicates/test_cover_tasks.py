"""The number of partitions decides nothing."""

from __future__ import annotations

import pytest

from jobs.duplicates import groups as image_groups
from jobs.duplicates import selection as selection_rows
from jobs.duplicates.cover_tasks import Progress, Pruning
from jobs.duplicates.rules import Rules
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.given_latents import FLAGS, GivenLatents


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_the_number_of_partitions_does_not_change_the_selection(
    given: GivenLatents, partitions: int
) -> None:
    latents = open_store(given.spark, str(given.folder)).read("latents")
    settings = build({}, FLAGS).prune
    members = image_groups.grouped({"raw": latents.repartition(partitions)}, None, None, settings)
    marked = image_groups.decisions(members, list(settings.rules))
    counts = {f"raw/{label}": n for label, n in {"large": 130, "small": 40, "one": 1}.items()}
    pruning = Pruning(Rules.fixed(settings), Progress.begun(given.spark))
    rows = selection_rows.whole(
        given.spark, marked, counts, pruning, image_groups.in_order(settings)
    )
    found = {(r.image_id, r.rule): (r.kept, r.kept_id, r.similarity) for r in rows.collect()}
    assert found == given.defined()
