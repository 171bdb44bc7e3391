"""The docstrings of packages that list what is public in them, beside their modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import udfs

ROOT = Path(udfs.__file__).parent
PACKAGES = [str(path.parent.relative_to(ROOT)) for path in sorted(ROOT.rglob("__init__.py"))]


def listed(package: Path) -> dict[str, list[str]]:
    """The names that a package's docstring lists, by module; each has a line of its own."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    names: dict[str, list[str]] = {}
    module = ""
    for line in text.splitlines():
        if re.fullmatch(r"\w+\.py", line):
            module = line.removesuffix(".py")
            names[module] = []
        elif entry := re.match(r"    (\w+) — \S", line):
            names[module].append(entry[1])
    return names


def public(module: Path) -> list[str]:
    body = ast.parse(module.read_text()).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_public_is_listed_and_nothing_else(package: str) -> None:
    folder = ROOT / package
    modules = {path.stem: sorted(public(path)) for path in folder.glob("[!_]*.py")}
    assert {module: sorted(names) for module, names in listed(folder).items()} == modules


def test_every_folder_has_a_line() -> None:
    text = udfs.__doc__ or ""
    folders = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert sorted(re.findall(r"^(\w+): ", text, re.MULTILINE)) == sorted(folders)


def test_a_package_imports_nothing_heavy() -> None:
    script = """
import sys
import udfs.autoencoder, udfs.density, udfs.duplicates, udfs.vectors.kernels
print([name for name in ("numba", "torch", "numpy", "pyarrow", "scipy") if name in sys.modules])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
