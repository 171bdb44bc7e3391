"""Images that resemble one of a reference split or of another warehouse."""

from __future__ import annotations

import itertools
from pathlib import Path

import deltalake
import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import whiten
from jobs.duplicates import conflicts, leaks
from jobs.errors import JobError, SettingsError
from tests.support.given_latents import THRESHOLDS, WINDOW, GivenLatents, rows_of, run_job
from tests.support.given_pictures import OVERLAPS, PROOF_FLAGS, GivenPictures
from tests.support.vectors import sim
from udfs.registration import Registrar, proved


def expected_leaks(
    two_classes: GivenLatents, by_label: bool
) -> dict[tuple[str, str], tuple[str, float]]:
    """By definition: the first test image, by its id, above each threshold."""
    test = sorted(
        (name for name, image in two_classes.images.items() if image["split"] == "test"),
        key=lambda name: name.encode(),
    )
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for name, image in two_classes.images.items():
        for threshold, other in itertools.product(THRESHOLDS, test):
            similarity = sim(two_classes.latents[name], two_classes.latents[other])
            wanted = not by_label or two_classes.images[other]["label"] == image["label"]
            if image["split"] != "test" and wanted and similarity > threshold:
                found.setdefault((name, f"fixed:{threshold}"), (other, similarity))
    return found


@pytest.mark.parametrize("scope", ["all", "label"])
def test_leaks_are_as_defined(two_classes: GivenLatents, scope: str) -> None:
    run_job(two_classes, leaks.STAGE, "leaks.split=['test']", f"leaks.scope={scope}")
    rows = rows_of(two_classes, "leaks")
    found = {
        (row["image_id"], row["rule"]): (row["reference_id"], row["similarity"]) for row in rows
    }
    assert found == expected_leaks(two_classes, scope == "label")
    assert len(found) == len(rows) > 10
    for row in rows:
        reference = two_classes.images[row["reference_id"]]
        assert (row["reference_label"], row["reference_split"]) == (reference["label"], "test")
        assert row["label"] == two_classes.images[row["image_id"]]["label"]
        assert row["reference_warehouse"] is None
        assert row["rule"] == f"fixed:{row['threshold']}"
    read = deltalake.DeltaTable(str(two_classes.folder / "leaks"))
    assert (read.protocol().min_reader_version, read.protocol().min_writer_version) == (1, 2)
    assert read.to_pyarrow_table().num_rows == len(rows)


def test_leaks_are_removed_and_the_reference_stays(two_classes: GivenLatents) -> None:
    flags = ("leaks.split=['test']", "leaks.remove=true", WINDOW)
    run_job(two_classes, leaks.STAGE, *flags)
    two_classes.prune(*flags)
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh leaks with these first"):
        two_classes.prune(*flags, "leaks.scope=label")
    found = two_classes.selection()
    leaked = expected_leaks(two_classes, by_label=False)
    test = {name for name, image in two_classes.images.items() if image["split"] == "test"}
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
                    if sim(two_classes.latents[name], two_classes.latents[other]) > threshold
                ]
                assert found[name, rule][:2] == (not similar, similar[0] if similar else None)
                kept_before += [] if similar else [name]


def test_a_protected_image_stays_though_it_leaks(two_classes: GivenLatents) -> None:
    leaked = sorted({name for name, _ in expected_leaks(two_classes, by_label=False)})
    flags = ("leaks.split=['test']", "leaks.remove=true", WINDOW)
    run_job(two_classes, leaks.STAGE, *flags)
    two_classes.prune(*flags, f"prune.protect=image_id = '{leaked[0]}'")
    found = two_classes.selection()
    kept = {name: [found[name, f"fixed:{t}"][0] for t in THRESHOLDS] for name in leaked}
    assert all(kept.pop(leaked[0]))
    assert not all(stays for of_image in kept.values() for stays in of_image)


@pytest.mark.whole
def test_leaks_from_another_warehouse_name_its_images(
    spark: SparkSession, two_classes: GivenLatents, tmp_path: Path
) -> None:
    other = GivenLatents(spark, tmp_path, {"a": 20})  # the latents of the first 20 of class a
    other.write()
    flags = (f"leaks.warehouse={tmp_path}", "leaks.remove=true", WINDOW)
    run_job(two_classes, leaks.STAGE, *flags)
    rows = rows_of(two_classes, "leaks")
    assert {row["reference_warehouse"] for row in rows} == {str(tmp_path)}
    same = [row for row in rows if row["similarity"] == 1 and row["rule"] == "fixed:0.97"]
    assert len(same) >= 20
    two_classes.prune(*flags)
    leaked: list[str] = []
    for name, (kept, kept_id, similarity) in (
        (name, found)
        for (name, rule), found in two_classes.selection().items()
        if rule == "fixed:0.9"
    ):
        if kept_id is not None and "#" in kept_id:
            folder, _, reference = kept_id.partition("#")
            assert folder == str(tmp_path)
            assert not kept
            assert similarity == sim(two_classes.latents[name], other.latents[reference])
            leaked.append(name)
    assert sorted(leaked) == sorted(row["image_id"] for row in rows if row["rule"] == "fixed:0.9")
    with pytest.raises(SettingsError, match="is this warehouse itself"):
        run_job(
            two_classes,
            leaks.STAGE,
            f"leaks.warehouse={two_classes.folder}/../{two_classes.folder.name}",
        )
    other.model = "another"
    other.write()
    with pytest.raises(JobError, match="cannot be compared with these"):
        run_job(two_classes, leaks.STAGE, *flags)


