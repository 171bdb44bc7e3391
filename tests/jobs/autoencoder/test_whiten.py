"""Whitening axes that were fitted on few images are not used for many."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import whiten
from jobs.errors import JobError
from tests.support.given_latents import GivenLatents


def test_axes_fitted_on_few_images_are_refused_for_many(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Along so few axes most images would have nearly the same vector."""
    given = GivenLatents(spark, tmp_path, {"large": 130, "small": 40, "one": 1})
    flags = ("prune.space=whitened", "prune.thresholds=[0.9]")
    given.write(sorted(given.images)[:6])
    given.job(whiten.STAGE, *flags)
    given.write()
    with pytest.raises(JobError, match=r"fitted on few images, 6 where all images now have \d\d;"):
        given.job(whiten.STAGE, *flags, "prune.mode=append")
    given.job(whiten.STAGE, *flags)
    given.job(whiten.STAGE, *flags, "prune.mode=append")
