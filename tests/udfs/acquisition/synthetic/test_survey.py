"""The synthetic survey: real copies, and a truth that the pixels bear out."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from udfs.acquisition import decode
from udfs.acquisition.synthetic import survey
from udfs.acquisition.unusable import Unusable

# Spread of the difference of two frames' own noise, in levels.
TWICE_NOISE = 255 * survey.SENSOR_NOISE * 2**0.5


def pixels(data: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def decoded(data: bytes) -> decode.Tile:
    (tile,) = decode.decode(data, max_pixels=10**6, tile=None, stride=None)
    return tile


def test_a_shift_shows_the_same_ground_where_it_overlaps(
    rendered: dict[str, tuple[survey.Shot, bytes]],
) -> None:
    shifts = [(shot, data) for shot, data in rendered.values() if shot.change == "shift"]
    assert len(shifts) >= 20
    for shot, data in shifts:
        frame, original = pixels(data), pixels(rendered[str(shot.copy_of)][1])
        side, (along, across) = len(frame), shot.moved
        assert shot.overlap == pytest.approx((1 - along / side) * (1 - abs(across) / side))
        best = min(
            ((x, y) for x in range(along - 1, along + 2) for y in range(across - 1, across + 2)),
            key=lambda moved: difference(original, frame, *moved),
        )
        assert best == (along, across), shot
        # Levels are rounded and clipped, so the difference of two noises is nearly theirs.
        assert difference(original, frame, along, across) < 1.1 * TWICE_NOISE, shot


def difference(
    original: NDArray[np.float64], frame: NDArray[np.float64], along: int, across: int
) -> float:
    """Spread of the difference where a frame, moved so far, shows what the original shows."""
    side = len(original)
    shared = original[max(0, across) : side + min(0, across), along:]
    moved = frame[max(0, -across) : side + min(0, -across), : side - along]
    return float(np.std(shared - moved))


def test_copies_show_what_their_original_shows(
    rendered: dict[str, tuple[survey.Shot, bytes]],
) -> None:
    """Every kind of change is there, changes something, and leaves the picture recognisable."""
    kinds: dict[str, list[float]] = {}
    for shot, data in rendered.values():
        if shot.copy_of and shot.change != "shift":
            original = rendered[shot.copy_of][1]
            assert data != original
            mine, theirs = (
                np.frombuffer(decoded(part).pixels, np.uint8).astype(float)
                for part in (data, original)
            )
            likeness = float(np.corrcoef(mine, theirs)[0, 1])
            kinds.setdefault(str(shot.change), []).append(likeness)
    assert set(kinds) == set(survey.CHANGES)
    assert all(np.median(values) > 0.8 for values in kinds.values()), kinds


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("truncated.jpg", "truncated"),
        ("empty.jpg", "empty"),
        ("notes.jpg", "not_an_image"),
        ("huge.png", "too_large"),
    ],
)
def test_broken_files_are_rejects(name: str, code: str) -> None:
    files = dict(survey.broken_files("field", 96))
    assert len(files) == 4
    with pytest.raises(Unusable) as reason:
        decode.decode(files[f"field/{name}"], max_pixels=89_478_485, tile=None, stride=None)
    assert reason.value.code == code


@pytest.mark.parametrize("labels", [0, 9])
def test_there_are_eight_classes(labels: int) -> None:
    with pytest.raises(ValueError, match=f"labels: is {labels}"):
        next(survey.plan(labels=labels, scenes=1, side=64, seed=0))


def test_a_scene_follows_from_its_seed_alone() -> None:
    """Another number of scenes or classes changes neither the plan nor the pixels of a scene."""
    few = list(survey.plan(labels=1, scenes=2, side=64, seed=3))
    more = list(survey.plan(labels=2, scenes=3, side=64, seed=3))
    assert more[:2] == few
    assert survey.photograph(more[1], 64, 3) == survey.photograph(few[1], 64, 3)
    assert survey.photograph(few[1], 64, 4) != survey.photograph(few[1], 64, 3)
