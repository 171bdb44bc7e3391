"""True overlaps of tiles, by their ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.overlap import EDGES, bands, name_of, pairs_by_overlap, true_overlap

IDS = ["a.jpg#0,0", "a.jpg#8,0", "a.jpg#32,0", "a.jpg#64,0", "b.jpg#0,0"]


def test_overlaps_follow_from_corners() -> None:
    found = true_overlap([IDS[0]] * 5, IDS, 64)
    assert found.tolist() == [1, 0.875, 0.5, 0, 0]
    assert true_overlap(["a#8,16"], ["a#0,0"], 64).tolist() == [0.875 * 0.75]


def test_bands_begin_at_their_edges() -> None:
    found = bands(np.array([1, 0.875, 0.8, 0.75, 0.7, 0.69, 0.5, 0.25, 0.1, 0]))
    assert found.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 5, 6]
    assert name_of(0) == "87.5% up to 100.0%"
    assert name_of(len(EDGES)) == "0 %"


def test_pairs_are_counted_within_photographs_before_and_after() -> None:
    rows = pa.table({"image_id": IDS, "kept": [True, False, True, True, True]})
    before, after = pairs_by_overlap(rows, 64)
    # 0–8: 87.5 %, 0–32: 50 %, 0–64: 0; 8–32: 62.5 %, 8–64: 12.5 %; 32–64: 50 %
    assert before.tolist() == [1, 0, 0, 3, 0, 1, 1]
    assert after.tolist() == [0, 0, 0, 2, 0, 0, 1]
