"""Removed pictures laid over those that stay, in a browser: what is drawn, and how it is used."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, expect
from scipy import ndimage

from tests.support import overlaps
from tests.support.browser import Opener, violations
from tests.support.overlaps import KEPT, LABELS, REMOVED, View

WHOLE = 4.0  # area of a frame [−1, 1] × [−1, 1]
Levels = NDArray[np.float64]


def seen(picture: Locator) -> Levels:
    """The grey levels of an element on the screen."""
    shot = Image.open(io.BytesIO(picture.screenshot())).convert("L")
    return np.asarray(shot, float)


def mixed(part: Locator, share: int) -> Levels:
    """The picture that stays, with so many % of the one that lies over it."""
    part.get_by_role("slider", name="Opacity").fill(str(share))
    return seen(part.locator("svg.laid").first)


def shared(view: View, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where on the screen of the kept picture the removed one shows the same ground."""
    y, x = (np.indices(shape) + 0.5) / (np.array(shape).reshape(2, 1, 1) / 2) - 1
    return view.is_inside(KEPT.on_ground(x, y))


def assert_laid_over(part: Locator, view: View) -> None:
    """Inside of the overlap both pictures show the same in the same place; outside nothing lies."""
    stays, moved = mixed(part, 0), mixed(part, 100)
    inside = shared(view, stays.shape)
    frame = np.zeros_like(inside)
    frame[6:-6, 6:-6] = True  # not the round corners
    core = ndimage.binary_erosion(inside, iterations=5) & frame  # not the outline
    assert np.corrcoef(stays[core], moved[core])[0, 1] > 0.9
    assert np.abs(stays - moved)[core].mean() > 0.5  # it is the other picture
    beyond = ~ndimage.binary_dilation(inside, iterations=5) & frame
    assert (np.abs(stays - moved)[beyond] < 2).all()
    between = mixed(part, 50)
    assert np.allclose(between[core], (stays + moved)[core] / 2, atol=2)


def area(picture: Locator) -> float:
    """The area that a picture's outline holds, of WHOLE, by the shoelace formula."""
    text = picture.locator(".outline").get_attribute("points")
    assert text
    x, y = np.array([point.split(",") for point in text.split()], float).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


@pytest.mark.parametrize("label", LABELS)
def test_each_removed_picture_lies_over_the_kept_one(
    opened: Opener, proved: Path, label: str
) -> None:
    """Moved, cropped, nearer, turned, mirrored, and of other aspects; from the gallery."""
    page = opened(proved)
    group = page.locator("#gallery .group").filter(has_text=label)
    group.locator(".members button").first.click()
    dialog = page.get_by_role("dialog")
    names = dialog.locator("figcaption")
    for step in range(len(REMOVED)):
        expect(dialog).to_contain_text(f"{step + 1} of {len(REMOVED)}")
        name = names.nth(1).inner_text().splitlines()[-1]
        view = REMOVED[int(name.removeprefix(f"{label}/").removesuffix(".jpg")) - 1]
        assert_laid_over(dialog, view)
        proof = overlaps.evidence(view, KEPT, 1.0)
        stays, removed = dialog.locator("svg.laid").all()
        assert area(removed) / WHOLE == pytest.approx(proof.overlap, abs=0.01)
        ratio = (view.unit / KEPT.unit) ** 2  # of the areas on the ground
        assert area(stays) / WHOLE == pytest.approx(proof.overlap * ratio, abs=0.01)
        expect(dialog.locator(".measures")).to_contain_text(f"{100 * proof.overlap:.1f}")
        page.keyboard.press("Escape") if step == len(REMOVED) - 1 else dialog.get_by_role(
            "button", name="Next"
        ).click()
    expect(dialog).to_be_hidden()


def test_pairs_to_label_are_laid_over_each_other(opened: Opener, proved: Path) -> None:
    """Whichever of both was registered with the other; a pair that never was has no overlay."""
    page = opened(proved)
    panel = page.get_by_role("group", name="Pair to label")
    lay = panel.get_by_role("button", name="Lay over")
    panel.focus()
    laid = 0
    for _ in range(2 * len(LABELS) * len(REMOVED)):
        names = panel.locator("figcaption").all_inner_texts()
        removed = [name for name in names if not name.endswith("/00.jpg")]
        if not removed:
            expect(lay).to_be_hidden()
            expect(panel.locator("svg.laid")).to_have_count(0)
            assert page.evaluate("document.activeElement.tagName") != "BODY"
        else:
            if lay.get_attribute("aria-pressed") == "false":
                page.keyboard.press("o")
            assert_laid_over(panel, REMOVED[int(removed[0][-6:-4]) - 1])
            laid += 1
        page.keyboard.press("k")
    assert laid >= 2 * len(REMOVED)
    expect(panel).not_to_contain_text("registration")


