"""A class that is cut into chunks has the axes and projections of the whole, bit for bit."""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
import pytest
from pyspark.sql import DataFrame

from jobs.density import project
from jobs.runtime.run import Run
from tests.support.classes import SIZES


def projected(latents: DataFrame, largest: int) -> list[str]:
    with ExitStack() as held:
        found = project.project(latents, SIZES, 3, largest, held, group=1)
        return sorted(repr(row.asDict()) for row in found.collect())


def test_cut_and_uncut_are_the_same_rows(latents: DataFrame) -> None:
    """A limit below the size of a group of blocks counts as one group: such classes stay whole."""
    whole = projected(latents, 10_000)
    assert len(whole) == sum(SIZES.values()) + 2 * 3
    assert projected(latents, 50) == whole


def test_without_latents_there_are_no_rows(latents: DataFrame) -> None:
    with ExitStack() as held:
        assert project.project(latents.limit(0), {}, 3, 50, held).isEmpty()


def test_axes_and_projections_are_the_principal_components(finished: Run) -> None:
    latents = finished.warehouse.read("latents").where("label = 'town'").orderBy("image_id")
    matrix = np.array([row.latent for row in latents.collect()], np.float64)
    centred = matrix - matrix.mean(axis=0)
    values = np.linalg.eigvalsh(centred @ centred.T / (len(matrix) - 1))[::-1][:3]
    axes = finished.warehouse.read("axes").where("label = 'town'").orderBy("component").collect()
    assert [row.eigenvalue for row in axes] == pytest.approx(values, rel=1e-9)
    assert [row.component for row in axes] == [1, 2, 3]
    projections = finished.warehouse.read("projections").where("label = 'town'")
    rows = projections.orderBy("image_id").collect()
    expected = centred @ np.array([row.axis for row in axes]).T
    assert np.allclose([row.components for row in rows], expected, atol=1e-9)
    assert all(math.isfinite(row.log_density) for row in rows)
