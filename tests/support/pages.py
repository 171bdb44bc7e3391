"""Pages of the example report, written once for all test processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import example_report, overlaps
from tests.support.folders import Once


@pytest.fixture(scope="session")
def full(once: Once) -> Path:
    """A page with every table and every picture."""
    return once("full_report", lambda folder: write(folder, example_report.report())) / PAGE


@pytest.fixture(scope="session")
def bare(once: Once) -> Path:
    """A page without optional tables and without pictures, as vectors brought along give it."""
    report = example_report.report
    return once("bare_report", lambda folder: write(folder, report(False, pictures=0))) / PAGE


@pytest.fixture(scope="session")
def proved(once: Once) -> Path:
    """A page with overlap rules, whose removals are proved."""
    return once("proved_report", lambda folder: write(folder, overlaps.report())) / PAGE


PAGE = "report.html"


def write(folder: Path, report: example_report.Report) -> None:
    """The page as a file of a new folder."""
    folder.mkdir()
    (folder / PAGE).write_text(report.text, encoding="utf-8")
