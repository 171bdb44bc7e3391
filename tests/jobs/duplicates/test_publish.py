"""What is published: its guards, its splits, and how many images each kept one stands for."""

from __future__ import annotations

import hashlib
import math
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import ingest
from jobs.duplicates import publish
from jobs.duplicates.publish import Removal
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.duplicates import Publish
from jobs.settings.load import build
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import open_store
from tests.support.session import settings_for

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def dealt(group: str, shares: dict[str, float], seed: int) -> str:
    """The definition: the hash's first 8 bytes as a number in [0, 1) against cumulated shares."""
    digest = hashlib.sha256(f"{seed}|{group}".encode()).digest()
    number = int.from_bytes(digest[:8], "big") / 2**64
    ends = zip(shares, accumulate(shares.values()), strict=True)
    return next((name for name, end in ends if number < end), list(shares)[-1])


CLASSES = [Removal("field", 300, 30), Removal("town", 10, 9), Removal("sea", 5, 5)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Publish(minimum_kept=31), r"minimum_kept = 31: field \(keeps 30 of 300\), town"),
        (Publish(minimum_kept=10), r"minimum_kept = 10: town \(keeps 9 of 10\)\. "),
        (Publish(most_removed_of_class=0.89), r"of_class = 0.89: field \(keeps 30 of 300\)\. "),
        (Publish(most_removed=0.86), r"most_removed = 0.86: all images \(keeps 44 of 315\)\. "),
    ],
)
def test_a_rule_that_removes_too_much_is_refused(settings: Publish, told: str) -> None:
    with pytest.raises(JobError, match=told):
        publish.check_removal(CLASSES, settings)


def test_a_removal_at_the_limits_is_allowed() -> None:
    publish.check_removal(CLASSES, Publish())
    settings = Publish(minimum_kept=9, most_removed=271 / 315, most_removed_of_class=0.9)
    publish.check_removal(CLASSES, settings)


def test_one_message_holds_all_refusals_and_names_a_few_classes() -> None:
    classes = [Removal(f"class{i}", 100, 1 + i) for i in range(9)]
    settings = Publish(minimum_kept=50, most_removed=0.5, most_removed_of_class=0.5)
    with pytest.raises(JobError) as caught:
        publish.check_removal(classes, settings)
    told = str(caught.value)
    assert told.count("class0 (keeps 1 of 100), class1 (keeps 2 of 100), class2") == 2
    assert told.count("and 6 more classes") == 2
    assert "all images (keeps 45 of 900)" in told
    assert "\n" not in told


def test_splits_by_definition_and_by_their_shares(spark: SparkSession) -> None:
    """Shares of 20,000 groups lie within four standard errors; another seed splits otherwise."""
    n = 20_000
    group = F.concat(F.lit("ünit/"), F.col("id").cast("string"))
    drawn = [publish.split_of(group, SHARES, seed).alias(f"of_{seed}") for seed in (0, 7)]
    rows = spark.range(n).select(group.alias("group"), *drawn).collect()
    for seed in (0, 7):
        found = [row[f"of_{seed}"] for row in rows]
        assert found == [dealt(row.group, SHARES, seed) for row in rows]
        for name, share in SHARES.items():
            error = math.sqrt(share * (1 - share) / n)
            assert abs(found.count(name) / n - share) < 4 * error
    assert sum(row.of_0 != row.of_7 for row in rows) > 0.2 * n


def test_every_image_is_in_the_split_of_its_group(finished: Run) -> None:
    chosen = finished.warehouse.read("selection").where("rule = 'fixed:0.97'").collect()
    images = {row.image_id: row for row in chosen}
    rows = finished.warehouse.read("splits").collect()
    assert sorted(row.image_id for row in rows) == sorted(images)
    shares = finished.settings.publish.shares
    for row in rows:
        image = images[row.image_id]
        assert row.group_id == (row.image_id if image.kept else image.kept_id)
        assert row.split == dealt(row.group_id, shares, 0)
        assert (row.label, row.kept, row.rule) == (image.label, image.kept, "fixed:0.97")
    assert {row.split for row in rows} == set(shares)
    assert any(not row.kept for row in rows)


def test_added_images_move_none_that_keep_their_group(spark: SparkSession) -> None:
    settings = build({}, ['publish.split=["train:0.5", "test:0.5"]']).publish
    old = [(f"a{i}", i % 2 == 0, None if i % 2 == 0 else f"a{i - 1}") for i in range(40)]
    new = [(f"Z{i}", False, f"a{2 * i}") for i in range(20)] + [("A", True, None)]

    def splits(rows: list[tuple[str, bool, str | None]]) -> dict[str, Any]:
        whole = [(name, "a", "fixed:0.9", "raw", 0.9, kept, by, None) for name, kept, by in rows]
        schema = tables.TABLES["selection"].schema
        given = spark.createDataFrame(whole, T.StructType(schema.fields[: len(whole[0])]))
        frame = arrow_frames.completed(given, schema)
        return {row.image_id: row for row in publish.splits(frame, settings).collect()}

    before, after = splits(old), splits(new + old)
    assert {name: after[name] for name in before} == before
    assert len(after) == 61
    for row in after.values():
        assert row.split == after[row.group_id].split


def test_a_refused_publication_changes_nothing_and_no_split_leaves_an_empty_table(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    images = Path(finished.settings.images)

    def published(*flags: str) -> dict[str, int]:
        current = Run(spark, settings_for(images, tmp_path / "w", *flags), "x")
        try:
            current.execute(publish.STAGE)
        finally:
            current.close()
        return {name: current.warehouse.version(name) for name in ("curated", "splits")}

    before = published()
    with pytest.raises(JobError, match=r"nothing was published at fixed:0.97: .*minimum_kept = 24"):
        published("publish.minimum_kept=24")
    assert published() == before
    after = published("publish.split=[]")
    warehouse = open_store(spark, str(tmp_path / "w"))
    assert after == {name: version + 1 for name, version in before.items()}
    assert warehouse.read("splits").isEmpty()
    assert not warehouse.read("curated").isEmpty()
    assert published("publish.split=[]") == after


def test_a_refusal_counts_the_anomalies_that_would_be_left_out() -> None:
    with pytest.raises(JobError, match=r"at fixed:0.95 and without 2 anomalies .*: more is"):
        publish.check_removal(
            [Removal("a", 10, 8)], Publish(rule="fixed:0.95", most_removed=0.1), 2
        )


def test_curated_counts_what_each_image_stands_for(finished: Run) -> None:
    selection = finished.warehouse.read("selection").where("rule = 'fixed:0.97'").collect()
    curated = finished.warehouse.read("curated").collect()
    assert {row.image_id for row in curated} == {row.image_id for row in selection if row.kept}
    assert sum(row.group_size for row in curated) == len(selection)
    for row in curated:
        removed = sum(other.kept_id == row.image_id for other in selection)
        assert row.group_size == 1 + removed
        assert row.weight == 1 / row.group_size


def test_publish_refuses_a_selection_of_images_that_are_gone(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    shutil.copytree(finished.settings.images, tmp_path / "images")
    current = Run(spark, settings_for(tmp_path / "images", tmp_path / "w"), "x")
    kept = current.warehouse.read("selection").where("kept").orderBy("image_id").first()
    assert kept is not None
    (tmp_path / "images" / kept.image_id).unlink()
    current.execute(ingest.STAGE)
    with pytest.raises(JobError, match="kept images are no longer"):
        current.execute(publish.STAGE)
