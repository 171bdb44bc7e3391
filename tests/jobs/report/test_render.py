"""The page in a browser: an invented report, opened from disk in headless Chromium."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from jobs.evaluation import pair_labels
from jobs.report import render as rendering
from tests import invented
from tests.conftest import Opener


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it."""
    return written(tmp_path_factory.mktemp("full"), invented.report())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One without any optional table and without pictures, as of vectors brought along."""
    return written(tmp_path_factory.mktemp("bare"), invented.report(there=False, pictures=0))


def written(folder: Path, report: invented.Report) -> Path:
    place = folder / "report.html"
    place.write_text(report.text, encoding="utf-8")
    return place


def violations(page: Page, part: str = "html") -> list[str]:
    found = Axe().run(page, context=part).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:120]}" for rule in found]


@pytest.mark.parametrize(
    ("which", "scheme"), [("full", "light"), ("full", "dark"), ("bare", "dark")]
)
def test_axe_finds_nothing(
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
    expect(table.get_by_role("rowheader", name=invented.HOSTILE)).to_be_visible()


def test_embedded_json_is_the_value() -> None:
    value = {"</script>": ["<!--", "&amp;", "\u2028", "ä", 'quo"te', 1.5, None]}
    text = rendering.embedded(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028") & set(text)


def test_nothing_is_loaded_and_nothing_may_be(full: Path) -> None:
    text = full.read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text) == []
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]


def test_the_explorer_steps_through_the_computed_rules(opened: Opener, full: Path) -> None:
    page = opened(full)
    slider = page.get_by_role("slider", name="Rule")
    reading = page.locator("#explorer .reading")
    facts = invented.facts()
    expect(reading).to_contain_text(f"{facts.rules[1]['kept']}of {facts.images} images stay")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(reading).to_contain_text("T = 0.93 raw")
    expect(reading).to_contain_text(str(facts.rules[2]["kept"]))
    expect(slider).to_have_attribute("aria-valuetext", re.compile("T = 0.93 raw"))
    page.keyboard.press("Home")
    expect(page.locator("#explorer h3").nth(1)).to_have_text("Removed pairs just above 0.97")
    least = min(facts.by_class, key=lambda row: row["cells"][0]["kept"] / row["images"])
    first = page.locator("#explorer .bars li").first
    expect(first).to_contain_text(f"{least['cells'][0]['kept']} of {least['images']}")
    page.get_by_label("Order of the classes").select_option("size")
    largest = max(facts.by_class, key=lambda row: row["images"])
    expect(first).to_contain_text(f"of {largest['images']}")
    page.locator("#explorer").get_by_role("button", name="whitened").click()
    expect(slider).to_have_attribute("max", "1")
    expect(reading).to_contain_text("T = 0.5 whitened")


def test_pairs_open_large_and_close_by_keys(opened: Opener, full: Path) -> None:
    page = opened(full)
    card = page.locator("#explorer .pair").nth(1)
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 of 12")
    expect(dialog.get_by_role("img")).to_have_count(2)
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("3 of 12")
    assert violations(page, "dialog") == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(card).to_be_focused()


def sims(page: Page) -> list[float]:
    """Of each card on the gallery's page, the similarity nearest to T."""
    return [
        float(card.locator(".sim").first.inner_text())
        for card in page.locator("#gallery .group").all()
    ]


def test_the_gallery_filters_sorts_and_turns_pages(opened: Opener, full: Path) -> None:
    page = opened(full)
    gallery = page.locator("#gallery")
    expect(gallery.get_by_role("status")).to_have_text(
        "shown: 60 of 120 groups; all are in the table selection"
    )
    assert gallery.locator(".group").count() == 18
    first = sims(page)
    gallery.get_by_role("button", name="Next page of groups").focus()
    page.keyboard.press("Enter")
    expect(gallery).to_contain_text("Page 2 of 4")
    assert first == sorted(first)
    assert min(sims(page)) >= max(first)
    page.keyboard.press("ArrowLeft")
    expect(gallery).to_contain_text("Page 1 of 4")
    gallery.get_by_label("Sort").select_option("size")
    sizes = [int(text.split()[-1]) for text in gallery.locator(".what span").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True)
    gallery.get_by_label("Class", exact=True).select_option(label="forest (12)")
    expect(gallery.locator(".group")).to_have_count(12)
    assert set(gallery.locator(".what b").all_inner_texts()) == {"forest"}
    gallery.get_by_label("Rule").select_option(label="T = 0.97 raw")
    expect(gallery.locator(".group")).to_have_count(12)
    assert min(sims(page)) >= 0.97


