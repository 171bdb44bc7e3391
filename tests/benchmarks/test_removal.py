"""The picture of a removal lays the removed image where the registration says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.removal import Removal, captions, laid_over
from udfs.acquisition.decode import SIDE


def removal(shift: tuple[float, float], rotation: float = 0.0, scale: float = 1.0) -> Removal:
    return Removal("a", "b", 0.77, scale, rotation, shift, 0.773)


@pytest.mark.parametrize(("right", "down"), [(14, 0), (0, 9), (-5, 7), (-3, -20), (0, 0)])
def test_two_cuts_of_one_picture_lie_over_each_other(right: int, down: int) -> None:
    ground = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    kept = ground[60 : 60 + SIDE, 60 : 60 + SIDE]
    removed = ground[60 + down : 60 + down + SIDE, 60 + right : 60 + right + SIDE]
    canvas, (left, top) = laid_over(kept, removed, removal((right, down)))
    assert (left, top) == (min(right, 0), min(down, 0))
    assert canvas.shape == (SIDE + abs(down), SIDE + abs(right), 3)
    cut = ground[60 + top :, 60 + left :][: canvas.shape[0], : canvas.shape[1]]
    nowhere = (canvas == 255).all(axis=-1)
    assert nowhere.sum() == 2 * abs(right * down)  # the corners that neither shows
    np.testing.assert_array_equal(canvas[~nowhere], cut[~nowhere])


def test_a_turn_is_undone() -> None:
    kept = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    canvas, corner = laid_over(kept, np.rot90(kept), removal((0, 0), rotation=-90))
    assert corner == (0, 0)
    np.testing.assert_allclose(canvas, kept, atol=1)


def test_a_smaller_scale_lies_within() -> None:
    kept = np.full((SIDE, SIDE, 3), 100, np.uint8)
    canvas, _ = laid_over(kept, kept + 50, removal((0, 0), scale=0.5))
    assert canvas.shape == kept.shape
    assert (canvas == 125).all(axis=-1).sum() == SIDE * SIDE / 4


def test_captions_say_what_was_measured_and_what_is_true() -> None:
    lines = [line for _, line in captions(removal((14.04, -0.5), rotation=-2))]
    assert lines[1] == "shift 14.0, 0.5 px, turned 2.0°"
    assert lines[2] == "77% is shown by both (in truth 77%)"
