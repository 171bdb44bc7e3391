from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import whiten
from jobs.duplicates import conflicts, leaks
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.jobs.duplicates.test_prune import FLAGS, THRESHOLDS, Given
from tests.support.vectors import sim

WINDOW = "prune.window=16"  # several windows


@pytest.fixture(scope="module")
def given(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Two classes; an image of one is of the other as well."""
    images = Given(spark, tmp_path_factory.mktemp("leaks"), {"a": 40, "b": 30})
    one, other = images.latents["a/0000ü.png"], "b/0001ü.png"
    images.latents[other] = one
    images.write()
    return images


def run_job(given: Given, job: Stage, *flags: str) -> None:
    settings = build({}, (*FLAGS, WINDOW, *flags), warehouse=str(given.folder), quiet=True)
    run = Run(given.spark, settings, "job")
    try:
        run.execute(job)
    finally:
        run.close()


def rows_of(given: Given, table: str) -> list[dict[str, Any]]:
    return [
        row.asDict() for row in open_store(given.spark, str(given.folder)).read(table).collect()
    ]


def expected_leaks(given: Given, by_label: bool) -> dict[tuple[str, str], tuple[str, float]]:
    """By definition: the first test image, by its id, above each threshold."""
    test = sorted(
        (name for name, image in given.images.items() if image["split"] == "test"),
        key=lambda name: name.encode(),
    )
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for name, image in given.images.items():
        for threshold, other in itertools.product(THRESHOLDS, test):
            similarity = sim(given.latents[name], given.latents[other])
            wanted = not by_label or given.images[other]["label"] == image["label"]
            if image["split"] != "test" and wanted and similarity > threshold:
                found.setdefault((name, f"fixed:{threshold}"), (other, similarity))
    return found


@pytest.mark.parametrize("scope", ["all", "label"])
def test_leaks_are_their_definition(given: Given, scope: str) -> None:
    run_job(given, leaks.STAGE, "leaks.split=['test']", f"leaks.scope={scope}")
    rows = rows_of(given, "leaks")
    found = {
        (row["image_id"], row["rule"]): (row["reference_id"], row["similarity"]) for row in rows
    }
    assert found == expected_leaks(given, scope == "label")
    assert len(found) == len(rows) > 10
    for row in rows:
        reference = given.images[row["reference_id"]]
        assert (row["reference_label"], row["reference_split"]) == (reference["label"], "test")
        assert row["label"] == given.images[row["image_id"]]["label"]
        assert row["reference_warehouse"] is None
        assert row["rule"] == f"fixed:{row['threshold']}"


def test_leaks_are_removed_and_the_reference_stays(given: Given) -> None:
    flags = ("leaks.split=['test']", "leaks.remove=true", WINDOW)
    run_job(given, leaks.STAGE, *flags)
    given.prune(*flags)
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh leaks with these first"):
        given.prune(*flags, "leaks.scope=label")
    found = given.selection()
    leaked = expected_leaks(given, by_label=False)
    test = {name for name, image in given.images.items() if image["split"] == "test"}
    for key, (kept, kept_id, similarity) in found.items():
        if key in leaked:
            assert (kept, kept_id, similarity) == (False, *leaked[key])
        elif key[0] in test:
            assert kept
    # What is left is pruned as if neither test images nor leaks were there.
    for threshold in THRESHOLDS:
        rule = f"fixed:{threshold}"
        for label in "ab":
            names = sorted(name for name, r in found if r == rule and name.startswith(label))
            kept_before: list[str] = []
            for name in names:
                if name in test or (name, rule) in leaked:
                    continue
                similar = [
                    other
                    for other in kept_before
                    if sim(given.latents[name], given.latents[other]) > threshold
                ]
                assert found[name, rule][:2] == (not similar, similar[0] if similar else None)
                kept_before += [] if similar else [name]


def test_a_protected_image_stays_though_it_leaks(given: Given) -> None:
    leaked = sorted({name for name, _ in expected_leaks(given, by_label=False)})
    flags = ("leaks.split=['test']", "leaks.remove=true", WINDOW)
    run_job(given, leaks.STAGE, *flags)
    given.prune(*flags, f"prune.protect=image_id = '{leaked[0]}'")
    found = given.selection()
    kept = {name: [found[name, f"fixed:{t}"][0] for t in THRESHOLDS] for name in leaked}
    assert all(kept.pop(leaked[0]))
    assert not all(stays for of_image in kept.values() for stays in of_image)


def test_leaks_from_another_warehouse(spark: SparkSession, given: Given, tmp_path: Path) -> None:
    other = Given(spark, tmp_path, {"a": 20})  # the latents of the first 20 of class a
    other.write()
    flags = (f"leaks.warehouse={tmp_path}", "leaks.remove=true", WINDOW)
    run_job(given, leaks.STAGE, *flags)
    rows = rows_of(given, "leaks")
    assert {row["reference_warehouse"] for row in rows} == {str(tmp_path)}
    same = [row for row in rows if row["similarity"] == 1 and row["rule"] == "fixed:0.97"]
    assert len(same) >= 20
    given.prune(*flags)
    leaked: list[str] = []
    for name, (kept, kept_id, similarity) in (
        (name, found) for (name, rule), found in given.selection().items() if rule == "fixed:0.9"
    ):
        if kept_id is not None and "#" in kept_id:
            folder, _, reference = kept_id.partition("#")
            assert folder == str(tmp_path)
            assert not kept
            assert similarity == sim(given.latents[name], other.latents[reference])
            leaked.append(name)
    assert sorted(leaked) == sorted(row["image_id"] for row in rows if row["rule"] == "fixed:0.9")
    with pytest.raises(SettingsError, match="is this warehouse itself"):
        run_job(given, leaks.STAGE, f"leaks.warehouse={given.folder}/../{given.folder.name}")
    other.model = "another"
    other.write()
    with pytest.raises(JobError, match="cannot be compared with these"):
        run_job(given, leaks.STAGE, *flags)


WHITE = ("prune.space=whitened", "prune.thresholds=[0.5, 0.3]", "publish.rule=fixed:0.5")


def test_leaks_and_conflicts_in_the_whitened_space(
    spark: SparkSession, given: Given, tmp_path: Path
) -> None:
    """Another warehouse's images are seen by the fit of this one."""
    run_job(given, whiten.STAGE, *WHITE)
    vectors = {
        row["image_id"]: np.array(row["vector"], np.float32) for row in rows_of(given, "vectors")
    }
    split = ("leaks.split=['test']", "leaks.remove=true", *WHITE)
    run_job(given, leaks.STAGE, *split)
    rows = rows_of(given, "leaks")
    assert {row["space"] for row in rows} == {"whitened"}
    expected: dict[tuple[str, str], tuple[str, float]] = {}
    test = sorted(name for name, image in given.images.items() if image["split"] == "test")
    for name, threshold, other in itertools.product(vectors, (0.5, 0.3), test):
        similarity = sim(vectors[name], vectors[other])
        if given.images[name]["split"] != "test" and similarity > threshold:
            expected.setdefault((name, f"fixed:{threshold}"), (other, similarity))
    found = {
        (row["image_id"], row["rule"]): (row["reference_id"], row["similarity"]) for row in rows
    }
    assert found == expected
    assert len(found) > 3
    given.prune(*split)
    removed = {key: kept for key, (kept, *_) in given.selection().items() if key in expected}
    assert removed.keys() == expected.keys()
    assert not any(removed.values())
    run_job(given, conflicts.STAGE, "conflicts.threshold=0.4", *WHITE)
    for row in rows_of(given, "conflicts"):
        assert row["space"] == "whitened"
        assert row["similarity"] == sim(vectors[row["image_id"]], vectors[row["other_id"]]) > 0.4
    there = Given(spark, tmp_path, {"a": 20})
    there.write()
    only = ("prune.thresholds=[0.999]", "publish.rule=fixed:0.999")  # nothing but itself is near
    elsewhere = (f"leaks.warehouse={tmp_path}", "leaks.remove=true", *WHITE, *only)
    run_job(given, leaks.STAGE, *elsewhere)
    same = [row for row in rows_of(given, "leaks") if row["similarity"] == 1]
    assert len(same) >= 20  # the same latents, whitened alike
    given.prune(*elsewhere)
    # Vectors that were fitted anew are not those that leaks were looked for in.
    run_job(given, whiten.STAGE, *WHITE, "prune.axes=8")
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh leaks with these first"):
        given.prune(*elsewhere)


def test_what_leaks_cannot_do(given: Given, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to compare with"):
        run_job(given, leaks.STAGE)
    with pytest.raises(SettingsError, match="has no table latents"):
        run_job(given, leaks.STAGE, f"leaks.warehouse={tmp_path}")
    with pytest.raises(JobError, match="no image is of the splits exam"):
        run_job(given, leaks.STAGE, "leaks.split=['exam']")


def test_conflicts_are_their_definition(given: Given) -> None:
    run_job(given, conflicts.STAGE, "conflicts.threshold=0.6")
    rows = rows_of(given, "conflicts")
    found = {
        (row["image_id"], row["other_id"]): (row["label"], row["other_label"], row["similarity"])
        for row in rows
    }
    expected = {}
    for one, other in itertools.combinations(sorted(given.images, key=lambda n: n.encode()), 2):
        labels = given.images[one]["label"], given.images[other]["label"]
        similarity = sim(given.latents[one], given.latents[other])
        if labels[0] != labels[1] and similarity > 0.6:
            expected[one, other] = (*labels, similarity)
    assert found == expected
    assert found["a/0000ü.png", "b/0001ü.png"] == ("a", "b", 1.0)
    assert len(rows) == len(found)
    for table in ("conflicts", "leaks"):
        read = deltalake.DeltaTable(str(given.folder / table))
        assert (read.protocol().min_reader_version, read.protocol().min_writer_version) == (1, 2)
        assert read.to_pyarrow_table().num_rows == len(rows_of(given, table))
    with pytest.raises(JobError, match=r"more than conflicts\.most = 1 pairs"):
        run_job(given, conflicts.STAGE, "conflicts.threshold=0.5", "conflicts.most=1")
    with pytest.raises(SettingsError, match=r"set conflicts\.threshold"):
        run_job(given, conflicts.STAGE)
