"""Files as people have them become rows of `images`, or of `rejects` with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.runtime.run import Run
from tests.support.hostile_files import REJECTED, hostile, write
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode as definition

Ingest = Callable[..., Run]


def test_unusual_and_broken_files_become_the_expected_rows(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    content = hostile()
    root = write(tmp_path / "images", content)
    run = run_ingest(root)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert set(rows) == {
        name for name in content if name.split("/")[0] in ("good", "class=001", "other")
    } - {"good/.hidden.jpg"}
    for name, row in rows.items():
        assert row.label == name.split("/")[0]
        assert row.split is None
        assert row.path == str(root / name)
        assert row.sha256 == definition.sha256(content[name])
        assert row.size_bytes == len(content[name])
        status = (root / name).stat()
        assert row.modified_at == datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6)
        assert (row.width, row.height) == (72, 72)
        whole = definition.decode(content[name], max_pixels=10**6, tile=None, stride=None)
        assert bytes(row.pixels) == whole[0].pixels
    rejects = run.warehouse.read("rejects").collect()
    assert {row.image_id: row.error_code for row in rejects} == REJECTED
    for row in rejects:
        assert row.path == str(root / row.image_id)
        assert row.stage == "ingest"
        assert row.size_bytes == len(content[row.image_id])
        assert row.error_message


def test_tiles_are_cut_at_every_stride(run_ingest: Ingest, tmp_path: Path) -> None:
    wide = encoded(Image.fromarray(picture(3, 160)).crop((0, 0, 160, 100)), "PNG")
    small = encoded(Image.fromarray(picture(4, 60)), "PNG")
    root = write(tmp_path / "images", {"a/wide.png": wide, "a/small.png": small})
    run = run_ingest(root, "ingest.tile=64", "ingest.stride=32")
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    corners = [(x, y) for y in (0, 32) for x in (0, 32, 64, 96)]
    assert set(rows) == {f"a/wide.png#{x},{y}" for x, y in corners}
    levels = np.asarray(Image.open(io.BytesIO(wide)))
    for x, y in corners:
        row = rows[f"a/wide.png#{x},{y}"]
        assert bytes(row.pixels) == levels[y : y + 64, x : x + 64].tobytes()
        assert (row.width, row.height, row.size_bytes) == (64, 64, len(wide))
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("a/small.png", "too_small")]
