"""Where files lie and what they are called: tests mirror the code, and words say something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.folders import ROOT

FOLDERS = ("jobs", "udfs")
SMALLEST = 25  # lines, from which on a file needs tests of its name

# Files that decide nothing by themselves, and why.
NEED_NONE = {
    "jobs/autoencoder/latents.py": "queries of one line, part of every pipeline",
    "jobs/warehouse/base_store.py": "what both stores share; test_store.py runs with each of them",
    "jobs/warehouse/tables.py": "declarations; tests/system/test_docs.py compares them",
}
# Files that are tested through the module that uses them, by the test that imports them.
TESTED_BY = {
    "jobs/acquisition/decoder_process.py": "jobs/acquisition/test_decoders.py",
    "jobs/acquisition/decoding.py": "jobs/acquisition/test_decoders.py",
    "jobs/warehouse/commits.py": "jobs/warehouse/test_store.py",
    "jobs/warehouse/local_store.py": "system/test_stores.py",
    "jobs/warehouse/partitioning.py": "jobs/warehouse/test_parquet_scan.py",
    "jobs/warehouse/spark_store.py": "jobs/warehouse/test_store.py",
}


def modules() -> dict[str, Path]:
    """Every module of the code, by its path in the repository."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path for path in paths if path.name != "__init__.py"}


def own_test(module: str) -> Path:
    return ROOT / "tests" / Path(module).with_name(f"test_{Path(module).name}")


def test_every_module_has_a_test_file_of_its_name() -> None:
    missing = {
        module
        for module, path in modules().items()
        if len(path.read_text(encoding="utf-8").splitlines()) >= SMALLEST
        and not own_test(module).exists()
    }
    assert missing == NEED_NONE.keys() | TESTED_BY.keys(), "write one, or say why not"


@pytest.mark.parametrize("module", TESTED_BY)
def test_what_is_tested_elsewhere_is_used_there(module: str) -> None:
    test = (ROOT / "tests" / TESTED_BY[module]).read_text(encoding="utf-8")
    folder, name = Path(module).parts[-2:]
    imported = rf"from [\w.]*\b{folder} import [^#]*?\b{name[:-3]}\b|\b{folder}\.{name[:-3]} import"
    assert re.search(imported, test, flags=re.S)


def test_no_name_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "tools"}
    names = [
        path.relative_to(ROOT)
        for folder in (*FOLDERS, "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if "__pycache__" not in path.parts and path.stem in empty
    ]
    assert names == []


# Tests below tests/jobs and tests/udfs of something else than one module.
OTHER_TESTS = {
    "tests/jobs/acquisition/test_imports.py": "what the tasks of ingest load",
    "tests/jobs/report/assets": "the page's scripts, which are no Python",
    "tests/jobs/runtime/test_foreign_changes.py": "stages after others changed their tables",
    "tests/jobs/warehouse/test_foreign_commits.py": "both stores beside other writers",
    "tests/jobs/warehouse/test_engines.py": "Spark and delta-rs on the same tables",
    "tests/udfs": "all modules of udfs: their catalogues and examples",
}


def test_a_test_stands_beside_the_module_that_it_names() -> None:
    tests = [path for folder in FOLDERS for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    known = {own_test(module) for module in modules()}
    others = {ROOT / place for place in OTHER_TESTS}
    lost = [path for path in tests if path not in known and not {path, path.parent} & others]
    assert lost == []


def test_no_test_takes_from_another() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in (ROOT / "tests").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"(from|import) tests\b(?!\.support\b| import support\b)", line)
    ]
    assert found == [], "what several tests need belongs to tests/support"


@pytest.mark.parametrize("place", ["jobs", "udfs", "tests", "benchmarks", "docs", "README.md"])
def test_no_section_of_a_specification_is_named(place: str) -> None:
    """Readers of the project have docs/method.md: its headings can be found."""
    start = ROOT / place
    files = [start] if start.is_file() else [*start.rglob("*.py"), *start.rglob("*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\bspec(ification)?,?\s(§|section\b)", line, flags=re.I)
    ]
    assert found == []
