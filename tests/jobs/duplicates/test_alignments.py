"""Alignments as rows: what is known of earlier runs, and what is stored."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.duplicates import alignments
from jobs.duplicates.alignments import FIELDS, PAIRS, known_of, new_pairs
from jobs.duplicates.pictures import PictureRows
from udfs.duplicates.pair_alignments import TriedPairs
from udfs.registration import Alignments


def pictures(names: str) -> PictureRows:
    sizes = np.full(len(names), 64.0)
    contents = pa.array([f"content of {name}" for name in names])
    return PictureRows(pa.array(list(names)), contents, sizes, sizes, ())


def known_rows(known: list[dict[str, float] | None]) -> pa.Table:
    """Images with what is known of each: the scale by the id of the other."""
    values = [
        None
        if pairs is None
        else [
            scale if name == "scale" else np.nan if name == "registration" else 1.0
            for scale in pairs.values()
            for name in FIELDS
        ]
        for pairs in known
    ]
    ids = [None if pairs is None else list(pairs) for pairs in known]
    return pa.table(
        {
            "known_ids": pa.array(ids, pa.list_(pa.string())),
            "known_values": pa.array(values, pa.list_(pa.float64())),
        }
    )


def test_the_fields_are_columns_of_the_table() -> None:
    assert set(FIELDS) < set(PAIRS.names)


def test_known_pairs_are_those_of_images_that_are_compared() -> None:
    """Two images, d and e, follow three; z is not compared."""
    rows = known_rows([{"b": 0.5, "z": 0.6, "a": 0.7}, None])
    known = known_of(rows, pictures("abcde"), 3)
    assert known.rows(np.array([3, 3, 3, 4, 0]), np.array([1, 0, 2, 1, 3])).tolist() == [
        0,
        1,
        -1,
        -1,
        -1,
    ]
    assert known.alignments.scale.tolist() == [0.5, 0.7]
    assert known.alignments.blocks.dtype == np.int64
    assert known.alignments.flat.all()
    assert np.isnan(known.alignments.registration).all()
    assert not len(known_of(known_rows([None, None]), pictures("abcde"), 3).images)


def test_only_pairs_that_were_not_known_are_stored() -> None:
    found = Alignments.empty(3)  # flat pictures
    images, others = np.array([2, 1, 2]), np.array([0, 0, 1])
    is_new = np.array([True, False, True])
    tried = TriedPairs(images, others, np.array([0.7, 0.8, 0.9]), found, ~is_new, is_new)
    names = pictures("abc")
    rows, count = new_pairs(tried, names, alignments.evidence(tried, names), "whitened")
    assert count == 2
    assert set(rows) == set(PAIRS.names)
    assert rows["image_id"].to_pylist() == ["c", "c"]
    assert rows["other_id"].to_pylist() == ["a", "b"]
    assert rows["other_content"].to_pylist() == ["content of a", "content of b"]
    assert rows["registration"].to_pylist() == [None, None]
    assert rows["similarity"].tolist() == [0.7, 0.9]
    assert rows["flat"].to_pylist() == [True, True]
