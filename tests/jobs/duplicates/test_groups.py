"""Groups, orders and protected images by columns that the settings name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.duplicates.groups import check_columns
from jobs.errors import SettingsError
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents


def test_selection_follows_groups_orders_and_protected_images(given: GivenLatents) -> None:
    """Groups of about 28 images, with a limit of 28: some are small and some large."""
    given.prune(
        "prune.group_by=['camera']",
        "prune.never_across=['split']",
        "prune.order=['-size_bytes', 'log_density']",
        "prune.protect=size_bytes % 7 = 0",
        "prune.largest_class=28",
        "prune.window=20",
    )
    expected = given.defined(
        group=lambda image: (image["camera"], image["split"]),
        order=lambda image: (-image["size_bytes"], given.density[image["image_id"]]),
        first=lambda image: image["size_bytes"] % 7 == 0,
    )
    assert given.selection() == expected


def test_one_message_names_all_columns_that_cannot_be_used(given: GivenLatents) -> None:
    settings = build(
        {},
        (
            "prune.order=['lost', '-pixels']",
            "prune.group_by=['label', 'gone']",
            "prune.protect=label",
        ),
    ).prune
    images = open_store(given.spark, str(given.folder)).read("images")
    with pytest.raises(SettingsError) as told:
        check_columns(images, settings)
    lines = str(told.value).splitlines()
    assert [line.split(":")[0].split(" =")[0] for line in lines] == [
        "prune.order",
        "prune.order",
        "prune.group_by",
        "prune.protect",
    ]
    for line, word in zip(lines, ["lost", "pixels (binary)", "gone", "gives string"], strict=True):
        assert word in line
    with pytest.raises(SettingsError, match="no SQL predicate on images"):
        check_columns(images, replace(settings, protect="size_bytes >", order=(), group_by=()))


def test_flat_images_are_copies_of_what_has_the_same_pixels_alone(
    spark: SparkSession, tmp_path: Path
) -> None:
    """An encoder sees no difference between them; so each content stays, at every rule."""
    given = GivenLatents(spark, tmp_path, {"a": 12})
    names = sorted(given.images)
    flat = dict(zip(names[3:9], "uvwuvw", strict=True))
    for name, content in flat.items():
        given.latents[name] = given.latents[names[3]]
        given.images[name] |= {"levels": 3, "pixels_sha256": content}
    for name in names[:3] + names[9:]:
        given.images[name] |= {"levels": 200, "pixels_sha256": name}
    given.write()
    given.prune()
    found = given.selection()
    for rule in {rule for _, rule in found}:
        kept = {name for name in flat if found[name, rule][0]}
        assert kept == set(names[3:6])
        others = [found[name, rule] for name in names[6:9]]
        assert all(similarity == pytest.approx(1) for _, _, similarity in others)


def test_flat_images_that_were_decided_stay_decided(spark: SparkSession, tmp_path: Path) -> None:
    """In mode append, too, where a new one has a smaller id and the same pixels."""
    given = GivenLatents(spark, tmp_path, {"a": 12})
    names = sorted(given.images)
    for name in names[::2]:
        given.latents[name] = given.latents[names[0]]
        given.images[name] |= {"levels": 1, "pixels_sha256": "same"}
    given.write(names[4:])
    given.prune("prune.mode=append")
    first = given.selection()
    given.write()
    given.prune("prune.mode=append")
    assert first.items() <= given.selection().items()
