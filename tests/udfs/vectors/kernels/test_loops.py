from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import udfs
from udfs.vectors.cosine import products
from udfs.vectors.kernels import loops

SCRIPT = """
import numpy as np
from udfs.vectors.kernels import loops as kernels
rows = np.arange(12, dtype=np.float32).reshape(3, 4)
some = np.array([0, 2])
assert kernels.products_at(rows, rows, some, some).tolist() == [14, 366]
print(kernels.__file__)
"""
SEARCH = """
import numpy as np
from udfs.vectors import pairs, screen
from udfs.vectors.kernels import loops as kernels
screen.LEAST = 8
rows = np.random.default_rng(0).standard_normal((90, 64)).astype(np.float32)
rows[40:60] = rows[20:40] + 1e-3
i, j = pairs.similar_pairs(rows, 0.99)
assert (j - i).tolist() == [20] * 20
print(kernels.has_byte_products())
"""


def run(script: str, path: Path, **more: str) -> str:
    """What a process prints that imports from `path`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(path)} | more,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def zipped(target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        root = Path(udfs.__file__).parent.parent
        for name in ("__init__.py", "vectors/__init__.py", "vectors/kernels/__init__.py"):
            archive.write(root / "udfs" / name, f"udfs/{name}")
        archive.write(root / "udfs/vectors/kernels/loops.py", "udfs/vectors/kernels/loops.py")
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


def test_nothing_need_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    archive = zipped(tmp_path / "app.zip")
    said = run(SCRIPT, archive, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert said == f"{archive}/udfs/vectors/kernels/loops.py\n"


@pytest.mark.parametrize("left", [0, 20])
def test_a_file_that_was_cut_is_passed_over(tmp_path: Path, left: int) -> None:
    archive = zipped(tmp_path / "app.zip")
    cache = tmp_path / "cache"
    run(SCRIPT, archive, XDG_CACHE_HOME=str(cache))
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:left])
    run(SCRIPT, archive, XDG_CACHE_HOME=str(cache))


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


def test_any_layout_will_do() -> None:
    random = np.random.default_rng(0)
    wide = random.standard_normal((40, 60)).astype(np.float32)
    some = np.arange(40)
    for rows in (wide, np.asfortranarray(wide), wide[:, ::2], wide[::-1], wide.astype(">f4")):
        expected = products(rows.astype(np.float32), rows.astype(np.float32))
        assert np.allclose(loops.products_at(rows, rows, some, some), np.diag(expected))
        assert np.allclose(loops.squares(rows), np.diag(expected))
        at = loops.above(rows, np.float32(0.5))
        assert np.array_equal(at, np.nonzero(rows > 0.5))


def test_what_is_loose_or_not_there_has_no_bound_of_its_own() -> None:
    """All bytes as large as they can be, and columns that fill no word."""
    if not loops.has_byte_products():
        pytest.skip("this processor has no products of bytes")
    zero, large = (np.full((n, 17_000), code, np.int32) for n, code in ((6, -(2**31)), (65, 0)))
    zero.view(np.uint8)[:] = 128
    large.view(np.int8)[:] = 127
    zero[:, -1], large[:, -1] = 0, 0
    never, always = (np.full(65, loose) for loose in (False, True))
    none = np.zeros(6, np.bool_)
    assert loops.passing(zero, large, 1, 0, (none, never))[0].size == 0
    assert loops.passing(zero, large, 1, 0, (none, always))[0].size == 6 * 65
