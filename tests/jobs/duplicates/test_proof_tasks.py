"""A group that rules with proof decide in a task: real pictures, and the rows that leave it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates.alignments import FIELDS
from jobs.duplicates.proof_tasks import EVIDENCE, OUTCOMES, GroupProofs, group_proofs, places
from jobs.duplicates.rules import Proofs, Rules
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.scenes import AGREEMENT, PROOF, scene, similarity, view
from udfs.registration import Registrar, proved

NAMES = ("overlap:0.9", "fixed:0.9", "overlap:0.6")
PROOFS = Proofs(
    {"overlap:0.9": 0.9, "overlap:0.6": 0.6},
    {"raw": 0.5},
    proof=PROOF,
    agreement=AGREEMENT,
    tries=2,
    orientations=1,
    places=100,
)
RULES = Rules(NAMES, (np.nan, 0.9, np.nan), {}, 16, proofs=PROOFS)
# An image that is kept already, one that shows 70 % of it, one identical to the first, two of
# another scene that share nearly all, and one that is kept by a rule of a threshold alone.
SHIFTS = [("a", 1, 0), ("b", 1, 19), ("c", 1, 0), ("d", 2, 0), ("e", 2, 3), ("f", 1, 4)]
REFERENCES = 1
GREYS = np.stack([view(scene(seed), similarity(1, 0, (x, 0))) for _, seed, x in SHIFTS])
IDS = [name for name, *_ in SHIFTS]
# All are alike, those of one scene most: the proof decides.
LATENTS = np.array([[1, 0] if seed == 1 else [0.8, 0.6] for _, seed, _ in SHIFTS], np.float32)
ALL, OF_THRESHOLD = 0b111, 0b010


def candidates(known: dict[str, dict[str, float]] | None = None) -> pa.Table:
    """The group as its task reads it; known: the scales of known pairs, by image and other."""
    content = [f"content {seed} {x}" for _, seed, x in SHIFTS]
    known = known or {}
    values = {
        image: [
            scale if name == "scale" else 64.0 if name == "blocks" else float(name != "flat")
            for scale in pairs.values()
            for name in FIELDS
        ]
        for image, pairs in known.items()
    }
    return pa.table(
        {
            "image_id": IDS,
            "label": [f"label {name}" for name in IDS],
            "content": content,
            "width": pa.array([64] * len(IDS), pa.int32()),
            "height": pa.array([64] * len(IDS), pa.int32()),
            "grey": [grey.tobytes() for grey in GREYS],
            "place": pa.array(range(len(IDS)), pa.int64()),
            "reference_mask": pa.array([ALL, 0, 0, 0, 0, 0], pa.int64()),
            "pending_mask": pa.array([0, ALL, ALL, ALL, ALL, OF_THRESHOLD], pa.int64()),
            "known_ids": pa.array([list(known.get(i, {})) or None for i in IDS]).cast(
                pa.list_(pa.string())
            ),
            "known_values": pa.array([values.get(i) for i in IDS], pa.list_(pa.float64())),
        }
    )


def decide(table: pa.Table) -> GroupProofs:
    return group_proofs(RULES, PROOFS, "raw/scenes", table, LATENTS, REFERENCES)


def rows_of(proofs: GroupProofs) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The decisions and the new pairs."""
    schema = arrow_schema(OUTCOMES)
    rows = pa.Table.from_batches(proofs.rows(schema), schema).to_pylist()
    pairs = [row for row in rows if row["other_id"] is not None]
    decisions = [row for row in rows if row["kept"] is not None]
    assert len(pairs) + len(decisions) == len(rows)
    return decisions, pairs


def test_decisions_are_those_of_the_overlaps() -> None:
    decisions, _ = rows_of(decide(candidates()))
    keepers = {(row["rule"], row["image_id"]): row["kept_id"] for row in decisions}
    # What was pending for the rule of a threshold alone has no row; nor has that rule.
    assert keepers == {
        ("overlap:0.9", "b"): None,
        ("overlap:0.9", "c"): "a",
        ("overlap:0.9", "d"): None,
        ("overlap:0.9", "e"): "d",
        ("overlap:0.6", "b"): "a",
        ("overlap:0.6", "c"): "a",
        ("overlap:0.6", "d"): None,
        ("overlap:0.6", "e"): "d",
    }
    assert all(row["kept"] == (row["kept_id"] is None) for row in decisions)
    assert {row["space"] for row in decisions} == {"raw"}
    assert all(row["label"] == f"label {row['image_id']}" for row in decisions)


