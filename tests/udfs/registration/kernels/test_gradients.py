"""Windows of gradient histograms beside their definition in NumPy and SciPy."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from tests.support.registration import Floats, blurred, picture
from udfs.registration.kernels.gradients import FLAT_WINDOW, windows
from udfs.registration.pictures import gaussian


def defined(grey: Floats) -> Floats:
    """Thirteen by thirteen windows of 4×4 histograms of eight directions."""
    smooth = blurred(grey, 1.0)
    gy, gx = (2 * np.asarray(each) for each in np.gradient(smooth))
    for each in (gx, gy):
        each[[0, -1]] = 0
        each[:, [0, -1]] = 0
    length, place = np.hypot(gx, gy), np.arctan2(gy, gx) * 8 / (2 * np.pi) % 8
    planes = np.zeros((8, 64, 64))
    for direction in range(8):
        apart = np.abs((place - direction + 4) % 8 - 4)
        bins = length * np.clip(1 - apart, 0, None)
        planes[direction] = gaussian_filter(bins, 2.0, mode="mirror", truncate=3)
    read = planes[:, 2::4, 2::4].transpose(1, 2, 0)
    found = [read[y : y + 4, x : x + 4].ravel() for y in range(13) for x in range(13)]
    shares = np.stack(found)
    return np.asarray(np.sqrt(shares / (shares.sum(axis=1, keepdims=True) + FLAT_WINDOW)))


def test_windows_are_as_defined() -> None:
    grey = picture(21)
    grey[:, :30] = 77  # windows in a flat part, too
    out = np.empty((169, 128), np.float32)
    values = grey / np.float32(255)
    pooling = gaussian(2.0)
    longer = np.r_[pooling, np.full(9, 1e6, np.float32)]  # nothing behind the weights is read
    windows(values, gaussian(1.0), longer[: len(pooling)], out)
    np.testing.assert_allclose(out, defined(values.astype(np.float64)), atol=2e-3)
    assert out[:, 0].min() < 1e-3
    np.testing.assert_allclose((out**2).sum(axis=1).max(), 1, atol=0.01)
