"""calibrate: how many of the pairs above each T are copies, from labels of some of them."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pyspark.sql import Row

from jobs.errors import JobError, SettingsError
from jobs.evaluation import pair_labels
from jobs.runtime.run import Run
from jobs.settings.duplicates import Prune, Rule
from jobs.settings.evaluation import NO_LABELS
from jobs.settings.model import Settings
from jobs.warehouse import tables
from udfs.evaluation.precision import Pairs, Threshold, curve, reaching

VERSION = 1
SPACES = "SELECT DISTINCT space FROM rows"
EDGE, REACHED, SURELY = "edge", "precision", "precision_low"  # rules beside those of prune


def main(run: Run) -> None:
    """Tables pairs and thresholds, and a CSV of labels → calibration."""
    settings = run.settings.calibrate
    if not settings.labels:
        raise SettingsError(NO_LABELS)
    with run.stage(
        "calibrate",
        reads={"pairs": "similarities", "thresholds": "prune"},
        writes=("calibration",),
        depends={"labels": digest(settings.labels), "precision": settings.precision},
        version=VERSION,
    ) as work:
        rows = work.read("pairs").orderBy("pair_id").collect()
        if not rows:
            raise JobError(
                "there are no pairs to label: no class has two images above the lowest edge around "
                "prune.thresholds, or no T is below 1"
            )
        space = rows[0].space
        known = pair_labels.read(settings.labels, {row.pair_id for row in rows})
        spaces = [row["space"] for row in work.query("thresholds", SPACES)]
        found_by = pair_labels.found_by(work, space)
        rules = pair_labels.common(found_by)
        found = curve(pairs_of(rows, known), rules.values())
        if not work.finished:
            content = table(found, rules, space, settings.precision)
            work.write(tables.rows("calibration", content), "calibration")
            work.rows |= {"labels": len(known), "same": sum(known.values())}
        work.summary = summary(found, rules, len(known), run.settings)
    for line in following(run.settings, found, list(found_by), space, sorted(spaces)):
        run.console.line(f"  next      {line}")


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
            "found": one.found,
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
