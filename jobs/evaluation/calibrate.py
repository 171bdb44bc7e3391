"""calibrate: how many of the pairs above each T are copies, from labels of some of them."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import Row

from jobs.errors import JobError
from jobs.evaluation import pair_labels
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import Prune, Rule
from jobs.settings.evaluation import NO_LABELS
from jobs.settings.model import Settings
from jobs.warehouse import tables
from udfs.evaluation.precision import Pairs, Threshold, curve, reaching

VERSION = 1
SPACES = "SELECT DISTINCT space FROM rows"
EDGE, REACHED, SURELY = "edge", "precision", "precision_low"  # rules beside those of prune


def main(stage_run: StageRun) -> None:
    """Tables pairs and thresholds, and a CSV of labels → calibration."""
    labelled = read(stage_run)
    content = table(
        labelled.curve, labelled.rules, labelled.space, stage_run.settings.calibrate.precision
    )
    stage_run.write(tables.rows("calibration", content), "calibration")
    known = labelled.known
    stage_run.rows |= {"labels": len(known), "same": sum(known.values())}
    stage_run.summary = summary(labelled.curve, labelled.rules, len(known), stage_run.settings)


def afterwards(stage_run: StageRun) -> None:
    """Say which commands publish at the T found."""
    labelled = read(stage_run)
    spaces = sorted(row["space"] for row in stage_run.query("thresholds", SPACES))
    names = list(labelled.found_by)
    for line in following(stage_run.settings, labelled.curve, names, labelled.space, spaces):
        stage_run.console.line(f"  next      {line}")


@dataclass(frozen=True)
class Labelled:
    """The labelled pairs, and the precision at each T that they tell."""

    space: str
    known: dict[str, bool]
    found_by: dict[str, Any]
    rules: dict[str, Any]
    curve: Any


def read(stage_run: StageRun) -> Labelled:
    """The labels held against the pairs that were drawn; raises JobError where there are none."""
    settings = stage_run.settings.calibrate
    rows = stage_run.read("pairs").orderBy("pair_id").collect()
    if not rows:
        raise JobError(
            "there are no pairs to label: no class has two images above the lowest edge around "
            "prune.thresholds, or no T is below 1"
        )
    space = rows[0].space
    known = pair_labels.read(settings.labels, {row.pair_id for row in rows})
    found_by = pair_labels.found_by(stage_run, space)
    rules = pair_labels.common(found_by)
    return Labelled(space, known, found_by, rules, curve(pairs_of(rows, known), rules.values()))


def depends(run: RunContext) -> dict[str, Any]:
    """The labels, and the precision that is wanted."""
    settings = run.settings.calibrate
    return {"labels": digest(settings.labels), "precision": settings.precision}


def digest(path: str) -> str:
    """The sha256 of a file's content."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as refused:
        raise JobError(f"calibrate.labels = {path!r}: cannot be read: {refused}") from refused


def pairs_of(rows: Sequence[Row], known: Mapping[str, bool]) -> Pairs:
    """Rows of the table `pairs` with their labels."""
    columns = ("similarity", "low", "high", "population", "weight")
    similarity, low, high, population, weight = (
        np.array([row[name] for row in rows], np.float64) for name in columns
    )
    label = np.array([int(known.get(row.pair_id, -1)) for row in rows], np.int64)
    return Pairs(similarity, low, high, population, weight, label)


def table(
    found: Sequence[Threshold], rules: Mapping[str, float], space: str, wanted: float
) -> list[dict[str, object]]:
    """Rows of the table `calibration`: rules of prune, other edges, and what was looked for."""
    at = {one.threshold: one for one in found}
    named = [(rule, at[threshold]) for rule, threshold in sorted(rules.items())]
    others = (one for one in found if one.threshold not in rules.values())
    named += [(f"{EDGE}:{one.threshold!r}", one) for one in others]
    for name, surely in ((REACHED, False), (SURELY, True)):
        best = reaching(found, wanted, surely=surely)
        named += [(f"{name}:{wanted!r}", best)] if best else []
    return [
        {
            "rule": rule,
            "space": space,
            "threshold": one.threshold,
            "precision": one.precision.share if one.precision else None,
            "precision_low": one.precision.low if one.precision else None,
            "precision_high": one.precision.high if one.precision else None,
            "pairs": one.pairs,
            "found": one.recall,
        }
        for rule, one in named
    ]


def summary(
    found: Sequence[Threshold], rules: Mapping[str, float], count: int, settings: Settings
) -> str:
    """The precision at the published rule, else at the lowest T, and where the one asked for is."""
    threshold = rules.get(settings.publish.rule, min(rules.values(), default=found[0].threshold))
    one = next(one for one in found if one.threshold == threshold)
    if one.precision is None:
        told = f"no precision at {threshold:g}: strata above it without a label"
    else:
        ends = one.precision
        share, low, high = 100 * ends.share, 100 * ends.low, 100 * ends.high
        told = f"precision {share:.1f} % ({low:.1f}–{high:.1f} %) at {threshold:g}"
    best = reaching(found, settings.calibrate.precision)
    wanted = f"{100 * settings.calibrate.precision:g} %"
    reached = f"from T = {best.threshold:g}" if best else "at no T"
    return f"{told}, {count} pairs; {wanted} {reached}"


def following(
    settings: Settings,
    found: Sequence[Threshold],
    rules: Sequence[str],
    space: str,
    spaces: Sequence[str],
) -> list[str]:
    """The commands that publish at the T found; none where there is none.

    rules, spaces: those computed, which stay beside it. space: that of the pairs.
    """
    best = reaching(found, settings.calibrate.precision)
    if best is None:
        return []
    asked = Rule.of(best.threshold)
    where = f"--warehouse {shlex.quote(settings.warehouse)}"
    publish = f"./spark-submit.sh publish {where} --set publish.rule={asked.name}"
    if tuple(spaces) != Prune().space:
        publish += f" --set publish.space={space}"
    if asked.name in rules:
        return [publish]
    given = [*(Rule.of(_written(name)) for name in rules), asked]
    values = [f'"{rule.name}"' if rule.threshold is None else repr(rule.target) for rule in given]
    prune = f"./spark-submit.sh prune {where} --set "
    prune += shlex.quote(f"prune.thresholds=[{', '.join(values)}]")
    if tuple(spaces) != Prune().space:
        named = ", ".join(f'"{name}"' for name in spaces)
        prune += f" --set {shlex.quote(f'prune.space=[{named}]')}"
    return [prune, publish]


def _written(rule: str) -> float | str:
    """A rule's name in the tables as `prune.thresholds` has it."""
    kind, _, number = rule.partition(":")
    return float(number) if kind == "fixed" else rule


STAGE = Stage(
    "calibrate",
    main,
    reads=lambda run: written_by("pairs", "thresholds"),
    writes=("calibration",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.calibrate.labels),
    to_enable="--set calibrate.labels=labels.csv",
    refusal=NO_LABELS,
    afterwards=afterwards,
)
