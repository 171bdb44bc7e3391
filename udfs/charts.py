"""The paper's figures as SVG and PNG, and sheets of pictures: arrays in, bytes out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

BLUE, GREY, RED = "#2166ac", "#8a8a8a", "#b2182b"
GAP = 6  # px between the pictures of a sheet
LETTERS = 13  # px: the size of its labels


def kurtosis_regression(
    before: ArrayLike,
    after: ArrayLike,
    labels: Sequence[str],
    line: tuple[float, float] | None,
    control: tuple[float, float] | None,
    title: str,
) -> Figure:
    """Excess kurtosis of the classes before (x) and after removal (y), with the Theil-Sen line.

    before, after: (classes,); line: slope and intercept, None where there are too few classes;
    control: the band of slopes that random removals of as many images have, drawn through the
    median class, which they leave where it is.
    Points below the dashed diagonal lost kurtosis. Paper, figures 1-3.
    """
    x, y = np.asarray(before, float), np.asarray(after, float)
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel="excess kurtosis before removal", ylabel="excess kurtosis after removal", title=title
    )
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(x):
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        axes.plot(ends, ends, "--", color=GREY, linewidth=1, label="no change")
        axes.scatter(x, y, s=22, color=BLUE, alpha=0.8, linewidths=0, label="a class")
        _name_furthest(axes, x, y, labels)
    if control and len(x):
        ends = np.array([x.min(), x.max()])
        low, high = (np.median(x) + slope * (ends - np.median(x)) for slope in control)
        text = f"random removal: slope {control[0]:.2f} … {control[1]:.2f}"
        axes.fill_between(ends, low, high, color=GREY, alpha=0.25, linewidth=0, label=text)
    if line:
        slope, intercept = line
        ends = np.array([x.min(), x.max()])
        text = f"y = {slope:.2f}x {'+' if intercept >= 0 else '−'} {abs(intercept):.2f}"
        axes.plot(ends, slope * ends + intercept, color=RED, linewidth=1.8, label=text)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return figure


def _name_furthest(axes: object, x: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> None:
    """Names at the three classes with the largest kurtosis before, towards the middle."""
    middle = (x.min() + x.max()) / 2
    for place in np.argsort(-x)[:3]:
        side = -1 if x[place] > middle else 1
        axes.annotate(  # type: ignore[attr-defined]
            _short(labels[place]),
            (x[place], y[place]),
            xytext=(4 * side, 3),
            ha="left" if side > 0 else "right",
            textcoords="offset points",
            fontsize=7,
            color="#444444",
            parse_math=False,  # a class may be called $5
        )


def _short(label: str, longest: int = 30) -> str:
    """A longer name would squeeze the figure."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


@contextmanager
def _any_script() -> Iterator[None]:
    """No warning for names in a script that the font lacks: they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(figure: Figure) -> str:
    """A figure as SVG, the same bytes for the same figure."""
    target = io.StringIO()
    with _any_script():
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as PNG."""
    target = io.BytesIO()
    FigureCanvasAgg(figure)
    with _any_script():
        figure.savefig(target, format="png", dpi=dpi)
    return target.getvalue()


def contact_sheet(rows: Sequence[tuple[str, NDArray[np.uint8]]]) -> bytes:
    """Pictures as a PNG: a row a class, its label before them, at their own size.

    rows: labels and pictures (n, side, side, 3), all of one side; n may differ.
    """
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), LETTERS)
    labels = [_short(" ".join(label.split())) for label, _ in rows]
    column = 2 * GAP + max((int(font.getlength(label)) + 1 for label in labels), default=0)
    side = max((pictures.shape[1] for _, pictures in rows), default=0)
    most = max((len(pictures) for _, pictures in rows), default=0)
    size = (column + most * (side + GAP), GAP + len(rows) * (side + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for place, (label, (_, pictures)) in enumerate(zip(labels, rows, strict=True)):
        top = GAP + place * (side + GAP)
        pen.text((GAP, top + side // 2), label, "black", font, anchor="lm")
        for number, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column + number * (side + GAP), top))
    return picture_png(sheet)


def picture_png(picture: Image.Image) -> bytes:
    """A picture as PNG, the same bytes for the same picture."""
    target = io.BytesIO()
    picture.save(target, format="png")
    return target.getvalue()
