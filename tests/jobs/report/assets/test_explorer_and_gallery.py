"""The page's explorer of rules and its gallery of groups, in a browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support import example_report
from tests.support.browser import Opener, violations


def test_the_explorer_steps_through_the_computed_rules(opened: Opener, full: Path) -> None:
    page = opened(full)
    slider = page.get_by_role("slider", name="Rule")
    reading = page.locator("#explorer .reading")
    summary = example_report.summary()
    expect(reading).to_contain_text(f"{summary.rules[1]['kept']}of {summary.images} images stay")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(reading).to_contain_text("T = 0.93 raw")
    expect(reading).to_contain_text(str(summary.rules[2]["kept"]))
    expect(slider).to_have_attribute("aria-valuetext", re.compile("T = 0.93 raw"))
    page.keyboard.press("Home")
    expect(page.locator("#explorer h3").nth(1)).to_have_text("Removed pairs just above 0.97")
    least = min(summary.by_class, key=lambda row: row["cells"][0]["kept"] / row["images"])
    first = page.locator("#explorer .bars li").first
    expect(first).to_contain_text(f"{least['cells'][0]['kept']} of {least['images']}")
    page.get_by_label("Order of the classes").select_option("size")
    largest = max(summary.by_class, key=lambda row: row["images"])
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
    """The similarity nearest to T on each card of the gallery's page."""
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
