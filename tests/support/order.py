"""The order in which test files run: the long ones first, those that wait for each other apart.

With `-n 4 --dist loadfile` a process takes one file after the other. A file that takes minutes must
not be the last to begin; it has the marker `long`. Of the files that read the same pipeline, which
one process runs for all (see folders.once), two that begin at once would wait for each other.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

# Fixtures and the marker of tests that need Spark, those that include others first.
SHARED = ("undisturbed", "finished", "run_pipeline", "spark")
# Files by what they share, in the order in which the kinds take turns.
TURNS = ("finished", "spark", "run_pipeline", "undisturbed")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Spark, and sort the files; the order within a file stays."""
    needs: dict[Path, set[str]] = {}
    tests: dict[Path, int] = {}
    for item in items:
        if not {*SHARED}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("spark")
        needed = {*getattr(item, "fixturenames", ()), *(mark.name for mark in item.iter_markers())}
        needs.setdefault(item.path, set()).update(needed)
        tests[item.path] = tests.get(item.path, 0) + ("spark" in needed)
    ranks = {path: rank for rank, path in enumerate(ordered(needs, tests))}
    items.sort(key=lambda item: ranks[item.path])


def ordered(needs: dict[Path, set[str]], tests: dict[Path, int]) -> list[Path]:
    """The files in the order to run: `long` ones, then the kinds in turns, then those of no kind.

    Within a kind, files with many tests in Spark come first.
    """
    long = [path for path, needed in needs.items() if "long" in needed]
    kinds: dict[str, list[Path]] = {kind: [] for kind in TURNS}
    others: list[Path] = []
    for path in needs.keys() - long:
        kind = next((kind for kind in SHARED if kind in needs[path]), None)
        (others if kind is None else kinds[kind]).append(path)
    for files in kinds.values():
        files.sort(key=lambda path: (-tests[path], path))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return [*long, *(path for path in turns if path is not None), *sorted(others)]
