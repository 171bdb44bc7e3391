"""A package's docstring lists every public function and class of its modules, and no other name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

UDFS = Path(__file__).parents[2] / "udfs"
PACKAGES = (
    "acquisition",
    "acquisition/synthetic",
    "autoencoder",
    "density",
    "evaluation",
    "report",
)
LINE = re.compile(r"    (\w+) — \S")


def listed(package: Path) -> dict[str, list[str]]:
    """The names in a package's docstring, by the module whose heading they stand under."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    names: dict[str, list[str]] = {}
    module = ""
    for line in text.splitlines():
        if re.fullmatch(r"\w+\.py", line):
            module = line
            names[module] = []
        elif entry := LINE.match(line):
            names[module].append(entry[1])
        else:
            assert not line.startswith("    "), line
    return names


def defined(module: Path) -> list[str]:
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return [
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_what_is_public(name: str) -> None:
    package = UDFS / name
    modules = {path.name: sorted(defined(path)) for path in package.glob("[!_]*.py")}
    assert {module: sorted(names) for module, names in listed(package).items()} == modules
