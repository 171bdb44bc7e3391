"""Sums of moments that tasks make, and the row of a fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.autoencoder import spaces
from jobs.autoencoder.space_fits import SUMS, MomentsTask, fit_rows
from jobs.warehouse.arrow_frames import arrow_schema
from udfs.vectors.whitening import Moments, Whitening


def batches(latents: np.ndarray, size: int) -> list[pa.RecordBatch]:
    kind = pa.list_(pa.float32())
    return [
        pa.record_batch({"latent": pa.array(latents[start : start + size].tolist(), kind)})
        for start in range(0, len(latents), size)
    ]


def test_the_sums_of_tasks_are_those_of_all() -> None:
    latents = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    task = MomentsTask(spaces.latents_of)
    (row,) = task.rows(batches(latents, 7), arrow_schema(SUMS))
    sums = np.frombuffer(row.column("sums")[0].as_py(), np.int64)
    found, expected = Moments.from_flat(sums), Moments.of(latents)
    assert found.count == expected.count == 20
    np.testing.assert_array_equal(found.products, expected.products)


def test_a_task_without_rows_has_no_sums() -> None:
    task = MomentsTask(spaces.latents_of)
    empty = batches(np.zeros((1, 5), np.float32), 1)[0].slice(0, 0)
    assert list(task.rows([empty], arrow_schema(SUMS))) == []


def test_a_fit_is_one_row_of_spaces() -> None:
    whitening = Whitening(np.zeros(3), np.eye(3)[:2], np.array([2.0, 0.5]))
    (row,) = fit_rows("gradients", "gradients 1", whitening, 9).to_pylist()
    assert row["space"] == "gradients"
    assert row["images"] == 9
    assert row["fit_id"] == spaces.fit_id(whitening)
    assert row["axes"] == [1, 0, 0, 0, 1, 0]
