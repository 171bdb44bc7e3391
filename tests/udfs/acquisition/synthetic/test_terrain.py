"""The eight classes of ground: pictures in range that follow from the generator."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from udfs.acquisition.synthetic import survey, terrain


def test_scenes_of_a_class_are_unlike(rendered: dict[str, tuple[survey.Shot, bytes]]) -> None:
    """As an encoder of 64x64 px sees them: at 4x4 px, what lies where."""
    for label in terrain.TERRAINS:
        scenes = [
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((4, 4)), float)
            for shot, data in rendered.values()
            if shot.copy_of is None and shot.image_id.startswith(f"{label}/")
        ]
        assert len(scenes) >= 2
        for place, scene in enumerate(scenes):
            for other in scenes[:place]:
                assert np.abs(scene - other).mean() > 8, label


@pytest.mark.parametrize("label", terrain.TERRAINS)
def test_a_picture_follows_from_the_generator_and_stays_in_range(label: str) -> None:
    first, again, other = (
        terrain.render(label, 48, np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert first.shape == (48, 48, 3)
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 0.02  # more than one tone
