"""The number of partitions decides nothing."""

from __future__ import annotations

import pytest

from jobs.duplicates.candidates import in_order, with_masks
from jobs.duplicates.cover_tasks import CoverProgress, GroupCovers
from jobs.duplicates.groups import grouped
from jobs.duplicates.rules import Rules
from jobs.duplicates.selection import rows_by_shuffle
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.given_latents import FLAGS, GivenLatents


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_the_number_of_partitions_does_not_change_the_selection(
    given: GivenLatents, partitions: int
) -> None:
    latents = open_store(given.spark, str(given.folder)).read("latents")
    settings = build({}, FLAGS).prune
    members = grouped({"raw": latents.repartition(partitions)}, None, None, settings)
    candidates = with_masks(members, list(settings.rules))
    counts = {f"raw/{label}": n for label, n in {"large": 130, "small": 40, "one": 1}.items()}
    progress = CoverProgress.begin(given.spark)
    covers = GroupCovers(Rules.given(settings), progress)
    rows = rows_by_shuffle(candidates, counts, covers, in_order(settings))
    found = {(r.image_id, r.rule): (r.kept, r.kept_id, r.similarity) for r in rows.collect()}
    assert found == given.defined()
    shown = progress.current(counts)
    assert (shown.share, shown.images) == (1.0, 171)
