"""A window of images against a batch of others, as tasks do it for leaks and conflicts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.duplicates.pictures import PictureRows
from jobs.duplicates.rules import Rules
from jobs.duplicates.window_search import (
    HITS,
    PAIRS,
    ConflictScan,
    LeakScan,
    PairProof,
    ReferenceWindow,
)
from jobs.settings.duplicates import Prune
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import sim, spectral
from udfs.registration import grey_of

N = 60
ROWS = spectral(N, 10, 5)
LABELS = ["ab"[i % 2] for i in range(N)]
NAMES = [f"{(7 * i) % N:02}ü" for i in range(N)]
THRESHOLDS = (0.95, 0.8)


def images(chosen: range) -> pa.Table:
    columns = {
        "image_id": [NAMES[i] for i in chosen],
        "label": [LABELS[i] for i in chosen],
        "split": ["test" if i < 20 else None for i in chosen],
        "latent": pa.array(ROWS[chosen].tolist(), pa.list_(pa.float32())),
    }
    return pa.table(columns)


def window(chosen: range) -> Any:
    """The first images as a window, in the form in which tasks get it."""
    held = ReferenceWindow(images(chosen).drop_columns(["latent"]), ROWS[chosen])
    return SimpleNamespace(value=held)


@pytest.mark.parametrize("by_label", [False, True])
def test_a_hit_is_the_first_reference_above_the_threshold(by_label: bool) -> None:
    rules = Rules(("fixed:0.95", "fixed:0.8"), THRESHOLDS, {}, 16)
    scan = LeakScan(rules, "raw", by_label, window(range(20)))
    batches = images(range(20, N)).to_batches(max_chunksize=11)
    rows = pa.Table.from_batches(scan.hits(batches, arrow_schema(HITS))).to_pylist()
    found = {(row["image_id"], row["rule"]): row for row in rows}
    expected: dict[tuple[str, str], tuple[str, str, float]] = {}
    for i, threshold, j in itertools.product(range(20, N), THRESHOLDS, range(20)):
        similarity = sim(ROWS[i], ROWS[j])
        if similarity > threshold and (not by_label or LABELS[i] == LABELS[j]):
            key = NAMES[i], f"fixed:{threshold}"
            expected.setdefault(key, (NAMES[j], LABELS[j], similarity))
    assert len(rows) == len(found) > 10
    assert {
        key: (row["reference_id"], row["reference_label"], row["similarity"])
        for key, row in found.items()
    } == expected
    assert {row["reference_split"] for row in rows} == {"test"}


def test_a_window_meets_itself_and_later_images_once_for_each_pair() -> None:
    scan = ConflictScan(0.8, 10_000, window(range(20)))
    batches = images(range(N)).to_batches(max_chunksize=11)
    rows = pa.Table.from_batches(scan.pairs(batches, arrow_schema(PAIRS))).to_pylist()
    expected = {}
    for i, j in itertools.combinations(range(N), 2):
        similarity = sim(ROWS[i], ROWS[j])
        if i < 20 and LABELS[i] != LABELS[j] and similarity > 0.8:
            first, second = sorted((i, j), key=lambda place: NAMES[place].encode())
            labels = LABELS[first], LABELS[second]
            expected[NAMES[first], NAMES[second]] = (*labels, similarity)
    found = {
        (row["image_id"], row["other_id"]): (row["label"], row["other_label"], row["similarity"])
        for row in rows
    }
    assert found == expected
    assert len(rows) == len(found) > 5


def test_a_task_ends_once_there_are_too_many_pairs() -> None:
    batches = images(range(N)).to_batches(max_chunksize=11)
    scan = ConflictScan(0.0, 1, window(range(N)))
    few = sum(batch.num_rows for batch in scan.pairs(batches, arrow_schema(PAIRS)))
    every = ConflictScan(0.0, 10_000, window(range(N)))
    many = sum(batch.num_rows for batch in every.pairs(batches, arrow_schema(PAIRS)))
    assert 1 < few < many
    assert np.all(ROWS.any(axis=1))


SCENES = 4
CROP = 102  # of 128 px: a share of 0.63 of the area


def textured(seed: int) -> Image.Image:
    """A picture of 128 px with structure everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)


