"""Files that end the process that decodes them, in a folder that the job `ingest` reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from PIL import Image

from tests.support.commands import flags, run_command
from tests.support.hostile_files import DEADLY, deadly, write
from tests.support.pictures import encoded, picture

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux"),
]
CODES = {
    "cat/segfault.jpg": "crashed",
    "cat/killed.jpg": "crashed",
    "cat/hoard.jpg": "too_large",
    "cat/spin.jpg": "too_slow",
    "cat/sparse.jpg": "too_large",
}


def rows(warehouse: Path, table: str) -> dict[str, str]:
    """The error code, if there is one, of each image."""
    table_rows = DeltaTable(str(warehouse / table)).to_pyarrow_table().to_pylist()
    return {row["image_id"]: row.get("error_code", "") for row in table_rows}


@pytest.mark.whole
def test_each_costs_itself_alone_and_is_tried_again(tmp_path: Path) -> None:
    good = {
        f"{label}/{number}.png": encoded(Image.fromarray(picture(number)), "PNG")
        for label in ("cat", "dog")
        for number in range(6)
    }
    bad = {
        "cat/segfault.jpg": deadly("SIGSEGV"),
        "cat/killed.jpg": deadly("SIGKILL"),
        "cat/hoard.jpg": deadly("hoard"),
        "cat/spin.jpg": deadly("spin"),
    }
    root, warehouse = write(tmp_path / "images", good | bad), tmp_path / "warehouse"
    with (root / "cat/sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    arguments = ["--images", str(root), "--warehouse", str(warehouse)]
    arguments += flags("ingest.max_seconds=1", "ingest.max_pixels=1000000")
    done = run_command("ingest", *arguments, cwd=tmp_path, PYTHONPATH=str(DEADLY))
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(warehouse, "images").keys() == good.keys()
    assert rows(warehouse, "rejects") == CODES
    # The codec is mended; what it could not decode is tried again when there is something to do.
    write(root, {"dog/new.png": good["dog/0.png"]})
    done = run_command("ingest", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(warehouse, "images").keys() == good.keys() | bad.keys() | {"dog/new.png"}
    assert rows(warehouse, "rejects") == {"cat/sparse.jpg": "too_large"}
