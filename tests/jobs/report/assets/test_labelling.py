"""Pairs are labelled on the page and saved as CSV, in a browser."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jobs.report.render import asset
from tests.support import example_report
from tests.support.browser import Opener


def test_pairs_are_labelled_by_keys_and_saved(opened: Opener, full: Path, tmp_path: Path) -> None:
    """Keys label, skip and undo; labels survive a reload and are saved in the documented CSV."""
    page = opened(full, accept_downloads=True)
    panel = page.get_by_role("group", name="Pair to label")
    status = panel.get_by_role("status")
    shown = panel.locator("figcaption")
    panel.focus()
    given: dict[str, str] = {}
    for key in ("s", "ArrowRight", "d", "ArrowLeft"):
        given[shown.first.inner_text()] = "1" if key in ("s", "ArrowRight") else "0"
        page.keyboard.press(key)
    expect(status).to_have_text("4 of 40 labelled: 2 same, 2 not")
    skipped = shown.first.inner_text()
    page.keyboard.press("k")
    page.keyboard.press("s")
    page.keyboard.press("u")
    expect(status).to_have_text("4 of 40 labelled: 2 same, 2 not")
    page.keyboard.press("u")
    assert shown.first.inner_text() == skipped
    given[skipped] = "1"
    panel.locator("button.same").click()
    page.reload()
    expect(status).to_have_text("5 of 40 labelled: 3 same, 2 not")
    assert shown.first.inner_text() not in given
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save labels.csv").click()
    assert download.value.suggested_filename == "labels.csv"
    download.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["pair_id", "image_id", "other_id", "similarity", "same"]
    assert {row["image_id"]: row["same"] for row in rows} == given
    drawn = {row["pair_id"]: row for row in example_report.optional_tables().of("pairs")}
    for row in rows:
        pair = drawn[row["pair_id"]]
        assert (row["image_id"], row["other_id"]) == (pair["image_id"], pair["other_id"])
        assert float(row["similarity"]) == pair["similarity"]


def test_all_pairs_are_labelled_to_the_end(opened: Opener, full: Path) -> None:
    page = opened(full)
    panel = page.get_by_role("group", name="Pair to label")
    panel.focus()
    for _ in range(40):
        page.keyboard.press("s")
    expect(panel.get_by_role("status")).to_have_text("40 of 40 labelled: 40 same, 0 not")
    page.keyboard.press("d")
    expect(panel.get_by_role("status")).to_have_text("40 of 40 labelled: 39 same, 1 not")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("@SUM(1+1)*cmd|' /C calc'!A0/x.png", "'@SUM(1+1)*cmd|' /C calc'!A0/x.png"),
        ("+1-1/x.png", "'+1-1/x.png"),
        ("=1/x.png", "'=1/x.png"),
        ("-1/x.png", "'-1/x.png"),
        ("\t=1/x.png", "'\t=1/x.png"),
        ('a,"b"/x.png', '"a,""b""/x.png"'),
        ("cat/=1.png", "cat/=1.png"),
    ],
)
def test_no_name_is_a_formula_of_a_spreadsheet(
    opened: Opener, full: Path, name: str, written: str
) -> None:
    # The page keeps its functions to itself, so the test takes them from their file.
    written_by = f"name => {{ {asset('labelling.js')}; return csvField(csvName(name)); }}"
    assert opened(full).evaluate(written_by, name) == written