def photographs(names: Sequence[str]) -> pa.Table:
    """Images `<scene>` and `<scene> crop`, the middle of it, with pictures and equal vectors."""
    levels = []
    for name in names:
        scene = textured(int(name[0]))
        if name.endswith("crop"):
            edge = (128 - CROP) // 2
            scene = scene.crop((edge, edge, edge + CROP, edge + CROP))
        levels.append(np.asarray(scene.resize((64, 64), Image.Resampling.BILINEAR)))
    grey = grey_of(np.array(levels)).reshape(len(names), -1)
    columns = {
        "image_id": list(names),
        "label": ["crop" if name.endswith("crop") else "whole" for name in names],
        "split": [None] * len(names),
        "latent": pa.array(np.ones((len(names), 3)).tolist(), pa.list_(pa.float32())),
        "content": list(names),
        "width": [128] * len(names),
        "height": [128] * len(names),
        "grey": [row.tobytes() for row in grey],
    }
    schema = pa.schema([("split", pa.string()), ("width", pa.int32()), ("height", pa.int32())])
    return pa.table(
        {
            name: pa.array(column, schema.field(name).type) if name in schema.names else column
            for name, column in columns.items()
        }
    )


def photograph_window(names: Sequence[str]) -> Any:
    rows = photographs(names)
    vectors = np.ones((len(names), 3), np.float32)
    table = rows.select(["image_id", "label", "split"])
    return SimpleNamespace(value=ReferenceWindow(table, vectors, PictureRows.of(rows)))


WHOLE = [f"{scene}" for scene in range(SCENES)]
CROPS = [f"{scene} crop" for scene in range(SCENES)]
SHARE = (CROP / 128) ** 2


@pytest.mark.parametrize("reference", [WHOLE, CROPS])
def test_a_crop_leaks_whichever_side_it_is_on(reference: list[str]) -> None:
    """It is enough that one image shows the other; both overlaps are in the row."""
    candidates = CROPS if reference is WHOLE else WHOLE
    settings = Prune(("overlap:0.9", 0.5, "overlap:0.4"), candidates=(0.5,), space=("raw",))
    scan = LeakScan(Rules.given(settings), "raw", False, photograph_window(reference))
    batches = photographs(candidates).to_batches(max_chunksize=3)
    rows = pa.Table.from_batches(scan.hits(batches, arrow_schema(HITS))).to_pylist()
    proved = [row for row in rows if row["rule"] != "fixed:0.5"]
    assert {(row["rule"], row["image_id"], row["reference_id"]) for row in proved} == {
        (rule, image, other)
        for rule in settings.overlaps
        for image, other in zip(candidates, reference, strict=True)
    }
    shares = (1, SHARE) if reference is WHOLE else (SHARE, 1)
    for row in proved:
        assert (row["overlap"], row["overlap_other"]) == pytest.approx(shares, abs=0.1)
        assert row["similarity"] == 1
    # By the cosine alone, by which all are alike, the first image is the reference of all.
    others = [row for row in rows if row["rule"] == "fixed:0.5"]
    assert {row["reference_id"] for row in others} == {reference[0]}
    assert {row["registration"] for row in others} == {None}


def test_a_conflict_is_proved_between_a_crop_and_its_original() -> None:
    names = sorted([*WHOLE, *CROPS])
    proof = PairProof(0.9, 0.5, 0.6, 1, "cpu")
    for first in (names[:3], names):
        scan = ConflictScan(0.5, 100, photograph_window(first), proof)
        batches = photographs(names).to_batches(max_chunksize=5)
        rows = pa.Table.from_batches(scan.pairs(batches, arrow_schema(PAIRS))).to_pylist()
        assert {(row["image_id"], row["other_id"]) for row in rows} == {
            (whole, f"{whole} crop") for whole in WHOLE if whole in first
        }
        for row in rows:
            assert (row["label"], row["other_label"]) == ("whole", "crop")
            assert row["overlap"] == pytest.approx(SHARE, abs=0.1)
            assert row["overlap_other"] == pytest.approx(1, abs=0.1)
            assert row["scale"] == pytest.approx(128 / CROP, rel=0.1)
