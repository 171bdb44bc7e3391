"""Compiled code is kept where nobody else can write, and what is damaged is compiled anew."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.compiled import ROOT, SCRIPT, run
from udfs.vectors.kernels import cache


def compiled_into(cache_home: Path) -> list[Path]:
    """The files of compiled code that a first process leaves."""
    run(SCRIPT, ROOT, XDG_CACHE_HOME=str(cache_home))
    files = sorted(path for path in cache_home.rglob("*") if path.is_file())
    assert files
    return files


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "end", "swapped"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    """A bit of machine code that is another one could end the process."""
    files = compiled_into(tmp_path)
    content = [path.read_bytes() for path in files]
    for number, path in enumerate(files):
        data = content[number]
        middle = len(data) // 2
        path.write_bytes(
            {
                "empty": b"",
                "cut": data[:20],
                "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
                "end": data[:-1],
                "swapped": content[number - 2],
            }[damage]
        )
    run(SCRIPT, ROOT, XDG_CACHE_HOME=str(tmp_path))
    said = run(SCRIPT, ROOT, XDG_CACHE_HOME=str(tmp_path), NUMBA_DEBUG_CACHE="1")
    assert "data loaded" in said
    assert "data saved" not in said


PLANT = """
import os, pickle, sys
class Code:
    def __reduce__(self):
        return (os.system, ("touch " + sys.argv[1],))
for path in sys.argv[2:]:
    content = pickle.dumps(Code())
    from udfs.vectors.kernels import cache
    from pathlib import Path
    Path(path).unlink()
    Path(path).write_bytes(cache._hash(Path(path), content) + content)
    os.chown(path, 65534, 65534)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_files_of_another_user_are_not_loaded(tmp_path: Path) -> None:
    files = compiled_into(tmp_path / "cache")
    mark = tmp_path / "code of another user ran"
    command = [sys.executable, "-c", PLANT, str(mark), *map(str, files)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    run(SCRIPT, ROOT, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert not mark.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of another user")
@pytest.mark.parametrize("whose", ["latent-dedup", "digest"])
def test_a_folder_of_another_user_is_not_used(tmp_path: Path, whose: str) -> None:
    home = tmp_path / "cache"
    folder = home / "latent-dedup" / cache.package_digest("udfs.vectors.kernels")
    folder.mkdir(parents=True)
    os.chown({"latent-dedup": folder.parent, "digest": folder}[whose], 65534, 65534)
    run(SCRIPT, ROOT, XDG_CACHE_HOME=str(home))
    assert not list(folder.iterdir())


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    """Also one of an earlier version, which a group could write to."""
    home = tmp_path / "cache"
    (home / "latent-dedup").mkdir(parents=True)
    (home / "latent-dedup").chmod(0o775)
    compiled_into(home)
    for folder in (home / "latent-dedup", *(home / "latent-dedup").iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("modes", "is_private"),
    [
        ((0o755, 0o755), True),
        ((0o755, 0o775), False),
        ((0o777, 0o755), False),
        ((0o1777, 0o755), True),  # as /tmp: what is another's cannot be renamed there
        ((0o700, 0o777), True),  # nobody else comes this far
    ],
)
def test_folders_in_which_others_can_write_are_not_private(
    tmp_path: Path, modes: tuple[int, int], is_private: bool
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    tmp_path.chmod(0o755)
    for folder, mode in zip((tmp_path / "a", tmp_path / "a/b"), modes, strict=True):
        folder.chmod(mode)
    try:
        cache.check_private(tmp_path / "a/b", below=tmp_path)
        private = True
    except PermissionError:
        private = False
    assert private is is_private
