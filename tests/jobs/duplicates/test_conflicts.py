"""Images that resemble each other under unlike labels."""

from __future__ import annotations

import itertools

import deltalake
import pytest

from jobs.duplicates import conflicts
from jobs.errors import JobError, SettingsError
from tests.support.given_latents import GivenLatents, rows_of, run_job
from tests.support.vectors import sim


def test_conflicts_are_as_defined(two_classes: GivenLatents) -> None:
    run_job(two_classes, conflicts.STAGE, "conflicts.threshold=0.6")
    rows = rows_of(two_classes, "conflicts")
    found = {
        (row["image_id"], row["other_id"]): (row["label"], row["other_label"], row["similarity"])
        for row in rows
    }
    expected = {}
    for one, other in itertools.combinations(
        sorted(two_classes.images, key=lambda n: n.encode()), 2
    ):
        labels = two_classes.images[one]["label"], two_classes.images[other]["label"]
        similarity = sim(two_classes.latents[one], two_classes.latents[other])
        if labels[0] != labels[1] and similarity > 0.6:
            expected[one, other] = (*labels, similarity)
    assert found == expected
    assert found["a/0000ü.png", "b/0001ü.png"] == ("a", "b", 1.0)
    assert len(rows) == len(found)
    read = deltalake.DeltaTable(str(two_classes.folder / "conflicts"))
    assert (read.protocol().min_reader_version, read.protocol().min_writer_version) == (1, 2)
    assert read.to_pyarrow_table().num_rows == len(rows)
    with pytest.raises(JobError, match=r"more than conflicts\.most = 1 pairs"):
        run_job(two_classes, conflicts.STAGE, "conflicts.threshold=0.5", "conflicts.most=1")
    with pytest.raises(SettingsError, match=r"set conflicts\.threshold"):
        run_job(two_classes, conflicts.STAGE)
