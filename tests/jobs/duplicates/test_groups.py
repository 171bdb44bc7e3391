"""Groups, orders and protected images by columns that the settings name."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
