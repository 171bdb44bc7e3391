"""Pruning within sub-labels."""

from __future__ import annotations

import pytest

from jobs.density import modes as job
from jobs.duplicates.groups import check_columns
from jobs.errors import JobError, SettingsError
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents
from tests.support.two_kinds import ASKED, kind


def test_images_are_compared_within_sublabels(clustered: GivenLatents) -> None:
    clustered.job(job.STAGE, *ASKED)
    clustered.prune(*ASKED)
    expected = clustered.defined(group=kind)
    assert clustered.selection() == expected
    assert expected != clustered.defined()
    version = open_store(clustered.spark, str(clustered.folder)).version("selection")
    clustered.job(job.STAGE, *ASKED)
    assert clustered.prune(*ASKED).warehouse.version("selection") == version


def test_sublabels_of_other_images_are_refused_and_so_is_a_column_of_that_name(
    clustered: GivenLatents,
) -> None:
    clustered.add("one/999.png", "one", clustered.latents["one/000.png"], 999)
    clustered.write()
    with pytest.raises(JobError, match="made of other images or labels"):
        clustered.prune(*ASKED)
    images = open_store(clustered.spark, str(clustered.folder)).read("images")
    settings = build({}, ASKED).prune
    check_columns(images, settings)
    with pytest.raises(SettingsError, match="is a column of images and of sublabels"):
        check_columns(images.withColumnRenamed("camera", "sublabel"), settings)
