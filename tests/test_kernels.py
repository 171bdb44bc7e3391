from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import udfs

SCRIPT = """
import numpy as np
from udfs import kernels
rows = np.arange(12, dtype=np.float32).reshape(3, 4)
some = np.array([0, 2])
assert kernels.products_at(rows, rows, some, some).tolist() == [14, 366]
print(kernels.__file__, sum(kernels._dots.stats.cache_hits.values()))
"""


def run(archive: Path, cache: Path) -> str:
    """The source file that was imported, and how often compiled code was found."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    environment |= {"PYTHONPATH": str(archive), "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, env=environment, cwd=archive.parent, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.strip()


def zipped(target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        folder = Path(udfs.__file__).parent
        for name in ("__init__.py", "kernels.py"):
            archive.write(folder / name, f"udfs/{name}")
    return target


def test_what_a_zip_compiled_serves_a_zip_of_another_name(tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"app.{number}.zip") for number in (1, 2))
    cache = tmp_path / "cache"
    assert run(first, cache) == f"{first}/udfs/kernels.py 0"
    assert run(second, cache) == f"{second}/udfs/kernels.py 1"


def test_nothing_need_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    archive = zipped(tmp_path / "app.zip")
    assert run(archive, tmp_path / "file") == f"{archive}/udfs/kernels.py 0"
