"""The spline model beside kernel, histogram and normal estimates: error on known densities, time.

    .venv/bin/python -m benchmarks.densities [--quick] [--figure docs/densities.png]

Error: the integral of (estimate − truth)² over all t, of every method on the same draws. Time:
to fit and to evaluate, interleaved runs on one thread. Prints Markdown tables; --figure draws the
errors over the number of values.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from benchmarks.results import recorded
from udfs.density import histogram
from udfs.density.marginal import Marginal
from udfs.report.charts import BLUE, GREY, RED

Array = NDArray[np.float64]
Estimate = Callable[[Array], Array]

DRAWS = {100: 200, 1_000: 100, 10_000: 40, 100_000: 12, 1_000_000: 3}
QUICK = {100: 40, 1_000: 20, 10_000: 8}
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
POINTS = 15_360  # of the integral; edges of cells and of the uniform density fall between them
POINTS_OF_KERNELS = 768  # of the kernel estimate, whose time grows with values times points
EVALUATED = 100_000  # points at a time when time is taken
PAIRS = 10**8  # of values and points that the kernel estimate is given when time is taken
ASKED = 10_000  # points of the last column of the table of times

SPLINE, KERNELS, NORMAL = "**spline**, scott", "gaussian_kde", "parametric normal"


@dataclass(frozen=True)
class Truth:
    """A known density, and where it and its estimates lie."""

    name: str
    density: Estimate
    draw: Callable[[np.random.Generator, int], Array]
    low: float
    high: float

    def squared_error(self, estimate: Estimate, points: int) -> float:
        """∫(estimate − truth)², by the midpoint rule."""
        width = (self.high - self.low) / points
        t = np.asarray(self.low + width * (np.arange(points) + 0.5), np.float64)
        return float(((estimate(t) - self.density(t)) ** 2).sum() * width)


TRUTHS = (
    Truth(
        "normal: N(0, 1)",
        lambda t: np.asarray(stats.norm.pdf(t)),
        lambda rng, n: rng.normal(size=n),
        -8,
        8,
    ),
    Truth(
        "two modes: ½N(−5, 1) + ½N(5, 1)",
        lambda t: np.asarray((stats.norm.pdf(t, -5) + stats.norm.pdf(t, 5)) / 2),
        lambda rng, n: np.asarray(rng.normal(size=n) + rng.choice([-5.0, 5.0], n)),
        -14,
        14,
    ),
    Truth(
        "skewed: lognormal, σ = 0.5",
        lambda t: np.asarray(stats.lognorm.pdf(t, 0.5)),
        lambda rng, n: rng.lognormal(0, 0.5, n),
        -2,
        18,
    ),
    Truth(
        "edges: uniform on 0 … 1",
        lambda t: np.asarray(stats.uniform.pdf(t)),
        lambda rng, n: rng.random(n),
        -1,
        2,
    ),
)


def spline(rule: str, values: Array) -> Estimate:
    return Marginal(histogram.from_values(values, histogram.step_of(values, rule))).density


def bars(rule: str, values: Array) -> Estimate:
    """NumPy's histogram on the same cells, as SciPy's distribution."""
    step = histogram.step_of(values, rule)
    ends = histogram.cell([values.min(), values.max()], step)
    edges = (np.arange(ends[0], ends[1] + 2) - 0.5) * step
    density: Estimate = stats.rv_histogram(np.histogram(values, edges), density=False).pdf
    return density


def kernels(values: Array) -> Estimate:
    density: Estimate = stats.gaussian_kde(values)
    return density


def normal(values: Array) -> Estimate:
    density: Estimate = stats.norm(*stats.norm.fit(values)).pdf
    return density


METHODS: dict[str, Callable[[Array], Estimate]] = {
    SPLINE: partial(spline, "scott"),
    "**spline**, fd": partial(spline, "fd"),
    "**spline**, sturges": partial(spline, "sturges"),
    "**spline**, normal": partial(spline, "normal"),
    "histogram, scott": partial(bars, "scott"),
    "histogram, fd": partial(bars, "fd"),
    KERNELS: kernels,
    NORMAL: normal,
}

Errors = dict[str, dict[int, list[float]]]  # of a method, with so many values, of each draw


def errors(truth: Truth, draws: dict[int, int]) -> Errors:
    """The squared error of every method on the same draws."""
    found: Errors = {name: {n: [] for n in draws} for name in METHODS}
    for n, count in draws.items():
        for seed in range(count):
            values = truth.draw(np.random.default_rng([seed, n]), n)
            for name, fit in METHODS.items():
                points = POINTS_OF_KERNELS if name == KERNELS else POINTS
                found[name][n].append(truth.squared_error(fit(values), points))
    return found


def error_table(truth: Truth, found: Errors) -> None:
    sizes = list(next(iter(found.values())))
    heads = " | ".join(f"n = {n:,}" for n in sizes)
    print(f"\n### {truth.name}\n")
    print(f"| method | {heads} |\n| --- {'| --- ' * len(sizes)}|")
    for name, of_size in found.items():
        cells = []
        for n in sizes:
            low, middle, high = np.percentile(of_size[n], [25, 50, 75])
            cells.append(f"**{middle:.1e}** ({low:.1e} … {high:.1e})".replace("e-0", "e-"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def nearer_table(found: dict[str, Errors]) -> None:
    """How often the spline is nearer to the truth than the parametric normal estimate."""
    sizes = list(next(iter(found.values()))[SPLINE])
    print(f"\n### Draws in which the spline is nearer to the truth than the {NORMAL}\n")
    print(f"| density | {' | '.join(f'n = {n:,}' for n in sizes)} |")
    print(f"| --- {'| --- ' * len(sizes)}|")
    for name, of_truth in found.items():
        cells = []
        for n in sizes:
            pairs = zip(of_truth[SPLINE][n], of_truth[NORMAL][n], strict=True)
            cells.append(f"{np.mean([ours < theirs for ours, theirs in pairs]):.0%}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def timed(function: Callable[[], object]) -> float:
    clock = time.perf_counter()
    function()
    return time.perf_counter() - clock


def seconds(values: Array, runs: int) -> Iterator[tuple[str, int, float, float]]:
    """Method, points evaluated, median seconds to fit and to evaluate."""
    named = (SPLINE, "**spline**, normal", "histogram, scott", KERNELS, NORMAL)
    points = dict.fromkeys(named, EVALUATED) | {KERNELS: min(PAIRS // len(values), 1_000)}
    fits: dict[str, list[float]] = {name: [] for name in named}
    evaluations: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(runs):
        for name in named:
            t = np.random.default_rng(1).normal(size=points[name])
            fits[name].append(timed(lambda name=name: METHODS[name](values)))  # type: ignore[misc]
            density = METHODS[name](values)
            evaluations[name].append(timed(lambda t=t, density=density: density(t)))  # type: ignore[misc]
    for name in named:
        fit, evaluation = (statistics.median(taken[name]) for taken in (fits, evaluations))
        yield name, points[name], fit, evaluation


def time_table(sizes: tuple[int, ...], runs: int) -> None:
    print("\n### Seconds\n")
    print(f"| n | method | fit | 1,000 points | points tried | fit and {ASKED:,} | times ours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n in sizes:
        values = np.random.default_rng(0).normal(size=n)
        ours = 0.0
        for name, points, fit, evaluation in seconds(values, runs):
            whole = fit + evaluation * ASKED / points
            ours = ours or whole
            print(
                f"| {n:,} | {name} | {fit:.5f} | {evaluation * 1000 / points:.6f} | {points:,} | "
                f"{whole:.4f} | {whole / ours:,.1f} |",
                flush=True,
            )


LINES = {
    SPLINE: ("spline, Scott's step", BLUE, "-"),
    "**spline**, normal": ("spline, normal step", BLUE, "--"),
    "histogram, scott": ("histogram, Scott's step", GREY, "-"),
    KERNELS: ("gaussian_kde", "#1b7837", "-"),
    NORMAL: (NORMAL, RED, "-"),
}


def figure(found: dict[str, Errors]) -> Figure:
    """Median squared error over the number of values, a panel a density; the quartiles shaded."""
    drawn = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(drawn)
    panels = drawn.subplots(2, 2, sharex=True).ravel()
    for panel, (title, of_truth) in zip(panels, found.items(), strict=True):
        for name, (label, color, style) in LINES.items():
            sizes = list(of_truth[name])
            quartiles = [np.percentile(of_truth[name][n], [25, 50, 75]) for n in sizes]
            low, middle, high = np.transpose(quartiles)
            panel.fill_between(sizes, low, high, color=color, alpha=0.12, linewidth=0)
            panel.plot(sizes, middle, style, color=color, label=label, marker="o", markersize=3)
        panel.set(xscale="log", yscale="log", title=title)
        panel.grid(color="#dddddd", linewidth=0.6)
    drawn.supxlabel("number of values n")
    drawn.supylabel("integrated squared error: median of the draws, quartiles shaded")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return drawn


def main() -> list[Path]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few draws of at most 10,000 values")
    parser.add_argument("--figure", type=Path, help="a PNG or SVG to write")
    given = parser.parse_args()
    found = {}
    with threadpool_limits(1):
        print("## Integrated squared error: median of the draws (quartiles)")
        for truth in TRUTHS:
            found[truth.name] = errors(truth, QUICK if given.quick else DRAWS)
            error_table(truth, found[truth.name])
        nearer_table(found)
        time_table(SIZES[:3] if given.quick else SIZES, 3 if given.quick else 5)
    if given.figure:
        figure(found).savefig(given.figure, dpi=110)
    return [given.figure] if given.figure else []


if __name__ == "__main__":
    recorded(main)
