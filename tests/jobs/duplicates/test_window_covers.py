"""Windows settled one after the other, each compared with what follows, are one cover."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates.alignments import FIELDS
from jobs.duplicates.proof_tasks import OUTCOMES as GROUP_OUTCOMES
from jobs.duplicates.proof_tasks import group_proofs
from jobs.duplicates.round_tasks import OUTCOMES, WindowScan
from jobs.duplicates.rules import Proofs, Rules
from jobs.duplicates.window_covers import Window, settle
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.given_pictures import ground
from tests.support.vectors import spectral
from udfs import arrow

COUNT, PLACES = 60, 9
OVERLAPS = {"overlap:0.9": 0.9, "overlap:0.6": 0.6}
NAMES = ("overlap:0.9", "fixed:0.9", "overlap:0.6")
PROOFS = Proofs(OVERLAPS, {"raw": 0.5}, 0.5, 0.6, 2, 1, PLACES)
RULES = Rules(NAMES, (np.nan, 0.9, np.nan), {}, 16, "cpu", PROOFS)
VECTORS = spectral(COUNT, 12, 3)
Decisions = dict[tuple[str, int], tuple[int, float]]


def pictures() -> pa.Table:
    """Pictures of three places, in steps of 4 pixels."""
    random = np.random.default_rng(8)
    seeds, shifts = random.integers(0, 3, COUNT), random.integers(0, 9, (COUNT, 2)) * 4
    grey = [
        np.rint(ground(seed, 96)[y : y + 64, x : x + 64]).astype(np.uint8)
        for seed, (x, y) in zip(seeds.tolist(), shifts.tolist(), strict=True)
    ]
    contents = [picture.tobytes().hex()[:64] for picture in grey]
    return pa.table(
        {
            "rank": np.arange(COUNT),
            "image_id": [f"i{i:02}" for i in range(COUNT)],
            "label": ["a"] * COUNT,
            "content": contents,
            "width": pa.array([64] * COUNT, pa.int32()),
            "height": pa.array([64] * COUNT, pa.int32()),
            "grey": arrow.packed_column(np.stack(grey).reshape(COUNT, -1)),
            "latent": arrow.packed_column(VECTORS.view(np.uint8)),
            "known_ids": pa.nulls(COUNT, pa.list_(pa.string())),
            "known_values": pa.nulls(COUNT, pa.list_(pa.float64())),
        }
    )


def in_rounds(images: pa.Table, blocks: int) -> tuple[Decisions, set[tuple[str, str]]]:
    """What rounds decide whose windows are so many blocks, and the pairs that they tried."""
    pending = np.full(COUNT, 2 ** len(NAMES) - 1)
    decided: Decisions = {}
    pairs: list[tuple[str, str]] = []
    schema = arrow_schema(OUTCOMES)

    def enter(rows: pa.Table) -> None:
        for row in rows.to_pylist():
            if row["other_id"]:
                pairs.append((row["image_id"], row["other_id"]))
            elif not row["exhausted"]:
                key = row["rule"], row["rank"]
                assert key not in decided
                decided[key] = row["kept_rank"], row["similarity"]
                pending[row["rank"]] &= ~(1 << NAMES.index(row["rule"]))

    for first in range(0, COUNT, blocks * PLACES):
        ranks = np.arange(first, min(first + blocks * PLACES, COUNT))
        ranks = ranks[pending[ranks] != 0]
        masks = RULES.flags(pending[ranks])
        rows = images.take(pa.array(ranks))
        kept, table = settle(
            RULES, Window("raw/a", ranks, ranks, rows, np.zeros_like(masks), masks), schema
        )
        enter(table)
        sent: Any = SimpleNamespace(value=kept)
        later = np.arange(first + blocks * PLACES, COUNT)
        later = later[pending[later] != 0]
        opened = pa.array([bytes([mask]) for mask in pending[later].tolist()], pa.binary())
        rows = images.take(pa.array(later)).append_column("open", opened)
        scan = WindowScan(RULES, "raw/a", sent)
        found = list(scan.removals(rows.to_batches(max_chunksize=11), schema))
        enter(pa.Table.from_batches(found, schema))
    assert len(set(pairs)) == len(pairs)
    return decided, set(pairs)


@pytest.mark.parametrize("blocks", [1, 2, 100])
def test_rounds_of_whole_blocks_are_one_cover(blocks: int) -> None:
    images = pictures()
    everything = np.full(COUNT, 2 ** len(NAMES) - 1)
    group = images.append_column("reference_mask", [np.zeros(COUNT, np.int64)])
    group = group.append_column("pending_mask", [everything]).append_column("place", [everything])
    group = group.set_column(group.schema.get_field_index("place"), "place", [np.arange(COUNT)])
    proofs = group_proofs(RULES, PROOFS, "raw/a", group, VECTORS, 0)
    rows = pa.Table.from_batches(proofs.rows(arrow_schema(GROUP_OUTCOMES))).to_pylist()
    expected = {
        (row["rule"], int(row["image_id"][1:])): (
            -1 if row["kept"] else int(row["kept_id"][1:]),
            row["similarity"],
        )
        for row in rows
        if row["kept"] is not None
    }
    pairs = {(row["image_id"], row["other_id"]) for row in rows if row["other_id"]}
    decided, tried = in_rounds(images, blocks)
    by_proof = {key: value for key, value in decided.items() if key[0] in OVERLAPS}
    assert by_proof.keys() == expected.keys()
    for key, (keeper, similarity) in by_proof.items():
        assert keeper == expected[key][0]
        assert keeper < 0 or similarity == expected[key][1]
    assert {keeper >= 0 for keeper, _ in by_proof.values()} == {True, False}
    assert tried == pairs
    assert len(decided) == COUNT * len(NAMES)


def test_known_alignments_are_taken_as_they_are() -> None:
    """An alignment that is known, though false, decides; so nothing is registered anew."""
    images = pictures()
    others = [[f"i{k:02}" for k in range(i)] for i in range(COUNT)]
    values = dict.fromkeys(FIELDS, 1.0) | {"blocks": 64.0, "flat": 0.0, "orientation": 0.0}
    known = [list(values.values()) * i for i in range(COUNT)]
    images = images.set_column(images.schema.get_field_index("known_ids"), "known_ids", [others])
    at = images.schema.get_field_index("known_values")
    images = images.set_column(at, "known_values", [pa.array(known, pa.list_(pa.float64()))])
    decided, tried = in_rounds(images, 2)
    assert not tried
    keepers = {key: keeper for key, (keeper, _) in decided.items() if key[0] in OVERLAPS}
    assert [rank for (_, rank), keeper in keepers.items() if keeper < 0].count(0) == 2
    assert sum(keeper < 0 for keeper in keepers.values()) < COUNT / 4
