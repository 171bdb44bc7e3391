"""Images that show next to nothing are counted, and told from those that show something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.runtime.run import Run
from tests.support.hostile_files import write
from tests.support.pictures import encoded, picture

pytestmark = pytest.mark.spark


def test_levels_are_counted_and_flat_images_are_told(
    run_ingest: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = np.repeat(np.arange(8, dtype=np.uint8) * 30, 8)[:, None, None]
    pictures = {
        "a/black.png": np.zeros((50, 70, 3), np.uint8),
        "a/grey.png": np.full((64, 64, 3), 128, np.uint8),
        "a/seven.png": np.broadcast_to(bars % 210, (64, 64, 3)),
        "a/eight.png": np.broadcast_to(bars, (64, 64, 3)),
        "a/picture.png": picture(1),
    }
    files = {name: encoded(Image.fromarray(pixels), "PNG") for name, pixels in pictures.items()}
    run = run_ingest(write(tmp_path / "images", files))
    rows = run.warehouse.query("images", "SELECT image_id, levels, pixels FROM rows")
    assert {row["image_id"]: row["levels"] for row in rows} == {
        row["image_id"]: len(set(row["pixels"])) for row in rows
    }
    found = {row["image_id"]: row["levels"] for row in rows}
    assert (found["a/black.png"], found["a/grey.png"]) == (1, 1)
    assert (found["a/seven.png"], found["a/eight.png"]) == (7, 8)
    said = capsys.readouterr()
    assert "3 images show one colour or next to nothing" in said.out + said.err
