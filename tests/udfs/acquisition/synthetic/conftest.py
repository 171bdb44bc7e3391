"""Rendered scenes, which the tests of survey and terrain look at."""

from __future__ import annotations

import pytest

from udfs.acquisition.synthetic import survey

LOSSLESS = (".png", ".bmp", ".tiff")


@pytest.fixture(scope="session")
def rendered() -> dict[str, tuple[survey.Shot, bytes]]:
    """Lossless scenes of every class with flights and copies, by image_id."""
    found: dict[str, tuple[survey.Shot, bytes]] = {}
    for scene in survey.plan(labels=8, scenes=40, side=64, seed=1):
        if len(scene.shots) > 2 and scene.shots[0].image_id.endswith(LOSSLESS):
            files = survey.photograph(scene, 64, 1)
            for shot, (name, data) in zip(scene.shots, files, strict=True):
                assert name == shot.image_id
                found[name] = (shot, data)
    return found
