"""Every figure of the pages is that of a saved result."""

from __future__ import annotations

import re
from functools import cache

import pytest

from benchmarks import results
from benchmarks.render import BLOCK, INLINE, Saved, pages, relative, rendered
from benchmarks.statements import COMMENT, FENCE, MEASURED, NUMBER, plain_text, unknown
from tests.support.folders import ROOT

PAGES = [relative(page, ROOT / "README.md") for page in pages()]
# What README says in digits and nobody measured: versions, sizes that are chosen.
NO_FIGURES = {"3.11", "17", "21", "64"}
every_page = pytest.mark.parametrize("page", PAGES)


@cache
def saved() -> Saved:
    return Saved.load()


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@every_page
def test_make_figures_changes_nothing(page: str) -> None:
    """Else the page, or a saved result, was changed by hand: run `make figures`."""
    assert rendered(read(page), ROOT / page, saved()) == read(page)


@every_page
def test_marks_are_understood(page: str) -> None:
    """A mark with a slip of the pen would be left as it is."""
    text = FENCE.sub("", read(page))
    rest = INLINE.sub("", BLOCK.sub("", text))
    left = [
        mark for mark in COMMENT.findall(rest) if not re.match(r"<!-- from: [\w. -]+ -->", mark)
    ]
    assert left == []


@every_page
def test_numbers_in_sentences_are_those_of_saved_results(page: str) -> None:
    """If a figure has changed, the sentence must; else docs/figures lacks a number (`stated`)."""
    assert list(map(str, unknown(read(page), page, saved()))) == []


@pytest.mark.parametrize("page", MEASURED)
def test_tables_of_figures_are_rendered(page: str) -> None:
    text = BLOCK.sub("", FENCE.sub("", read(page)))
    assert [line for line in text.splitlines() if line.startswith("|")] == []


def test_readme_has_no_figure_of_its_own() -> None:
    """Numbers are quoted, each by its mark, or stand in rendered tables."""
    text = BLOCK.sub("", FENCE.sub("", read("README.md")))
    assert INLINE.search(text)
    found = {number for part in text.split("\n\n") for number in NUMBER.findall(plain_text(part))}
    assert found <= NO_FIGURES


def test_every_result_is_on_a_page() -> None:
    text = "\n".join(map(read, PAGES)) + (results.FOLDER / "quoted.json").read_text("utf-8")
    named = set(re.findall(r"(?:table|lines|from): ([\w.-]+)", text))
    for names in re.findall(r"<!-- from: ([\w. -]+) -->", text):
        named |= set(names.split())
    named |= {name for name in saved().results if re.search(rf'[="/ ]{re.escape(name)} ', text)}
    pictured = {name for name, result in saved().results.items() if result.pictures}
    assert saved().results.keys() - named - pictured == set()


@pytest.mark.parametrize("name", sorted(saved().results))
def test_a_result_says_where_it_is_from(name: str) -> None:
    result = saved().results[name]
    known = not result.transcribed  # of those that were taken from a page less is known
    assert (ROOT / result.script).is_file() or not (result.script or known)
    assert re.fullmatch(r"[0-9a-f]{8}\+?", result.commit)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result.date)
    assert str(result.machine)
    assert (result.machine.cores >= 1 and result.machine.memory_gib >= 1) or not known
    assert result.tables or result.lines or result.stated or result.pictures


FASTDUP = ("fastdup_features.py", "fastdup_whole.py")
# Not measurements, or run by another one.
NOT_SAVED = ("results.py", "render.py", "statements.py", *FASTDUP)


def test_every_script_is_on_the_page_and_can_be_saved() -> None:
    scripts = {
        path.name: text
        for path in (ROOT / "benchmarks").glob("*.py")
        if "__main__" in (text := path.read_text(encoding="utf-8"))
    }
    assert set(scripts) <= set(re.findall(r"`(\w+\.py)`", read("docs/figures.md")))
    loose = {name for name, text in scripts.items() if "recorded(main)" not in text}
    assert loose == set(NOT_SAVED)


def test_every_quoted_number_is_used() -> None:
    text = "\n".join(map(read, PAGES))
    assert {found["what"] for found in INLINE.finditer(text)} == saved().numbers.keys()
    tables = {found["what"] for found in BLOCK.finditer(text) if found["kind"] == "table"}
    assert {f"quoted {name}" for name in saved().quoted["tables"]} <= tables


def test_the_first_picture_says_what_its_script_printed() -> None:
    (text,) = re.findall(r"!\[([^\]]*)\]", read("README.md"))
    assert text in saved().results["removal"].lines


def test_pictures_are_those_that_were_drawn() -> None:
    """By their digests; a picture that is drawn anew is saved with its result."""
    drawn = {path: sha for each in saved().results.values() for path, sha in each.pictures.items()}
    shown = set()
    for page in PAGES:
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", read(page)):
            shown.add(((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix())
    assert shown == drawn.keys()
    assert {path: results.digest(ROOT / path) for path in shown} == drawn