def test_pairs_are_labelled_by_keys_and_saved(opened: Opener, full: Path, tmp_path: Path) -> None:
    """Same by s and →, not by d and ←, skip, undo; kept over a reload; the CSV as agreed."""
    page = opened(full, accept_downloads=True)
    panel = page.get_by_role("group", name="Pair to label")
    said = panel.get_by_role("status")
    shown = panel.locator("figcaption")
    panel.focus()
    given: dict[str, str] = {}
    for key in ("s", "ArrowRight", "d", "ArrowLeft"):
        given[shown.first.inner_text()] = "1" if key in ("s", "ArrowRight") else "0"
        page.keyboard.press(key)
    expect(said).to_have_text("4 of 40 labelled: 2 same, 2 not")
    skipped = shown.first.inner_text()
    page.keyboard.press("k")
    page.keyboard.press("s")
    page.keyboard.press("u")
    expect(said).to_have_text("4 of 40 labelled: 2 same, 2 not")
    page.keyboard.press("u")
    assert shown.first.inner_text() == skipped
    given[skipped] = "1"
    panel.locator("button.same").click()
    page.reload()
    expect(said).to_have_text("5 of 40 labelled: 3 same, 2 not")
    assert shown.first.inner_text() not in given
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save labels.csv").click()
    assert download.value.suggested_filename == "labels.csv"
    download.value.save_as(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["pair_id", "image_id", "other_id", "similarity", "same"]
    assert {row["image_id"]: row["same"] for row in rows} == given
    drawn = {row["pair_id"]: row for row in invented.findings().of("pairs")}
    for row in rows:
        wanted = drawn[row["pair_id"]]
        assert (row["image_id"], row["other_id"]) == (wanted["image_id"], wanted["other_id"])
        assert float(row["similarity"]) == wanted["similarity"]


def test_all_pairs_are_labelled_to_the_end(opened: Opener, full: Path) -> None:
    page = opened(full)
    panel = page.get_by_role("group", name="Pair to label")
    panel.focus()
    for _ in range(40):
        page.keyboard.press("s")
    expect(panel.get_by_role("status")).to_have_text("40 of 40 labelled: 40 same, 0 not")
    page.keyboard.press("d")
    expect(panel.get_by_role("status")).to_have_text("40 of 40 labelled: 39 same, 1 not")


GIVEN = [path for path in os.environ.get("TEST_REPORTS", "").split(os.pathsep) if path]


@pytest.mark.spark
@pytest.mark.parametrize("place", ["", *GIVEN])
def test_the_report_of_a_run_is_used(
    opened: Opener,
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    place: str,
) -> None:
    """By keys and clicks; of a pipeline's run here, and of those named by TEST_REPORTS."""
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


def test_lists_show_both_pictures_and_both_labels(opened: Opener, full: Path) -> None:
    page = opened(full)
    card = page.locator("#conflicts .pair").first
    expect(card.get_by_role("img")).to_have_count(2)
    assert card.locator(".labels span").all_inner_texts() == ["airfield", "forest"]
    expect(card).to_contain_text("0.9990")
    expect(page.locator("#conflicts")).to_contain_text("Shown: 30 of 57")
    expect(page.locator("#leaks .pair").first).to_contain_text("train → test")
    expect(page.locator("#anomalies .pair").first).to_contain_text("−∞")
    page.locator("#conflicts").get_by_role("button", name="Next page of conflicts").click()
    expect(page.locator("#conflicts")).to_contain_text("Page 2 of 3")


def test_a_class_shows_its_densities_and_similarities(opened: Opener, full: Path) -> None:
    page = opened(full)
    part = page.locator("#classes")
    part.get_by_label("Class", exact=True).select_option(label="forest")
    expect(part.get_by_role("img", name="Density of forest along component")).to_have_count(3)
    expect(part.get_by_role("img", name="Similarities of pairs of forest, raw")).to_be_visible()
    expect(part.get_by_role("img", name="Heat map")).to_be_visible()
    expect(part).to_contain_text("2 stable modes")
    part.get_by_role("button", name="Next class").click()
    expect(part.get_by_role("status")).to_contain_text("harbour: ")


def test_the_drawn_density_is_the_spline(opened: Opener, full: Path) -> None:
    """The path of quadratic Béziers through the cells is eq. 2 of the paper: compared at points."""
    import numpy as np

    from udfs.density.histogram import Histogram
    from udfs.density.marginal import Marginal

    page = opened(full)
    points = page.evaluate(
        """() => {
          const path = document.querySelector("#classes .area");
          const length = path.getTotalLength();
          return Array.from({ length: 300 }, (_, i) => {
            const point = path.getPointAtLength((length * i) / 300);
            return [point.x, point.y];
          });
        }"""
    )
    _, _, origin, step, counts, after = invented.densities()[0]
    model = Marginal(Histogram(origin, step, np.array(counts)))
    wide, high = 320, 150
    top = max(max(counts) / sum(counts), *(max(c) / sum(c) for _, c in after.values())) / step
    x, y = np.array(points).T
    places = origin + step * (x / wide * (len(counts) + 3) - 2)
    heights = high - model.density(places) / top * (high - 8)
    on_base = y > high - 0.01  # the closing line
    assert np.abs(heights - y)[~on_base].max() < 0.1


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


def test_one_picture_is_in_the_page_once() -> None:
    report = invented.report()
    pictures = [text for text in report.data["pictures"] if text]
    assert len(set(report.data["names"])) == len(report.data["names"]) == len(pictures)
    assert all(report.text.count(text) == pictures.count(text) for text in pictures[:20])


def test_groups_that_have_no_room_are_left_out_and_said_to_be() -> None:
    report = invented.report(most=200)
    shown = [
        image for group in report.data["groups"][1]["rows"] for image in (group[1], group[3][0][0])
    ]
    assert shown
    assert max(shown) < 200
    assert report.data["groups"][1]["total"] == 120
    assert len(report.data["groups"][1]["rows"]) < 60
