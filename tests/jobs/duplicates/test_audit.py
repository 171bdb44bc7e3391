"""The audit passes true selections and finds planted mistakes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.duplicates import audit as audit_job
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.settings.duplicates import Prune
from tests.support.vectors import spectral
from udfs.duplicates import greedy

THRESHOLD = 0.9


@pytest.fixture(scope="module")
def pruned(spark: SparkSession) -> tuple[list[dict[str, Any]], DataFrame]:
    """A true selection of two classes, and its latents."""
    rows: list[dict[str, Any]] = []
    latents = []
    for label in ("a", "b"):
        matrix = spectral(60, 16, ord(label))
        found = greedy.cover(None, matrix, THRESHOLD)
        ids = [f"{label}{i:02}" for i in range(60)]
        latents += [(i, label, row.tolist()) for i, row in zip(ids, matrix, strict=True)]
        for name, kept, keeper, similarity in zip(
            ids, found.kept.tolist(), found.keeper.tolist(), found.similarity.tolist(), strict=True
        ):
            rows.append(
                {
                    "image_id": name,
                    "label": label,
                    "rule": "fixed:0.9",
                    "space": "raw",
                    "threshold": THRESHOLD,
                    "kept": kept,
                    "kept_id": None if kept else ids[keeper],
                    "similarity": None if kept else similarity,
                    "group": label,
                    "fixed": False,
                }
            )
    table = spark.createDataFrame(latents, "image_id string, group string, latent array<float>")
    return rows, table.withColumn("space", F.lit("raw")).repartition(3)


SELECTION = (
    "image_id string, label string, rule string, space string, threshold double, kept boolean, "
    "kept_id string, similarity double, group string, fixed boolean"
)


def selected(spark: SparkSession, rows: list[dict[str, Any]]) -> DataFrame:
    return spark.createDataFrame(rows, SELECTION)


def findings(
    spark: SparkSession, rows: list[dict[str, Any]], latents: DataFrame
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    selection = selected(spark, rows)
    removed = [row for row in rows if not row["kept"]]
    stay = [row for row in rows if row["kept"]]
    table = audit_job.latents_of(latents, stay, removed)
    counts = audit_job.kept_counts(selection, ["fixed:0.9"], len(rows))
    similar, pairs = audit_job.similar_kept_pairs(selection, latents, table, stay, counts)
    return similar, audit_job.unjustified_removals(selection, table, removed), pairs


def test_a_true_selection_passes(
    spark: SparkSession, pruned: tuple[list[dict[str, Any]], DataFrame]
) -> None:
    rows, latents = pruned
    similar, unjustified, pairs = findings(spark, rows, latents)
    assert similar == unjustified == []
    kept = [sum(row["kept"] and row["label"] == label for row in rows) for label in "ab"]
    assert pairs == {"fixed:0.9": sum(n * (n - 1) for n in kept)}
    assert sum(kept) < 115


def test_a_kept_copy_is_found(
    spark: SparkSession, pruned: tuple[list[dict[str, Any]], DataFrame]
) -> None:
    rows = [dict(row) for row in pruned[0]]
    victim = next(row for row in rows if not row["kept"])
    pair = {victim["image_id"], victim["kept_id"]}
    victim |= {"kept": True, "kept_id": None, "similarity": None}
    similar, unjustified, _ = findings(spark, rows, pruned[1])
    assert findings(spark, [row | {"fixed": True} for row in rows], pruned[1])[0] == []
    assert any({row["sample_id"], row["image_id"]} == pair for row in similar)
    assert not unjustified


@pytest.mark.parametrize(
    "lie", ["not kept", "other class", "no such image", "below", "similarity", "no similarity"]
)
def test_an_unjustified_removal_is_found(
    spark: SparkSession, pruned: tuple[list[dict[str, Any]], DataFrame], lie: str
) -> None:
    rows = [dict(row) for row in pruned[0]]
    removed = [row for row in rows if not row["kept"]]
    victim = removed[0]
    kept = [row["image_id"] for row in rows if row["kept"] and row["label"] == victim["label"]]
    elsewhere = [row["image_id"] for row in rows if row["kept"] and row["label"] != victim["label"]]
    if lie == "not kept":
        victim["kept_id"] = next(r["image_id"] for r in removed[1:] if r["label"] == "a")
    elif lie == "other class":
        victim["kept_id"] = elsewhere[0]
    elif lie == "no such image":
        victim["kept_id"] = "gone"
    elif lie == "below":
        victim["kept_id"] = next(name for name in reversed(kept) if name != victim["kept_id"])
    elif lie == "no similarity":
        victim["similarity"] = None
    else:
        victim["similarity"] = float(victim["similarity"]) + 1e-9
    wrong = [row for row in rows if not row["kept"]]
    table = audit_job.latents_of(pruned[1], [], wrong)
    unjustified = audit_job.unjustified_removals(selected(spark, rows), table, wrong)
    assert [row["image_id"] for row in unjustified] == [victim["image_id"]]


def test_a_decision_that_is_missing_is_found(
    spark: SparkSession, pruned: tuple[list[dict[str, Any]], DataFrame]
) -> None:
    with pytest.raises(JobError, match=r"fixed:0\.9 found 119 decisions on 119 of 120 images"):
        audit_job.kept_counts(selected(spark, pruned[0][1:]), ["fixed:0.9"], 120)
    doubled = [*pruned[0][1:], pruned[0][1]]
    with pytest.raises(JobError, match=r"fixed:0\.9 found 120 decisions on 119 of 120 images"):
        audit_job.kept_counts(selected(spark, doubled), ["fixed:0.9"], 120)


def test_every_run_is_audited(finished: Run) -> None:
    rows = finished.warehouse.read("audit").collect()
    assert [row.rule for row in rows] == ["fixed:0.999", "fixed:0.97"]
    selection = finished.warehouse.read("selection").collect()
    for row in rows:
        kept = sum(other.kept and other.rule == row.rule for other in selection)
        removed = sum(not other.kept and other.rule == row.rule for other in selection)
        assert (row.kept_checked, row.removed_checked) == (kept, removed)  # fewer than prune.audit
        assert (row.too_similar, row.unjustified) == (0, 0)


class Written:
    """Keeps what the audit writes, so that the shared warehouse gets no false row."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: dict[str, int] = {}
        self.marks: list[bool] = []

    def write(self, frame: pa.Table, table: str, *, finished: bool) -> None:
        assert frame.num_rows == 1
        assert table == "audit"
        self.marks.append(finished)


def test_a_violation_fails_the_run_and_names_an_example(
    spark: SparkSession, pruned: tuple[list[dict[str, Any]], DataFrame], finished: Run
) -> None:
    rows = [dict(row) for row in pruned[0]]
    victim = next(row for row in rows if not row["kept"])
    victim |= {"kept": True, "kept_id": None, "similarity": None}
    stage_run: Any = Written(finished)
    selection = selected(spark, rows)
    with pytest.raises(JobError, match=r"kept images above T, as .*prune again"):
        audit_job.check(
            stage_run, selection, pruned[1], 120, Prune((THRESHOLD,), space=("raw",), audit=10_000)
        )
    assert stage_run.marks == [False]
    assert stage_run.rows["audit_violations"] > 0
