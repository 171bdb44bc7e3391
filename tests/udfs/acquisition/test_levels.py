"""Pictures of 8 bits as RGB, whose drawing may be in their transparency."""

from __future__ import annotations

import numpy as np
from PIL import Image

from udfs.acquisition import levels


def test_rows_are_looked_at_in_strips_that_cover_them() -> None:
    assert levels.strips((1000, 600)) == [(0, 262), (262, 524), (524, 600)]
    assert levels.strips((levels.STRIP + 1, 3)) == [(0, 1), (1, 2), (2, 3)]


def test_levels_are_counted_in_all_channels() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:8, :, 1] = 9
    assert levels.count(pixels.tobytes()) == 2


def test_a_drawing_lies_on_a_ground_that_shows_it() -> None:
    alpha = Image.new("L", (8, 8))
    alpha.paste(255, (2, 2, 5, 5))
    for ink, ground in ((10, 255), (240, 0)):
        image = np.asarray(levels.drawn_by_alpha(Image.new("RGB", (8, 8), (ink,) * 3), alpha))
        assert (image[3, 3, 0], image[0, 0, 0]) == (ink, ground)
    even = Image.new("L", (8, 8), 90)
    ink_alone = Image.new("RGB", (8, 8), (10, 10, 10))
    assert levels.drawn_by_alpha(ink_alone, even) is ink_alone
