"""The stage `modes`: finds classes whose density has several modes, and proposes how to split them.

See docs/method.md, "Classes of several kinds".
"""

from __future__ import annotations

import time
from itertools import groupby
from typing import Any

from pyspark.sql import DataFrame, Row

from jobs.density.sublabels import Split, sublabels
from jobs.runtime.progress import Progress
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.density import Modes
from jobs.warehouse import tables
from udfs.density import histogram, marginal, modes

VERSION = 1
ClassModes = dict[str, dict[int, modes.Modes]]  # the modes by label and component


def main(stage_run: StageRun) -> None:
    """Tables density (before removal) and projections → modes, sublabels."""
    rows = densities(stage_run.read("density"))
    classes = stable_modes(stage_run, rows, stage_run.settings.modes)
    stage_run.write(tables.rows("modes", table(rows, classes)), "modes")
    proposed = splits(rows, classes)
    frame = sublabels(stage_run.read("projections"), proposed)
    stage_run.write(frame.sortWithinPartitions("label", "image_id"), "sublabels")
    stage_run.rows |= {"classes": len(classes), "heterogeneous": len(proposed)}
    stage_run.summary = summary(classes, proposed)


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of the test that tells modes from chance."""
    settings = run.settings.modes
    return {"draws": settings.draws, "level": settings.level, "seed": settings.seed}


def densities(density: DataFrame) -> list[Row]:
    """The rows of `density` before removal, in order of label and component."""
    return density.where("rule = 'none'").orderBy("label", "component").collect()


def stable_modes(stage_run: StageRun, rows: list[Row], settings: Modes) -> ClassModes:
    """Find the stable modes of each component of every class. It runs on the driver.

    Each of the m components of a class is tested at level/m, so that `level` holds for the class
    (Bonferroni; Holm's procedure calls the same classes heterogeneous).

    rows: rows of `density`, sorted by label; only their counts are needed.
    """
    classes: ClassModes = {}
    number, begun = len({row.label for row in rows}), time.monotonic()

    def progress() -> Progress:
        note = f"{len(classes):,} of {number:,} classes"
        return Progress(time.monotonic() - begun, len(classes) / number, note=note)

    with stage_run.progress_from(progress):
        for label, group in groupby(rows, key=lambda row: str(row.label)):
            components = list(group)
            level = settings.level / len(components)
            classes[label] = {
                row.component: modes.stable(_histogram(row), settings.draws, level, settings.seed)
                for row in components
            }
    return classes


def _histogram(row: Row) -> histogram.Histogram:
    return histogram.Histogram(row.origin, row.step, row.counts)


def table(rows: list[Row], classes: ClassModes) -> list[tuple[Any, ...]]:
    """The rows of the table `modes`, one for each of the rows of `density`."""
    lines = []
    for row in rows:
        component = classes[row.label][row.component]
        several = any(tested.stable > 1 for tested in classes[row.label].values())
        maxima = len(marginal.Marginal(_histogram(row)).modes())
        positions = [float(position) for position in component.positions]
        test = (maxima, component.stable, float(component.p_value))
        lines.append((row.label, row.component, *test, several, positions))
    return lines


def splits(rows: list[Row], classes: ClassModes) -> dict[str, Split]:
    """Return how each heterogeneous class is to be split, by label.

    It is split by the components that have several stable modes; others tell the parts apart by
    chance at best. The one with most modes, the first of several, gives the number of parts.
    """
    images = {row.label: int(row.n) for row in rows}
    proposed = {}
    for label, components in classes.items():
        several = {k: component for k, component in components.items() if component.stable > 1}
        if several:
            leading = max(several, key=lambda k: (several[k].stable, -k))
            positions = tuple(several[leading].positions.tolist())
            proposed[label] = Split(images[label], tuple(several), leading, positions)
    return proposed


def summary(classes: ClassModes, proposed: dict[str, Split]) -> str:
    """How many classes are heterogeneous, and into how many parts the first five would be split."""
    parts = [f"{label} {len(split.positions)}" for label, split in proposed.items()]
    named = ", ".join(parts[:5]) + (", …" if len(parts) > 5 else "")
    total = f"{len(proposed):,} of {len(classes):,} classes heterogeneous"
    return f"{total}: {named}" if parts else total


STAGE = Stage(
    "modes",
    main,
    reads=lambda run: written_by("density", "projections"),
    writes=("modes", "sublabels"),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.modes.draws),
    example_flags="--set modes.draws=200",
    message_if_disabled=(
        "set modes.draws, such as 200: as many histograms are drawn for each component of a class, "
        "to tell modes from chance"
    ),
)