def test_a_removed_image_comes_with_its_evidence() -> None:
    decisions, _ = rows_of(decide(candidates()))
    for row in decisions:
        if row["kept"]:
            assert {row[name] for name in (*EVIDENCE, "similarity")} == {None}
            continue
        image, keeper = IDS.index(row["image_id"]), IDS.index(row["kept_id"])
        assert row["similarity"] == pytest.approx(1)
        if row["image_id"] == "c":  # identical
            assert (row["registration"], row["overlap"], row["shift_x"]) == (1, 1, 0)
            continue
        expected = Registrar(GREYS).align(np.array([image]), np.array([keeper]))
        assert proved(expected, PROOF, AGREEMENT).all()
        assert row["registration"] == pytest.approx(expected.registration[0])
        assert row["overlap"] == pytest.approx(expected.overlap[0])
        assert row["shift_x"] == pytest.approx(expected.shift_x[0])
        assert row["shift_x"] == pytest.approx(SHIFTS[image][2] - SHIFTS[keeper][2], abs=0.2)


def test_images_that_had_no_more_tries_are_told() -> None:
    """Two tries are enough for all; with one of them, image d meets two kept images."""
    decisions, _ = rows_of(decide(candidates()))
    exhausted = {(row["rule"][8:], row["image_id"]) for row in decisions if row["exhausted"]}
    assert exhausted == set()
    fewer = replace(PROOFS, tries=1)
    rules = replace(RULES, proofs=fewer)
    proofs = group_proofs(rules, fewer, "raw/scenes", candidates(), LATENTS, REFERENCES)
    decisions, _ = rows_of(proofs)
    exhausted = {(row["rule"][8:], row["image_id"]) for row in decisions if row["exhausted"]}
    assert ("0.9", "d") in exhausted  # a and b are kept there, and one of them was tried
    assert ("0.6", "d") not in exhausted  # there a alone is kept
    kept = {(row["rule"][8:], row["image_id"]) for row in decisions if row["kept"]}
    assert exhausted <= kept


def test_new_pairs_are_stored_and_known_ones_are_not() -> None:
    _, pairs = rows_of(decide(candidates()))
    new = {(row["image_id"], row["other_id"]): row for row in pairs}
    assert {("b", "a"), ("d", "a"), ("e", "d")} <= new.keys()
    assert len(new) == len(pairs)
    assert new["b", "a"]["image_content"] == "content 1 19"
    assert new["b", "a"]["other_content"] == "content 1 0"
    assert new["b", "a"]["overlap"] == pytest.approx(1 - 19 / 64, abs=0.02)
    # What is known is taken as it is, whatever the pictures show.
    decisions, fewer = rows_of(decide(candidates({"d": {"a": 1.25}})))
    assert {(row["image_id"], row["other_id"]) for row in fewer}.isdisjoint({("d", "a")})
    removed = [row for row in decisions if row["image_id"] == "d"]
    assert [(row["kept_id"], row["scale"]) for row in removed] == [("a", 1.25)] * 2


def test_kept_images_are_those_of_the_rules_with_proof() -> None:
    proofs = decide(candidates())
    assert proofs.names == ["overlap:0.9", "overlap:0.6"]
    assert [[IDS[1 + j] for j in np.flatnonzero(kept)] for kept in proofs.kept] == [
        ["b", "d"],
        ["d"],
    ]


def test_places_follow_each_other_where_none_are_given() -> None:
    table = candidates()
    given = places(table)
    assert given is not None
    assert given.tolist() == list(range(6))
    index = table.column_names.index("place")
    blank = table.set_column(index, "place", pa.nulls(6, pa.int64()))
    assert places(blank) is None
    assert [kept.tolist() for kept in decide(blank).kept] == [
        kept.tolist() for kept in decide(table).kept
    ]