def test_keys_of_the_slider_do_not_label(opened: Opener, proved: Path) -> None:
    page = opened(proved)
    panel = page.get_by_role("group", name="Pair to label")
    panel.focus()
    while panel.get_by_role("button", name="Lay over").is_hidden():
        page.keyboard.press("k")
    page.keyboard.press("o")
    slider = panel.get_by_role("slider", name="Opacity of the other picture")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("55")
    expect(slider).to_have_attribute("aria-valuetext", "55 %")
    expect(panel.get_by_role("status")).to_have_text("0 of 15 labelled")
    page.keyboard.press("s")
    expect(panel.get_by_role("status")).to_have_text("1 of 15 labelled: 1 same, 0 not")
    assert page.evaluate("document.activeElement.tagName") != "BODY"


def test_the_explorer_goes_by_overlap(opened: Opener, proved: Path) -> None:
    page = opened(proved)
    explorer = page.locator("#explorer")
    slider = explorer.get_by_role("slider", name="Rule")
    expect(explorer.locator(".reading")).to_contain_text("overlap ≥ 0.7")
    assert explorer.locator(".stops").inner_text().split("\n") == ["≥ 0.9", "≥ 0.7", "0.95"]
    evidence = [overlaps.evidence(view, KEPT, 1.0).overlap for view in REMOVED]
    card = explorer.locator(".pair").first
    expect(card).to_contain_text(f"{100 * min(evidence):.1f}\u00a0%")
    explorer.get_by_label("Order of the pairs").select_option("registration")
    expect(card).to_contain_text(f"R {0.97 - 0.05 * len(REMOVED):.2f}")
    card.click()
    dialog = page.get_by_role("dialog")
    texts = [text.split("\n") for text in dialog.locator(".measures > div").all_inner_texts()]
    assert dict(texts) == {
        "registration": "0.620",
        "agreement": "1.00",
        "overlap": f"{100 * evidence[-1]:.1f}\u00a0%",
        "scale": f"{REMOVED[-1].unit / KEPT.unit:.3f}",
        "rotation": "6.0° clockwise",
        "shift": "10.0 px left, 6.0 px up",
        "orientation": "mirrored, turned by 270°",
    }
    assert violations(page, "dialog") == []
    page.keyboard.press("Escape")
    explorer.get_by_label("Order of the pairs").select_option("overlap")
    slider.focus()
    page.keyboard.press("Home")
    expect(card).to_contain_text(f"{100 * min(x for x in evidence if x >= 0.9):.1f}\u00a0%")
    page.keyboard.press("End")
    expect(explorer.locator("h3").nth(1)).to_have_text("Removed pairs just above 0.95")
    expect(explorer.get_by_label("Order of the pairs")).to_be_hidden()
    expect(card).to_contain_text("0.9600")
    card.click()
    expect(dialog.get_by_role("img")).to_have_count(2)
    expect(dialog.locator("svg.laid, .measures")).to_have_count(0)
    expect(dialog.get_by_role("slider")).to_be_hidden()


def test_pictures_blink_until_told_to_stop(opened: Opener, proved: Path) -> None:
    page = opened(proved)
    page.locator("#gallery .members button").first.click()
    dialog = page.get_by_role("dialog")
    moved = dialog.locator(".moved")
    blink = dialog.get_by_role("button", name="Blink")
    expect(moved).to_have_attribute("opacity", "0.5")
    page.keyboard.press("b")
    expect(blink).to_have_attribute("aria-pressed", "true")
    for opacity in ("0", "1", "0"):
        expect(moved).to_have_attribute("opacity", opacity)
    blink.click()
    expect(blink).to_have_attribute("aria-pressed", "false")
    expect(moved).to_have_attribute("opacity", "0.5")
    blink.click()
    page.keyboard.press("Escape")
    page.locator("#gallery .members button").first.click()
    expect(blink).to_have_attribute("aria-pressed", "false")
    slider = dialog.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(moved).to_have_attribute("opacity", "0.45")
    expect(dialog).to_contain_text("1 of 7")


def test_the_gallery_sorts_by_overlap_or_registration(opened: Opener, proved: Path) -> None:
    page = opened(proved)
    gallery = page.locator("#gallery")
    scores = gallery.locator(".group").first.locator(".sim")
    shares = [float(text.removesuffix("\u00a0%")) for text in scores.all_inner_texts()]
    assert shares == sorted(shares)
    gallery.get_by_label("Sort").select_option("fit")
    assert set(scores.all_inner_texts()) == {f"R {0.97 - 0.05 * n:.2f}" for n in range(1, 8)}
    gallery.get_by_label("Rule").select_option(label="T = 0.95")
    assert gallery.get_by_label("Sort").input_value() == "close"
    assert set(scores.all_inner_texts()) == {"0.9600"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_proofs_break_no_rule_of_accessibility(
    opened: Opener, proved: Path, scheme: str
) -> None:
    page = opened(proved, color_scheme=scheme)
    panel = page.get_by_role("group", name="Pair to label")
    panel.focus()
    page.keyboard.press("o")
    assert violations(page) == []
    page.locator("#gallery .members button").first.click()
    assert violations(page, "dialog") == []


def test_an_overlay_fits_into_a_narrow_window(opened: Opener, proved: Path) -> None:
    page = opened(proved, viewport={"width": 400, "height": 800})
    page.get_by_role("group", name="Pair to label").focus()
    page.keyboard.press("o")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.locator("#gallery .members button").first.click()
    assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")
