"""The page in a browser: accessibility, colours, keys, print, and the report of a real run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from jobs.evaluation import pair_labels
from tests.support import example_report
from tests.support.browser import Opener, violations


@pytest.mark.parametrize(
    ("which", "scheme"), [("full", "light"), ("full", "dark"), ("bare", "dark")]
)
def test_the_page_breaks_no_rule_of_accessibility(
    opened: Opener, which: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    page = opened(request.getfixturevalue(which), color_scheme=scheme)
    assert violations(page) == []


def test_the_switch_of_colours_is_kept(opened: Opener, full: Path) -> None:
    page = opened(full, color_scheme="light")
    colours = """() => ["page", "card", "text", "quiet", "accent", "warn", "bar", "before"].map(
      (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`))"""
    light = page.evaluate(colours)
    page.get_by_role("button", name="Switch to dark colours").click()
    dark = page.evaluate(colours)
    assert not set(dark) & set(light)
    page.reload()
    assert page.evaluate(colours) == dark
    assert opened(full, color_scheme="dark").evaluate(colours) == dark


def test_names_are_text_whatever_they_hold(opened: Opener, full: Path) -> None:
    page = opened(full)
    text = full.read_text()
    assert text.count("</script>") == 2
    assert "<!--" not in text
    assert page.evaluate("typeof window.alerted") == "undefined"
    table = page.get_by_role("group", name="Images left, by class")
    expect(table.get_by_role("rowheader", name=example_report.HOSTILE)).to_be_visible()


GIVEN = [path for path in os.environ.get("TEST_REPORTS", "").split(os.pathsep) if path]


@pytest.mark.parametrize("place", ["", *GIVEN])
def test_the_report_of_a_real_run_can_be_used(
    opened: Opener,
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    place: str,
) -> None:
    """A report of this test run, and those that TEST_REPORTS names, by keys and clicks."""
    report = Path(place or undisturbed[0] / "report/report.html").resolve()
    assert report.stat().st_size < 20e6
    data = json.loads(report.read_text("utf-8").split('id="data">')[1].split("</script>")[0])
    for scheme in ("light", "dark"):
        assert violations(opened(report, color_scheme=scheme)) == []
    page = opened(report, accept_downloads=True)

    space = data["rules"][data["published"]]["space"]
    page.get_by_role("slider", name="Rule").focus()
    page.keyboard.press("Home")
    for rule in (rule for rule in data["rules"] if rule["space"] == space):
        reading = page.locator("#explorer .reading")
        expect(reading).to_contain_text(rule["title"])
        expect(reading).to_contain_text(f"{rule['kept']:,}")
        page.keyboard.press("ArrowRight")

    gallery = page.locator("#gallery")
    chosen = gallery.get_by_label("Class", exact=True)
    for option in chosen.locator("option").all()[1:4]:
        named = option.inner_text()
        chosen.select_option(label=named)
        label, count = re.fullmatch(r"(.*) \(([\d,]+)\)", named).groups()  # type: ignore[union-attr]
        assert set(gallery.locator(".what b").all_inner_texts()) == {label}
        assert gallery.locator(".group").count() == min(int(count.replace(",", "")), 18)

    panel = page.get_by_role("group", name="Pair to label")
    panel.focus()
    for key in ("s", "d", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    said = panel.get_by_role("status")
    expect(said).to_have_text(f"4 of {len(data['pairs'])} labelled: 2 same, 2 not")
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save labels.csv").click()
    download.value.save_as(tmp_path / "labels.csv")
    assert pair_labels.read(str(tmp_path / "labels.csv"), {pair[0] for pair in data["pairs"]})


def test_without_pictures_and_optional_tables_the_page_still_serves(
    opened: Opener, bare: Path
) -> None:
    page = opened(bare)
    expect(page.locator("#gallery .blank").first).to_contain_text("/0000")
    for part, job in {
        "conflicts": "conflicts",
        "leaks": "leaks",
        "labelling": "similarities",
    }.items():
        expect(page.locator(f"#{part} .hint")).to_contain_text(f"./spark-submit.sh {job}")
    expect(page.locator("#summary")).not_to_contain_text("audited")


def test_everything_is_reached_by_keys(opened: Opener, full: Path) -> None:
    """The first stop skips to the report; every stop has a visible outline."""
    page = opened(full)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the report")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "(() => { const one = document.activeElement; const style = getComputedStyle(one);"
            " return [one.closest('section, header')?.id || '', style.outlineStyle]; })()"
        )
        seen.add(where[0])
        assert where[1] != "none", where
    assert {"explorer", "gallery"} <= seen


def test_it_prints_in_light_colours_without_controls(opened: Opener, full: Path) -> None:
    page = opened(full, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.get_by_role("slider", name="Rule")).to_be_hidden()
    expect(page.locator(".side")).to_be_hidden()
    expect(page.get_by_role("group", name="Images left, by class")).to_be_visible()
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize("width", [400, 1280])
def test_no_line_is_wider_than_the_window(opened: Opener, full: Path, width: int) -> None:
    page = opened(full, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
