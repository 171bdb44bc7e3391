"""Small images that tests make for themselves, and the folders of them that several tests read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.folders import Once


def picture(seed: int, side: int = 72) -> NDArray[np.uint8]:
    """Smooth random colours, (side, side, 3); each seed gives another image."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def save_pictures(root: Path, labels: tuple[str, ...] = ("field", "town"), each: int = 24) -> None:
    """Folders by class; every third picture is a near-copy of the one before."""
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for place in range(each):
            seed = 1000 * number + (place - 1 if place % 3 == 2 else place)
            levels = picture(seed).astype(int) + (2 if place % 3 == 2 else 0)
            image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
            image.save(root / label / f"{place:03}.png")


@pytest.fixture(scope="session")
def pictures(once: Once) -> Path:
    return once("pictures", save_pictures)


CLASSES = ("field", "shore", "town")


@pytest.fixture(scope="session")
def survey(once: Once) -> Path:
    """Three classes, each large enough for a line over classes, and one broken file."""

    def make(folder: Path) -> None:
        save_pictures(folder / "images of ünits", CLASSES, each=33)
        (folder / "images of ünits/field/broken.jpg").write_bytes(b"no picture")

    return once("sur vey", make) / "images of ünits"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()
