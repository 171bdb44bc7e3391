from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import udfs
from tests.support.compiled import ROOT, SCRIPT, run
from udfs.vectors.kernels import cache

SEARCH = """
import numpy as np
from udfs.vectors import axes, pairs
from udfs.vectors.kernels import vnni
axes.FEWEST = 8
rows = np.random.default_rng(0).standard_normal((90, 64)).astype(np.float32)
rows[40:60] = rows[20:40] + 1e-3
i, j = pairs.similar_pairs(rows, 0.99)
assert (j - i).tolist() == [20] * 20
print(vnni.has_byte_products())
"""


def zipped(target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        root = Path(udfs.__file__).parent.parent
        for name in ("__init__.py", "vectors/__init__.py", "vectors/kernels/__init__.py"):
            archive.write(root / "udfs" / name, f"udfs/{name}")
        for name in ("loops", "vnni", "compiling", "cache"):
            path = f"udfs/vectors/kernels/{name}.py"
            archive.write(root / path, path)
    return target


def test_what_a_zip_compiled_serves_a_zip_of_another_name(tmp_path: Path) -> None:
    first, second = (zipped(tmp_path / f"app.{number}.zip") for number in (1, 2))
    more = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_DEBUG_CACHE": "1"}
    said = run(SCRIPT, first, **more)
    assert f"{first}/udfs/vectors/kernels/loops.py" in said
    assert "data saved" in said
    said = run(SCRIPT, second, **more)
    assert f"{second}/udfs/vectors/kernels/loops.py" in said
    assert "data loaded" in said
    assert "data saved" not in said


@pytest.mark.parametrize("name", ["__init__", "loops", "vnni", "compiling", "cache"])
def test_a_change_of_any_file_compiles_anew(tmp_path: Path, name: str) -> None:
    """Each process says by which hash it looks for compiled code: unlike ones share nothing."""
    same, other = zipped(tmp_path / "same.zip"), tmp_path / "other.zip"
    with zipfile.ZipFile(same) as before, zipfile.ZipFile(other, "w") as after:
        for path in before.namelist():
            changed = path == f"udfs/vectors/kernels/{name}.py"
            after.writestr(path, before.read(path) + (b"# changed" if changed else b""))
    folder = Path(udfs.__file__).parent.parent
    script = "from udfs.vectors.kernels.cache import package_digest\nprint(package_digest())"
    digests = [run(script, path) for path in (folder, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_nothing_need_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    archive = zipped(tmp_path / "app.zip")
    said = run(SCRIPT, archive, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert said == f"{archive}/udfs/vectors/kernels/loops.py\n"


def test_without_a_compiler_one_message_says_why() -> None:
    """Numba would say that some intrinsic cannot be used in pure Python."""
    done = subprocess.run(
        [sys.executable, "-c", "import udfs.vectors.cosine"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: NUMBA_DISABLE_JIT is set")
    assert last.endswith("unset it")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUMBA_CPU_NAME", "generic"),
        ("NUMBA_CPU_FEATURES", ""),
        ("NUMBA_CPU_FEATURES", "-avx512vnni"),
        ("NUMBA_ENABLE_AVX", "0"),
    ],
)
def test_other_processors_find_the_same(tmp_path: Path, name: str, value: str) -> None:
    """Without products of bytes; LLVM would end the process at an instruction that is not there."""
    folder = Path(udfs.__file__).parent.parent
    said = run(SEARCH, folder, XDG_CACHE_HOME=str(tmp_path), **{name: value})
    assert said == "False\n"


@pytest.mark.parametrize("package", ["udfs.vectors.kernels", "udfs.registration"])
def test_packages_with_loops_keep_their_compiled_code(package: str) -> None:
    """Whatever else lies in their folders: without a digest each process compiles anew."""
    importlib.import_module(package)
    assert re.fullmatch("[0-9a-f]{64}", cache.package_digest(package))
