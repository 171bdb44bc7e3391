"""Normalised pictures and their structure beside SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.registration import blurred, gradients, normalised, picture
from udfs.registration.pictures import Prepared, structure_of


@pytest.mark.parametrize("root", [1.0, 0.6])
def test_pictures_are_normalised_as_scipy_does(root: float) -> None:
    grey = picture(1)
    grey[40:, 40:] = 99  # and where the floor decides
    prepared = Prepared.of(grey, root**2)
    values = grey / 255
    halved = values.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    for level, size, deviation in (
        (prepared.fine, values, 1.5),
        (prepared.coarse, halved, 1.25),
    ):
        expected, contrast = normalised(size, deviation)
        gx, gy = gradients(expected)
        np.testing.assert_allclose(level[0], expected, atol=1e-4)
        np.testing.assert_allclose(level[1], gx / root, atol=1e-4)
        np.testing.assert_allclose(level[2], gy * root, atol=1e-4)
        if len(level) == 4:
            np.testing.assert_allclose(level[3], contrast, rtol=1e-3, atol=1e-8)


def test_the_structure_is_that_of_smoothed_derivatives() -> None:
    prepared = Prepared.of(picture(2))
    gx, gy = gradients(blurred(prepared.fine[0].astype(float), 1))
    expected = [gx, gy, *(blurred(each, 3) for each in (gx * gx, gx * gy, gy * gy))]
    np.testing.assert_allclose(structure_of(prepared), expected, atol=1e-5)
