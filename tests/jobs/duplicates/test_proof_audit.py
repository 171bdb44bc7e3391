"""The audit of proofs passes a true selection and finds planted mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.duplicates.audit_tasks import SampledLatents
from jobs.duplicates.pictures import PICTURES, grey_rows
from jobs.duplicates.proof_audit import ProofAudit
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.store import open_store
from tests.support.folders import Once
from tests.support.given_latents import prepared, rows_of
from tests.support.given_pictures import PROOF_FLAGS, GivenPictures
from tests.support.vectors import sim

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pruned(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenPictures:
    images = GivenPictures(spark, tmp_path_factory.mktemp("audited"), {"large": 60, "small": 30})
    prepared(images, "audited_pictures", once)
    images.prune(*PROOF_FLAGS)
    return images


@pytest.fixture(scope="module")
def audited(pruned: GivenPictures) -> ProofAudit:
    settings = pruned.settings(*PROOF_FLAGS).prune
    images = open_store(pruned.spark, str(pruned.folder)).read("images")
    columns = images.select("image_id", "pixels_sha256", "width", "height", "pixels")
    pictures = arrow_frames.mapped(columns, grey_rows, PICTURES).where("grey IS NOT NULL")

    def chosen(ids: Collection[str]) -> DataFrame:
        return pictures.where(F.col("image_id").isin([*ids]))

    order = sorted(pruned.images, key=str.encode)
    ranks = [
        (name, f"raw/{pruned.images[name]['label']}", i, False) for i, name in enumerate(order)
    ]
    schema = "image_id string, group string, rank bigint, decided_earlier boolean"
    frame = pruned.spark.createDataFrame(ranks, schema)
    return ProofAudit(settings, chosen, frame, Counter())


def near(audited: ProofAudit, pruned: GivenPictures, rows: Rows) -> Rows:
    """The kept images of a selection that the audit proves near-copies."""
    selection: DataFrame = pruned.spark.createDataFrame(rows, tables.TABLES["selection"].schema)
    selection = selection.withColumns(
        {"group": F.concat_ws("/", "space", "label"), "fixed": F.lit(False)}
    )
    latents = open_store(pruned.spark, str(pruned.folder)).read("latents")
    latents = latents.withColumn("group", F.concat(F.lit("raw/"), "label"))
    kept = {row["image_id"] for row in rows if row["kept"]}
    table = latents.where(F.col("image_id").isin(list(kept)))
    table = table.select("image_id", "group", "latent").toArrow()
    sample = SampledLatents.of(table, {"raw/large": 0.5, "raw/small": 0.5})
    found, pairs = audited.similar(selection, latents, sample)
    assert sum(pairs.values()) > 50
    return found


def test_a_true_selection_passes(audited: ProofAudit, pruned: GivenPictures) -> None:
    rows = rows_of(pruned, "selection")
    removed = [row for row in rows if not row["kept"]]
    assert len(removed) > 50
    assert audited.unproved(removed) == []
    assert near(audited, pruned, rows) == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"overlap": 0.95},
        {"registration": 0.7},
        {"registration": None},
        {"shift_x": 9.0},
        {"agreement": 0.1},
        {"agreement": 0.995},
        {"rule": "overlap:0.9"},
    ],
    ids=str,
)
def test_false_evidence_is_found(
    audited: ProofAudit, pruned: GivenPictures, mistake: dict[str, Any]
) -> None:
    rows = rows_of(pruned, "selection")
    victim = next(
        row
        for row in rows
        if row["rule"] == "overlap:0.4" and row["registration"] not in (None, 1.0)
        if row["overlap"] < 0.85 and abs(row["shift_x"] or 9) < 8
    )
    assert audited.unproved([victim]) == []
    assert len(audited.unproved([victim | mistake])) == 1


def test_a_keeper_that_is_no_near_copy_is_found(audited: ProofAudit, pruned: GivenPictures) -> None:
    rows = [row for row in rows_of(pruned, "selection") if row["registration"] == 1.0]
    row = rows[0]
    others = [
        name for name in pruned.images if pruned.content(name) != pruned.content(row["kept_id"])
    ]
    assert len(audited.unproved([row | {"kept_id": others[0]}])) == 1


def test_a_kept_near_copy_is_found(audited: ProofAudit, pruned: GivenPictures) -> None:
    """An image is said to be kept whose keeper is the most similar kept image before it."""
    rows = rows_of(pruned, "selection")
    kept = {(row["image_id"], row["rule"]) for row in rows if row["kept"]}

    def is_nearest(row: dict[str, Any]) -> bool:
        before = [
            sim(pruned.latents[row["image_id"]], pruned.latents[name])
            for name in pruned.images
            if (name, row["rule"]) in kept
            and pruned.images[name]["label"] == row["label"]
            and name.encode() < row["image_id"].encode()
        ]
        return bool(row["similarity"] == max(before))

    victim = next(row for row in rows if not row["kept"] and is_nearest(row))
    blank = {name: None for name in victim if name not in ("image_id", "label", "rule", "space")}
    changed = [row for row in rows if row is not victim]
    changed.append(victim | blank | {"kept": True})
    found = near(audited, pruned, changed)
    assert victim["image_id"] in {row["sample_id"] for row in found}
    assert {row["rule"] for row in found} == {victim["rule"]}
    assert any(row["image_id"] == victim["kept_id"] for row in found)
