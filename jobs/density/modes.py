"""modes: classes whose density has several modes, and a proposal to split them (spec §5)."""

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
Found = dict[str, dict[int, modes.Modes]]  # by label and component


def main(stage_run: StageRun) -> None:
    """Tables density (before removal) and projections → modes, sublabels."""
    rows = densities(stage_run.read("density"))
    found = examine(stage_run, rows, stage_run.settings.modes)
    stage_run.write(tables.rows("modes", table(rows, found)), "modes")
    proposed = splits(rows, found)
    frame = sublabels(stage_run.read("projections"), proposed)
    stage_run.write(frame.sortWithinPartitions("label", "image_id"), "sublabels")
    stage_run.rows |= {"classes": len(found), "heterogeneous": len(proposed)}
    stage_run.summary = summary(found, proposed)


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of the test."""
    settings = run.settings.modes
    return {"draws": settings.draws, "level": settings.level, "seed": settings.seed}


def densities(density: DataFrame) -> list[Row]:
    """The marginals of every class before removal, in order."""
    return density.where("rule = 'none'").orderBy("label", "component").collect()


def examine(stage_run: StageRun, rows: list[Row], settings: Modes) -> Found:
    """The stable modes of every class's components, on the driver: counts alone are needed.

    Of m components each is tested at level/m, so that `level` holds for the class (Bonferroni;
    Holm's procedure calls the same classes heterogeneous).
    """
    found: Found = {}
    classes, begun = len({row.label for row in rows}), time.monotonic()

    def now() -> Progress:
        note = f"{len(found):,} of {classes:,} classes"
        return Progress(time.monotonic() - begun, len(found) / classes, note=note)

    with stage_run.progress_from(now):
        for label, group in groupby(rows, key=lambda row: str(row.label)):
            components = list(group)
            level = settings.level / len(components)
            found[label] = {
                row.component: modes.stable(_histogram(row), settings.draws, level, settings.seed)
                for row in components
            }
    return found


def _histogram(row: Row) -> histogram.Histogram:
    return histogram.Histogram(row.origin, row.step, row.counts)


def table(rows: list[Row], found: Found) -> list[tuple[Any, ...]]:
    """Rows of the table `modes`."""
    lines = []
    for row in rows:
        one = found[row.label][row.component]
        several = any(other.stable > 1 for other in found[row.label].values())
        own = len(marginal.Marginal(_histogram(row)).modes())
        place = [float(position) for position in one.positions]
        lines.append(
            (row.label, row.component, own, one.stable, float(one.p_value), several, place)
        )
    return lines


def splits(rows: list[Row], found: Found) -> dict[str, Split]:
    """How every heterogeneous class is to be split: by the components that show it.

    The others tell the parts apart by chance at best. The one with most modes, the first of equals,
    says into how many.
    """
    images = {row.label: int(row.n) for row in rows}
    proposed = {}
    for label, components in found.items():
        several = {k: one for k, one in components.items() if one.stable > 1}
        if several:
            leading = max(several, key=lambda k: (several[k].stable, -k))
            positions = tuple(several[leading].positions.tolist())
            proposed[label] = Split(images[label], tuple(several), leading, positions)
    return proposed


def summary(found: Found, proposed: dict[str, Split]) -> str:
    """How many classes are split, and into how many parts the first of them."""
    parts = [f"{label} {len(split.positions)}" for label, split in proposed.items()]
    named = ", ".join(parts[:5]) + (", …" if len(parts) > 5 else "")
    of = f"{len(proposed):,} of {len(found):,} classes heterogeneous"
    return f"{of}: {named}" if parts else of


STAGE = Stage(
    "modes",
    main,
    reads=lambda run: written_by("density", "projections"),
    writes=("modes", "sublabels"),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.modes.draws),
    to_enable="--set modes.draws=200",
    refusal=(
        "set modes.draws, such as 200: as many histograms are drawn for each component of a class, "
        "to tell modes from chance"
    ),
)
