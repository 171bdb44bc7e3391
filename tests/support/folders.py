"""Folders that tests share: the repository, real images, and what one process makes for all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images; tests that need it are skipped where it is not."""
    place = Path(os.environ.get("TEST_IMAGES", ROOT.parent / "shared/data"))
    if not (place / "clothing").is_dir():
        pytest.skip(f"no real images at {place}: set TEST_IMAGES to their folder")
    return place


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
