"""Pictures of a report's page for the tutorial: `python -m benchmarks.screens W docs`.

Of the demo's warehouse, whose images are generated. Needs a Chromium (`make browser`).
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.browser import launch
from benchmarks.results import recorded

WIDTH, HEIGHT = 1100, 720  # CSS pixels: as wide as the page's text column and its list of parts
COLOURS = 256  # of a palette: a third of the bytes, and text as sharp
PARTS = {
    "page_summary": None,
    "page_explorer": "#explorer",
    "page_gallery": "#gallery",
    "page_labelling": "#labelling",
    "page_classes": "#classes",
}
REMOVED = "#gallery .members button"  # opens a removed image, laid over the one that stays


def main() -> list[Path]:
    """Every part as a PNG of one window's height."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    report = (given.warehouse / "report/report.html").resolve()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme="light",
            reduced_motion="reduce",
        )
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        for name, part in PARTS.items():
            save(shot(page, part), given.folder / f"{name}.png")
        page.locator(REMOVED).first.click()
        save(page.get_by_role("dialog").screenshot(), given.folder / "page_overlay.png")
        browser.close()
    return sorted(given.folder / f"{name}.png" for name in (*PARTS, "page_overlay"))


def shot(page: Page, part: str | None) -> bytes:
    """The window with a part of the page at its top."""
    page.evaluate(
        """(part) => part
          ? document.querySelector(part).scrollIntoView({ behavior: "instant" })
          : window.scrollTo(0, 0)""",
        part,
    )
    page.wait_for_timeout(500)  # pictures are decoded when they come into view
    return page.screenshot()


def save(data: bytes, place: Path) -> None:
    """A screenshot as a PNG with a palette."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(place, optimize=True)


if __name__ == "__main__":
    recorded(main)
