"""Rules that ask for a proof: small groups."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.support.folders import Once
from tests.support.given_latents import prepared
from tests.support.given_pictures import OVERLAPS, PROOF_FLAGS, GivenPictures


@pytest.fixture(scope="module")
def pictured(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenPictures:
    """Two classes of pictures that overlap, and one image alone."""
    sizes = {"large": 60, "small": 30, "one": 1}
    images = GivenPictures(spark, tmp_path_factory.mktemp("pictured"), sizes)
    prepared(images, "given_pictures", once)
    return images


def test_small_groups_are_decided_as_defined(pictured: GivenPictures) -> None:
    expected = pictured.proved_selection()
    for level in OVERLAPS:
        of_rule = [kept for (_, rule), (kept, *_) in expected.items() if rule == f"overlap:{level}"]
        assert 0 < sum(of_rule) < len(of_rule)
    pictured.prune(*PROOF_FLAGS)
    assert pictured.selection() == expected
