"""What images are compared by: the tables of the spaces, and latents seen by a whitening fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.autoencoder import spaces
from jobs.warehouse.arrow_frames import arrow_schema
from udfs.vectors.whitening import Whitening


def fit() -> Whitening:
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0][:2]
    return Whitening(np.zeros(4), axes, np.array([2.0, 0.5]))


def test_each_space_has_its_table_and_the_stage_that_writes_it() -> None:
    assert spaces.reads(["raw", "whitened"]) == {"latents": "encode", "vectors": "whiten"}
    assert [spaces.column_of(space) for space in ("raw", "whitened")] == ["latent", "vector"]
    assert spaces.reads(["gradients"]) == {"gradients": "describe"}


def test_every_number_of_a_fit_is_in_its_id() -> None:
    first = spaces.fit_id(fit())
    assert spaces.fit_id(fit()) == first
    for change in (
        {"mean": np.full(4, 1e-9)},
        {"axes": -fit().axes},
        {"deviations": np.array([2.0, np.nextafter(0.5, 1)])},
    ):
        assert spaces.fit_id(replace(fit(), **change)) != first


def test_rows_of_vectors_are_the_latents_seen_by_the_fit() -> None:
    latents = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    latents[2] = 0
    batch = pa.record_batch(
        {
            "image_id": list("abcde"),
            "label": ["x"] * 5,
            "split": pa.nulls(5, pa.string()),
            "sha256": ["s"] * 5,
            "model_id": ["m"] * 5,
            "encoded_on": ["here"] * 5,
            "latent": pa.array(latents.tolist(), pa.list_(pa.float32())),
        }
    )
    schema = arrow_schema(spaces.VECTORS)
    (rows,) = spaces.VectorsTask(fit(), "fit", "whitened", spaces.latents_of).rows([batch], schema)
    assert rows.schema == schema
    assert rows.column("image_id").to_pylist() == list("abcde")
    assert set(rows.column("space").to_pylist()) == {"whitened"}
    assert set(rows.column("fit_id").to_pylist()) == {"fit"}
    found = np.array(rows.column("vector").to_pylist(), np.float32)
    assert np.array_equal(found, fit()(latents))
    assert not found[2].any()
    assert found[[0, 1, 3, 4]].any(axis=1).all()
