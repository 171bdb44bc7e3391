"""The examples in the docstrings of udfs, run on the modules as they are imported already."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import udfs

ROOT = Path(udfs.__file__).parent
MODULES = [
    ".".join(["udfs", *path.relative_to(ROOT).with_suffix("").parts])
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_what_is_called_first_has_an_example() -> None:
    first = {"greedy", "thresholds", "pairs", "cosine", "nearest", "axes"}
    assert first <= {name.rpartition(".")[2] for name in MODULES}
