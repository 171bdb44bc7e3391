"""Images against the kept images of an earlier window, as tasks do it in a round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.duplicates.round_tasks import DECISIONS, WindowOfKept, WindowScan
from jobs.duplicates.rules import Rules
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import sim, spectral
from udfs import arrow

VECTORS = spectral(60, 10, 5)
THRESHOLDS = (0.95, 0.8)
RULES = Rules(("fixed:0.95", "fixed:0.8"), THRESHOLDS, {}, 16)
KEPT = np.arange(0, 20, 2)  # the ranks of the window's kept images
REFERENCE_MASK = np.array([[i % 3 != 0 for i in range(10)], [i % 2 == 0 for i in range(10)]])
PENDING = {rank: rank % 4 for rank in range(20, 60)}  # a mask of two rules


def batches() -> list[pa.RecordBatch]:
    ranks = [rank for rank, mask in PENDING.items() if mask]
    latents = pa.array(VECTORS[ranks].tolist(), pa.list_(pa.float32()))
    table = pa.table(
        {
            "rank": pa.array(ranks, pa.int64()),
            "open": [bytes([PENDING[rank]]) for rank in ranks],
            "latent": arrow.bytes_column(latents),
        }
    )
    return list(table.to_batches(max_chunksize=7))


def test_the_first_kept_image_above_the_threshold_removes_a_pending_image() -> None:
    kept: Any = SimpleNamespace(value=WindowOfKept(KEPT, VECTORS[KEPT], REFERENCE_MASK))
    scan = WindowScan(RULES, "raw/a", kept)
    rows = pa.Table.from_batches(scan.removals(batches(), arrow_schema(DECISIONS))).to_pylist()
    removed = {(row["rule"], row["rank"]): (row["kept_rank"], row["similarity"]) for row in rows}
    expected = {}
    for level, (rule, threshold) in enumerate(zip(RULES.names, THRESHOLDS, strict=True)):
        for rank, mask in PENDING.items():
            hits = [
                (int(keeper), similarity)
                for keeper in KEPT[REFERENCE_MASK[level]]
                if (similarity := sim(VECTORS[keeper], VECTORS[rank])) > threshold
            ]
            if mask >> level & 1 and hits:
                expected[rule, rank] = hits[0]
    assert removed == expected
    assert len(rows) == len(removed) > 5
