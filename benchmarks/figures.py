"""Figures of the spline model for a warehouse: marginals before and after removal; two axes.

    .venv/bin/python -m benchmarks.figures WAREHOUSE docs --labels beach river

Writes marginals.png (component 1 of each class, before and after, with the images' histogram), and
tensor.png (components 1 and 2 of the first class: tensor model, separable model). Rule and space:
as the table curated has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.latents import published
from benchmarks.results import recorded
from udfs import arrow
from udfs.density import histogram
from udfs.density.histogram import Histogram
from udfs.density.marginal import Marginal
from udfs.density.separable import Separable
from udfs.density.tensor import Tensor
from udfs.report.charts import BLUE, GREY, RED

BEFORE = "none"  # the rule of what is before removal
POINTS = 400  # a curve is drawn through
GRID = 160  # points of a contour along each axis


def marginal(
    warehouse: str, label: str, rule: str, space: str | None, component: int = 1
) -> Marginal:
    wanted = (ds.field("label") == label) & (ds.field("rule") == rule)
    table = DeltaTable(f"{warehouse}/density").to_pyarrow_dataset()
    rows = table.to_table(filter=wanted & (ds.field("component") == component)).to_pylist()
    row = next(row for row in rows if row["space"] in (None, space))
    return Marginal(Histogram(row["origin"], row["step"], np.array(row["counts"])))


def projected(warehouse: str, label: str) -> NDArray[np.float64]:
    table = DeltaTable(f"{warehouse}/projections").to_pyarrow_dataset()
    rows = table.to_table(columns=["components"], filter=ds.field("label") == label)
    return np.asarray(arrow.matrix(rows.column("components"))[:, :2], np.float64)


def marginals(warehouse: str, labels: list[str], rule: str, space: str) -> Figure:
    """A panel a class."""
    figure = Figure(figsize=(3.1 * len(labels), 3.0), layout="constrained")
    for place, label in enumerate(labels):
        axes = figure.add_subplot(1, len(labels), place + 1)
        before, after = (marginal(warehouse, label, one, space) for one in (BEFORE, rule))
        cells = before.histogram
        t = np.linspace(*before.support, POINTS)
        shares = cells.probabilities / cells.step
        axes.bar(cells.centres, shares, cells.step, color=GREY, alpha=0.25, label="cells before")
        axes.plot(t, before.density(t), color=BLUE, label=f"before, {cells.n:,} images")
        axes.plot(t, after.density(t), color=RED, label=f"after, {after.histogram.n:,} stay")
        axes.set(title=label, xlabel="component 1", yticks=[])
        axes.set_ylim(top=1.45 * axes.get_ylim()[1])  # the legend's room
        axes.legend(frameon=False, fontsize=7, loc="upper left")
        if not place:
            axes.set_ylabel("density")
    return figure


def contours(warehouse: str, label: str) -> Figure:
    """The tensor model of two components beside the product of its marginals."""
    values = projected(warehouse, label)
    steps = [marginal(warehouse, label, BEFORE, None, k).histogram.step for k in (1, 2)]
    cells = histogram.cell(values, np.array(steps))
    tensor = Tensor(histogram.joint(cells, np.ones(len(cells), np.int64), steps))
    separable = tensor.separable()
    ends = [np.linspace(*one.support, GRID) for one in separable.marginals]
    grid = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 2)
    figure = Figure(figsize=(8.2, 3.6), layout="constrained")
    models: list[tuple[str, Tensor | Separable]] = [
        (f"{label}: tensor model", tensor),
        ("separable model", separable),
    ]
    heights = [model.density(grid).reshape(GRID, GRID) for _, model in models]
    levels = np.linspace(0, max(float(height.max()) for height in heights), 12)
    first: Any = None
    for place, ((title, _), height) in enumerate(zip(models, heights, strict=True)):
        axes = figure.add_subplot(1, 2, place + 1, sharex=first, sharey=first)
        first = first or axes
        axes.contourf(*ends, height.T, levels=levels, cmap="Blues")
        axes.plot(
            *values[:: max(1, len(values) // 1500)].T, ".", color=RED, markersize=1, alpha=0.4
        )
        axes.set(title=title, xlabel="component 1", ylabel="component 2")
    divergence = tensor.kl_from_separable()
    figure.suptitle(f"divergence {divergence:.3f} nats, {len(values):,} images", fontsize=10)
    return figure


def main() -> list[Path]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("warehouse")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", nargs="+", required=True)
    given = parser.parse_args()
    rule, space = published(given.warehouse)
    figures = {
        "marginals.png": marginals(given.warehouse, given.labels, rule.name, space),
        "tensor.png": contours(given.warehouse, given.labels[0]),
    }
    for name, figure in figures.items():
        FigureCanvasAgg(figure)
        figure.savefig(given.folder / name, dpi=130)
        print(given.folder / name)
    return [given.folder / name for name in figures]


if __name__ == "__main__":
    recorded(main)
