"""Projections of vectors that have fewer numbers than components are asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from jobs.density.projection_tasks import PROJECTED, ProjectionTask
from jobs.warehouse.arrow_frames import arrow_schema


@pytest.mark.parametrize("width", [1, 2, 3])
def test_narrow_vectors_are_projected(width: int) -> None:
    draw = np.random.default_rng(width)
    matrix = draw.normal(size=(9, width)).astype(np.float32)
    batch = pa.record_batch(
        {
            "image_id": [str(row) for row in range(9)],
            "label": ["cat"] * 9,
            "latent": pa.array(matrix.tolist(), pa.list_(pa.float32())),
        }
    )
    axes, images = ProjectionTask(4).rows([batch], arrow_schema(PROJECTED))
    assert axes.column("component").to_pylist() == list(range(1, width + 1))
    points = np.array(images.column("components").to_pylist(), float)
    assert np.isnan(points[:, width:]).all()
    found = points[:, :width] @ np.array(axes.column("axis").to_pylist()) + matrix.mean(axis=0)
    assert np.allclose(found, matrix, atol=1e-6)
