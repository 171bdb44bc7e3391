"""The job `modes`: sub-labels of classes that have several modes, and what prune does of them."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.density import modes as job
from jobs.density import project
from jobs.density import sublabels as class_parts
from jobs.duplicates import groups
from jobs.errors import JobError, SettingsError
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.jobs.duplicates.test_prune import Given
from udfs.density import histogram, modes
from udfs.density.marginal import Marginal


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["modes.draws=50"], "at least 59 are needed for estimate.components = 3"),
        (["prune.group_by=['sublabel']"], "sublabel needs modes.draws, such as 200"),
        (["modes.level=0"], "must lie between"),
    ],
)
def test_settings_of_modes_are_checked_before_a_pipeline(flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, flags, job="pipeline", images=".")


ASKED = ("modes.draws=100", "prune.group_by=['sublabel']")
SIZES = {"two": 160, "one": 90, "lone": 1, "two/1": 4}


@pytest.fixture(scope="module")
def clustered(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """A class of two kinds of images that resemble each other a little, and three of one kind.

    A label is named like a part of another.
    """
    images = Given(spark, tmp_path_factory.mktemp("clustered"), {})
    rng = np.random.default_rng(0)
    for label, size in SIZES.items():
        for i in range(size):
            latent = rng.normal(scale=0.5, size=40)
            latent[0] += 10
            latent[1] += second(i) * 4.0 if label == "two" else 0.0
            images.add(f"{label}/{i:03}.png", label, latent.astype(np.float32), i)
    images.write()
    images.job(project.STAGE)
    return images


def second(number: int) -> bool:
    """Which image of the class `two` is of its smaller kind."""
    return number % 8 < 3


def kind(image: dict[str, str]) -> tuple[str, bool]:
    """What the sub-labels are to be."""
    number = int(image["image_id"][-7:-4])
    return image["label"], image["label"] == "two" and second(number)


def test_a_class_of_two_kinds_is_split(clustered: Given) -> None:
    with pytest.raises(SettingsError, match=r"modes: set modes\.draws"):
        clustered.job(job.STAGE)
    with pytest.raises(JobError, match=r"table sublabels.*run \./spark-submit\.sh modes first"):
        clustered.prune(*ASKED)
    clustered.job(job.STAGE, *ASKED)
    warehouse = open_store(clustered.spark, str(clustered.folder))
    densities = warehouse.read("density").where("rule = 'none'").collect()
    cells = {
        (r.label, r.component): histogram.Histogram(r.origin, r.step, r.counts) for r in densities
    }
    rows = {(row.label, row.component): row for row in warehouse.read("modes").collect()}
    assert rows.keys() == cells.keys()
    for key, row in rows.items():
        count = sum(label == row.label for label, _ in cells)
        expected = modes.stable(cells[key], 100, 0.05 / count)
        assert (row.stable_modes, row.p_value) == (expected.stable, expected.p_value)
        assert row.positions == expected.positions.tolist()
        assert row.modes == len(Marginal(cells[key]).modes())
        assert row.heterogeneous == (row.label == "two")
    assert {key for key, row in rows.items() if row.stable_modes > 1} == {("two", 1)}

    sublabels = warehouse.read("sublabels").collect()
    assert {row.image_id for row in sublabels} == clustered.images.keys()
    names: dict[tuple[str, bool], set[str]] = {}
    for row in sublabels:
        assert row.label == clustered.images[row.image_id]["label"]
        names.setdefault(kind(clustered.images[row.image_id]), set()).add(row.sublabel)
    parts = [names.pop(("two", small)) for small in (False, True)]
    assert sorted(parts, key=min) == [{"two/1"}, {"two/2"}]
    assert names == {(label, False): {label} for label in SIZES if label != "two"}

    densities = job.densities(warehouse.read("density"))
    found = {("two", 1): modes.stable(cells["two", 1], 100, 0.05 / 3)}
    splits = job.splits(densities, {"two": {1: found["two", 1]}})
    again = class_parts.sublabels(warehouse.read("projections").repartition(7), splits).collect()
    assert sorted(again) == sorted(sublabels)


def test_images_are_compared_within_sublabels(clustered: Given) -> None:
    clustered.job(job.STAGE, *ASKED)
    clustered.prune(*ASKED)
    expected = clustered.defined(group=kind)
    assert clustered.selection() == expected
    assert expected != clustered.defined()
    version = open_store(clustered.spark, str(clustered.folder)).version("selection")
    clustered.job(job.STAGE, *ASKED)
    assert clustered.prune(*ASKED).warehouse.version("selection") == version


def test_sublabels_of_other_images_and_a_column_of_that_name_are_refused(clustered: Given) -> None:
    clustered.add("one/999.png", "one", clustered.latents["one/000.png"], 999)
    clustered.write()
    with pytest.raises(JobError, match="made of other images or labels"):
        clustered.prune(*ASKED)
    images = open_store(clustered.spark, str(clustered.folder)).read("images")
    settings = build({}, ASKED).prune
    groups.check(images, settings)
    with pytest.raises(SettingsError, match="is a column of images and of sublabels"):
        groups.check(images.withColumnRenamed("camera", "sublabel"), settings)
