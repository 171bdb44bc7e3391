"""The page's lists of pairs and its plots of a class, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.support import example_report
from tests.support.browser import Opener


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
    """Points of the drawn path of quadratic Béziers lie on the density of the paper's eq. 2."""
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
    _, _, origin, step, counts, after = example_report.densities()[0]
    model = Marginal(Histogram(origin, step, np.array(counts)))
    wide, high = 320, 150
    top = max(max(counts) / sum(counts), *(max(c) / sum(c) for _, c in after.values())) / step
    x, y = np.array(points).T
    places = origin + step * (x / wide * (len(counts) + 3) - 2)
    heights = high - model.density(places) / top * (high - 8)
    on_base = y > high - 0.01  # the closing line
    assert np.abs(heights - y)[~on_base].max() < 0.1


def test_flat_images_are_listed(opened: Opener, full: Path) -> None:
    flat = opened(full).locator("#flat")
    expect(flat.locator("summary")).to_have_text("1,200 images show one colour or next to nothing")
    flat.locator("summary").click()
    expect(flat.locator("li")).to_have_count(100)
    expect(flat.locator(".note")).to_contain_text("These are the first 100.")
