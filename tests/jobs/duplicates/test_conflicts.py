"""Images that resemble each other under unlike labels."""

from __future__ import annotations

import itertools
from pathlib import Path

import deltalake
import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs.duplicates import conflicts
from jobs.errors import JobError, SettingsError
from tests.support.given_latents import GivenLatents, rows_of, run_job
from tests.support.given_pictures import GivenPictures, ground
from tests.support.vectors import sim
from udfs.registration import Registrar, proved


def test_conflicts_may_be_proved(spark: SparkSession, tmp_path: Path) -> None:
    """Two classes show the same places, so that pictures of one lie over those of the other."""
    images = SamePlaces(spark, tmp_path, {"a": 20, "b": 15})
    for number in range(15):
        images.latents[f"b/{number:04}ü.png"] = images.latents[f"a/{number:04}ü.png"]
    images.write()
    run_job(images, conflicts.STAGE, "conflicts.threshold=overlap:0.7", "prune.candidates=[0.5]")
    names = sorted(images.images, key=str.encode)
    registrar = Registrar(
        np.stack([images.pixels(name)[..., 0] for name in names]), np.full(len(names), 2.0)
    )
    expected = set()
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        alike = sim(images.latents[one], images.latents[other]) > 0.5
        if alike and images.images[one]["label"] != images.images[other]["label"]:
            found = registrar.align(np.array([i]), np.array([j]))
            overlap = max(found.overlap[0], found.overlap_other[0])
            proof = proved(found, 0.5, 0.6)[0] and overlap >= 0.7
            if proof or images.content(one) == images.content(other):
                expected.add((one, other))
    rows = rows_of(images, "conflicts")
    assert {(row["image_id"], row["other_id"]) for row in rows} == expected
    assert len(rows) == len(expected) > 3
    assert {row["threshold"] for row in rows} == {None}
    assert all(max(row["overlap"], row["overlap_other"]) >= 0.7 for row in rows)


class SamePlaces(GivenPictures):
    """Pictures that depend on the number in an image's name alone."""

    def pixels(self, name: str) -> NDArray[np.uint8]:
        number = int(name[-9:-5])
        seed, x = number % 4, 4 * (number % 7)
        grey = np.rint(ground(seed, 96)[:64, x : x + 64]).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)


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
