"""Tasks that find thresholds see each group as a whole, however batches cut it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates import threshold_tasks
from jobs.duplicates.threshold_tasks import AngleCells, KeepShares, KeptCounts, PairRates
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.vectors import spectral
from udfs.density import histogram
from udfs.duplicates import thresholds

GROUPS = {"raw/a": 50, "raw/b": 6, "whitened/a": 40}
LATENTS = {group: spectral(n, 12, n) for group, n in GROUPS.items()}
REFERENCES = {"raw/a": 4, "raw/b": 0, "whitened/a": 0}  # the first of a group may be references


def batches() -> list[pa.RecordBatch]:
    rows = [
        {"group": group, "latent": latent, "reference_mask": int(i < REFERENCES[group])}
        for group, latents in LATENTS.items()
        for i, latent in enumerate(latents.tolist())
    ]
    kinds = {"group": pa.string(), "latent": pa.list_(pa.float32()), "reference_mask": pa.int64()}
    whole = pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))
    return list(whole.to_batches(max_chunksize=17))


def rows_of(task: Any, schema: Any) -> dict[str, dict[str, Any]]:
    rows = pa.Table.from_batches(task.rows(batches(), arrow_schema(schema))).to_pylist()
    assert len({row["group"] for row in rows}) == len(rows)
    return {row["group"]: row for row in rows}


def test_shares_are_found_between_the_bounds_of_the_space() -> None:
    rows = rows_of(KeepShares([0.3, 0.8], 16), threshold_tasks.SHARE_THRESHOLDS)
    assert rows.keys() == GROUPS.keys()
    for group, row in rows.items():
        low = 0.0 if group.startswith("raw") else -1.0
        for share, threshold in zip((0.3, 0.8), row["thresholds"], strict=True):
            expected = thresholds.keep_share(
                LATENTS[group], share, low=low, references=REFERENCES[group], block=16
            )
            assert threshold == expected


def test_kept_images_are_counted_at_each_threshold() -> None:
    tried = [0.95, 0.8, 0.5]
    rows = rows_of(KeptCounts(tried, 16), threshold_tasks.KEPT_COUNTS)
    for group, row in rows.items():
        expected = thresholds.kept_counts(
            LATENTS[group], tried, references=REFERENCES[group], block=16
        )
        assert row["kept"] == list(expected)
    assert rows["raw/a"]["kept"] == sorted(rows["raw/a"]["kept"], reverse=True)


def test_a_rate_is_found_only_where_there_are_pairs_enough() -> None:
    rows = rows_of(PairRates([0.05]), threshold_tasks.RATE_THRESHOLDS)
    for group, row in rows.items():
        values = thresholds.pair_angles(LATENTS[group])
        assert row["count"] == len(values)
        assert row["moments"][0] == pytest.approx(values.mean())
        assert row["moments"][2:] == [values.min(), values.max()]
        assert np.isnan(row["thresholds"][0]) == (group == "raw/b")
    of_a = thresholds.AngleMoments.of(thresholds.pair_angles(LATENTS["raw/a"]))
    cells = thresholds.angle_histogram(thresholds.pair_angles(LATENTS["raw/a"]), of_a.step)
    assert rows["raw/a"]["thresholds"] == [thresholds.pair_rate(cells, 0.05)]


def test_pooled_angles_are_counted_with_the_step_of_their_space() -> None:
    steps = {"raw": 0.01, "whitened": 0.2}
    rows = rows_of(AngleCells(steps), threshold_tasks.ANGLE_CELLS)
    for group, row in rows.items():
        values = thresholds.pair_angles(LATENTS[group])
        cells = histogram.cell(values, steps[group.partition("/")[0]])
        counted = dict(zip(row["cells"], row["counts"], strict=True))
        assert counted == {int(cell): int((cells == cell).sum()) for cell in cells}
