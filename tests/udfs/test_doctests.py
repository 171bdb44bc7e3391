"""The examples in docstrings are true: every module of udfs that has one is run by doctest."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "udfs").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), report=True)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_functions_that_people_call_first_have_one() -> None:
    first = {"greedy", "thresholds", "pairs", "cosine", "nearest", "axes", "marginal", "pca"}
    assert first <= {module.rpartition(".")[2] for module in WITH_EXAMPLES}
