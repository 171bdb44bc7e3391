"""Folders that tests share: the repository, real images, and what one process makes for all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images; tests that need it are skipped where it is not."""
    place = Path(os.environ.get("TEST_IMAGES", ROOT.parent / "shared/data"))
    if not (place / "clothing").is_dir():
        pytest.skip(f"no real images at {place}: set TEST_IMAGES to their folder")
    return place


class RealSet(NamedTuple):
    """Some of the real images. chosen: a pattern of their paths; settings: how they are read."""

    name: str
    chosen: str
    settings: tuple[str, ...]


# A whole set, and a few photographs of two classes in tiles of which neighbours share a part.
REAL_SETS = (
    RealSet("clothing", "*/*/*", ("ingest.layout=split/label",)),
    RealSet("ucmerced", "[ad]*/*0.jpg", ("ingest.tile=64", "ingest.stride=32")),
)


def link_images(real_images: Path, chosen: RealSet, folder: Path) -> Path:
    """Make a folder of links to images of a real set; return it."""
    for path in sorted((real_images / chosen.name).glob(chosen.chosen)):
        target = folder / path.relative_to(real_images / chosen.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return folder


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder in the first test process that needs it; other processes wait and share it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_size:
                shutil.rmtree(folder, ignore_errors=True)  # of a process in which it failed
                make(folder)
                file.write("made")
                file.flush()
        return folder

    return made
