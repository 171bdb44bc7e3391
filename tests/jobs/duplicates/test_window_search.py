"""A window of images against a batch of others, as tasks do it for leaks and conflicts."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates.rules import Rules
from jobs.duplicates.window_search import HITS, PAIRS, ConflictScan, LeakScan, ReferenceWindow
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import sim, spectral

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
    scan = LeakScan(rules, by_label, window(range(20)))
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
