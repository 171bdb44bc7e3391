"""The paper's figures as SVG and PNG, heat maps, and sheets of pictures.

A function makes a figure of numbers (`kurtosis_regression`, `marginals`, `similarities`), which
`svg` and `png` turn into bytes; `contact_sheet` and `heat_map` return a PNG's bytes at once. Equal
arguments give equal bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib import colormaps, font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from udfs.density.histogram import Histogram
from udfs.density.marginal import Marginal

BLUE, GREY, RED = "#2166ac", "#8a8a8a", "#b2182b"
GAP = 6  # px between the pictures of a sheet
FONT_SIZE = 13  # px, of the labels of a sheet
MANY = 300  # points of a figure; more are drawn as pixels in an SVG as well
HEAT_COLOURS = 64  # of a heat map


def kurtosis_regression(
    before: ArrayLike,
    after: ArrayLike,
    labels: Sequence[str],
    line: tuple[float, float] | None,
    control: tuple[float, float] | None,
    title: str,
) -> Figure:
    """Return a plot of the classes' excess kurtosis before (x) and after removal (y), with a line.

    Points below the dashed diagonal lost kurtosis (paper, figures 1–3).

    Args:
        before: (classes,), the kurtosis before removal.
        after: (classes,), the kurtosis after removal.
        labels: of the classes; the three with the largest kurtosis before are named.
        line: slope and intercept of the Theil–Sen line; None if there are too few classes for one.
        control: the lowest and highest slope of the band of random removals; None without it. The
            band is drawn through the median class, which random removals leave where it is.
        title: above the figure.

    """
    x, y = np.asarray(before, float), np.asarray(after, float)
    figure = Figure(figsize=(4.6, 4.0))
    axes = figure.add_axes(
        (0.165, 0.115, 0.81, 0.81)
    )  # fixed, since a layout engine takes as long as drawing
    axes.set(
        xlabel="excess kurtosis before removal", ylabel="excess kurtosis after removal", title=title
    )
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(x):
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        axes.plot(ends, ends, "--", color=GREY, linewidth=1, label="no change")
        many = len(x) > MANY
        axes.scatter(
            x, y, s=22, color=BLUE, alpha=0.8, linewidths=0, label="a class", rasterized=many
        )
        _name_furthest(axes, x, y, labels)
    if control and len(x):
        ends = np.array([x.min(), x.max()])
        low, high = (np.median(x) + slope * (ends - np.median(x)) for slope in control)
        text = f"random removal: slope {control[0]:.2f} … {control[1]:.2f}"
        axes.fill_between(ends, low, high, color=GREY, alpha=0.25, linewidth=0, label=text)
    if line:
        slope, intercept = line
        ends = np.array([x.min(), x.max()])
        text = f"y = {slope:.2f}x {'+' if round(intercept, 2) >= 0 else '−'} {abs(intercept):.2f}"
        axes.plot(ends, slope * ends + intercept, color=RED, linewidth=1.8, label=text)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return figure


def marginals(
    panels: Sequence[
        tuple[str, int, float, float, Sequence[int], tuple[int, Sequence[int]] | None]
    ],
) -> Figure:
    """Return spline densities before (grey) and after removal (blue), one panel for each component.

    panels: label, component, centre of the first cell, step and counts; and, if known, the counts
    after removal with their first cell, counted from the first cell before removal.
    """
    figure, axes = _panels(len(panels), 3)
    for axis, (label, component, origin, step, counts, after) in zip(axes, panels, strict=True):
        axis.fill_between(*_density(origin, step, counts), color=GREY, alpha=0.4, linewidth=0)
        if after:
            axis.plot(*_density(origin + after[0] * step, step, after[1]), color=BLUE)
        axis.set_title(f"{_short(label)}, component {component}", fontsize=8, parse_math=False)
        axis.set_yticks([])
    return figure


def similarities(panels: Sequence[tuple[str, str, float, float, Sequence[int]]]) -> Figure:
    """Return histograms of the similarities of a class's pairs, one panel for each.

    panels: label, space, lower end of the first bin, step and counts.
    """
    figure, axes = _panels(len(panels), 2)
    for axis, (label, space, origin, step, counts) in zip(axes, panels, strict=True):
        edges = origin + step * np.arange(len(counts) + 1)
        axis.stairs(counts, edges, fill=True, color=BLUE)
        axis.set_yscale("symlog")
        axis.set_title(f"{_short(label)}, {space}", fontsize=8, parse_math=False)
    return figure


def _panels(n: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels in rows of `columns`, and the panels."""
    rows = -(-n // columns)
    figure = Figure(figsize=(9.0, 1.7 * rows))
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    room = 0.35 / (1.7 * rows)  # 0.35 inches for a title above and numbers below
    figure.subplots_adjust(0.05, 0.8 * room, 0.98, 1 - 0.7 * room, wspace=0.15, hspace=0.55)
    for unused in axes[n:]:
        unused.set_axis_off()
    for used in axes[:n]:
        used.tick_params(labelsize=7)
    return figure, axes[:n]


def _density(
    origin: float, step: float, counts: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points and values of the spline density of a histogram, eight for each cell."""
    model = Marginal(Histogram(origin, step, np.asarray(counts)))
    points = origin + step * np.linspace(-1.5, len(counts) + 0.5, 8 * len(counts) + 17)
    return points, model.density(points)


def _name_furthest(axes: object, x: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> None:
    """Write the names of the three classes with the largest x, towards the middle."""
    middle = (x.min() + x.max()) / 2
    for index in np.argsort(-x)[:3]:
        side = -1 if x[index] > middle else 1
        axes.annotate(  # type: ignore[attr-defined]
            _short(labels[index]),
            (x[index], y[index]),
            xytext=(4 * side, 3),
            ha="left" if side > 0 else "right",
            textcoords="offset points",
            fontsize=7,
            color="#444444",
            parse_math=False,  # a class may be called $5
        )


def _short(label: str, longest: int = 30) -> str:
    """Return the label, cut to a length that does not squeeze the figure."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


@contextmanager
def _any_script() -> Iterator[None]:
    """Suppress the warning for scripts that the font lacks; such names are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(figure: Figure) -> str:
    """Return a figure as SVG, with text as text; equal figures give equal bytes."""
    target = io.StringIO()
    # `savefig` would draw twice.
    with _any_script(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "latent-dedup"}):
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(target, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return target.getvalue()


def png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as PNG."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with _any_script():
        canvas.draw()  # type: ignore[no-untyped-call]
    levels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return picture_png(Image.fromarray(levels).convert("RGB"))


def contact_sheet(rows: Sequence[tuple[str, NDArray[np.uint8]]]) -> bytes:
    """Return a PNG with a row of pictures for each class, its label on the left.

    rows: labels and pictures (n, side, side, 3) uint8; the side is the same in all rows, n may
    differ. Pictures are shown at their own size.
    """
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), FONT_SIZE)
    labels = [_short(" ".join(label.split())) for label, _ in rows]
    column = 2 * GAP + max((int(font.getlength(label)) + 1 for label in labels), default=0)
    side = max((pictures.shape[1] for _, pictures in rows), default=0)
    most = max((len(pictures) for _, pictures in rows), default=0)
    size = (column + most * (side + GAP), GAP + len(rows) * (side + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, (label, (_, pictures)) in enumerate(zip(labels, rows, strict=True)):
        top = GAP + row * (side + GAP)
        pen.text((GAP, top + side // 2), label, "black", font, anchor="lm")
        for number, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column + number * (side + GAP), top))
    return picture_png(sheet)


def heat_map(levels: NDArray[np.uint8]) -> bytes:
    """Return levels (n, n) as a PNG with a pixel for each, from dark (the lowest) to bright (255).

    The colours are 64 steps of viridis, so few that a map of 200 x 200 takes about 20 KB.
    """
    low = int(levels.min())
    steps = (levels.astype(int) - low) * (HEAT_COLOURS - 1) // max(255 - low, 1)
    picture = Image.fromarray(steps.astype(np.uint8), mode="L")
    colours = (
        (255 * colormaps["viridis"](np.linspace(0, 1, HEAT_COLOURS))[:, :3])
        .round()
        .astype(np.uint8)
    )
    picture.putpalette(colours.tobytes())
    target = io.BytesIO()
    picture.save(target, format="png", optimize=True)
    return target.getvalue()


def picture_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG; equal pictures give equal bytes."""
    target = io.BytesIO()
    picture.save(target, format="png")
    return target.getvalue()