@pytest.mark.whole
def test_proved_leaks_are_found_removed_and_audited(spark: SparkSession, tmp_path: Path) -> None:
    """A leak names the most similar test image that is proved; the audit computes it again."""
    images = GivenPictures(spark, tmp_path, {"a": 40, "b": 30})
    images.write()
    flags = (*PROOF_FLAGS, "prune.tries=64", "leaks.split=['test']", "leaks.remove=true")
    run_job(images, leaks.STAGE, *flags)
    names = sorted(images.images, key=str.encode)
    registrar = Registrar(
        np.stack([images.pixels(name)[..., 0] for name in names]), np.full(len(names), 2.0)
    )
    test = [i for i, name in enumerate(names) if images.images[name]["split"] == "test"]
    expected: dict[tuple[str, str], tuple[str, float]] = {}
    for i, name in enumerate(names):
        if i in test:
            continue
        similarity = {j: sim(images.latents[name], images.latents[names[j]]) for j in test}
        for j in sorted((j for j in test if similarity[j] > 0.5), key=lambda j: -similarity[j]):
            found = registrar.align(np.array([i]), np.array([j]))
            same = images.content(name) == images.content(names[j])
            overlap = max(found.overlap[0], found.overlap_other[0])
            for level in OVERLAPS:
                if same or (proved(found, 0.5, 0.6)[0] and overlap >= level):
                    leak = names[j], similarity[j]
                    expected.setdefault((name, f"overlap:{level}"), leak)
    rows = {(row["image_id"], row["rule"]): row for row in rows_of(images, "leaks")}
    assert {key: (row["reference_id"], row["similarity"]) for key, row in rows.items()} == expected
    assert len({rule for _, rule in rows}) == len(OVERLAPS)
    images.prune(*flags)
    selection = {(row["image_id"], row["rule"]): row for row in rows_of(images, "selection")}
    for key, row in rows.items():
        removed = selection[key]
        assert (removed["kept"], removed["kept_id"]) == (False, row["reference_id"])
        evidence = ("registration", "agreement", "overlap", "scale", "shift_x", "shift_x_source")
        assert all(removed[name] == row[name] is not None for name in evidence)
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh leaks with these first"):
        images.prune(*flags, "prune.proof=0.6")


WHITE = ("prune.space=whitened", "prune.thresholds=[0.5, 0.3]", "publish.rule=fixed:0.5")


def test_leaks_and_conflicts_in_the_whitened_space(
    spark: SparkSession, two_classes: GivenLatents, tmp_path: Path
) -> None:
    """Another warehouse's images are whitened with the fit of this one."""
    run_job(two_classes, whiten.STAGE, *WHITE)
    vectors = {
        row["image_id"]: np.array(row["vector"], np.float32)
        for row in rows_of(two_classes, "vectors")
    }
    split = ("leaks.split=['test']", "leaks.remove=true", *WHITE)
    run_job(two_classes, leaks.STAGE, *split)
    rows = rows_of(two_classes, "leaks")
    assert {row["space"] for row in rows} == {"whitened"}
    expected: dict[tuple[str, str], tuple[str, float]] = {}
    test = sorted(name for name, image in two_classes.images.items() if image["split"] == "test")
    for name, threshold, other in itertools.product(vectors, (0.5, 0.3), test):
        similarity = sim(vectors[name], vectors[other])
        if two_classes.images[name]["split"] != "test" and similarity > threshold:
            expected.setdefault((name, f"fixed:{threshold}"), (other, similarity))
    found = {
        (row["image_id"], row["rule"]): (row["reference_id"], row["similarity"]) for row in rows
    }
    assert found == expected
    assert len(found) > 3
    two_classes.prune(*split)
    removed = {key: kept for key, (kept, *_) in two_classes.selection().items() if key in expected}
    assert removed.keys() == expected.keys()
    assert not any(removed.values())
    run_job(two_classes, conflicts.STAGE, "conflicts.threshold=0.4", *WHITE)
    for row in rows_of(two_classes, "conflicts"):
        assert row["space"] == "whitened"
        assert row["similarity"] == sim(vectors[row["image_id"]], vectors[row["other_id"]]) > 0.4
    there = GivenLatents(spark, tmp_path, {"a": 20})
    there.write()
    only = ("prune.thresholds=[0.999]", "publish.rule=fixed:0.999")  # nothing but itself is near
    elsewhere = (f"leaks.warehouse={tmp_path}", "leaks.remove=true", *WHITE, *only)
    run_job(two_classes, leaks.STAGE, *elsewhere)
    same = [row for row in rows_of(two_classes, "leaks") if row["similarity"] == 1]
    assert len(same) >= 20  # the same latents, whitened alike
    two_classes.prune(*elsewhere)
    # Vectors that were fitted anew are not those that leaks were looked for in.
    run_job(two_classes, whiten.STAGE, *WHITE, "prune.axes=8")
    with pytest.raises(JobError, match=r"run \./spark-submit\.sh leaks with these first"):
        two_classes.prune(*elsewhere)


def test_leaks_refuses_what_it_cannot_do(two_classes: GivenLatents, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to compare with"):
        run_job(two_classes, leaks.STAGE)
    with pytest.raises(SettingsError, match="has no table latents"):
        run_job(two_classes, leaks.STAGE, f"leaks.warehouse={tmp_path}")
    with pytest.raises(JobError, match=r"leaks.split = \['exam'\]: no image is of these"):
        run_job(two_classes, leaks.STAGE, "leaks.split=['exam']")
