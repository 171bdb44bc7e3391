"""The stage `calibrate`: estimates from labelled pairs how many of the pairs above T are copies.

The formulas stand in docs/method.md, "How alike a class is", Calibration.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import Row

from jobs.errors import JobError
from jobs.evaluation import pair_labels
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import Rule, usual_space
from jobs.settings.evaluation import NO_LABELS
from jobs.settings.model import Settings
from jobs.warehouse import given_file, tables
from udfs.evaluation.precision import (
    Interval,
    Pairs,
    Part,
    Threshold,
    curve,
    of_part,
    reaching,
)

VERSION = 1
SPACES = "SELECT DISTINCT space FROM rows"
# What a row of the table is of, where its T is none of prune's rules: the edge of a stratum, or the
# smallest T at which the precision, or the lower end of its interval, reaches the target.
EDGE, REACHED, SURELY_REACHED = "edge", "precision", "precision_low"


@dataclass(frozen=True)
class LabelledPairs:
    """The labels of the pairs that were drawn, and the precision that follows from them.

    space: the one whose similarities the pairs were drawn by.
    labels: whether both images of a pair show the same, by pair_id.
    by_rule: the T of every class, by rule.
    estimates: the precision at each T that all classes share and at each edge of a stratum, rising.
    """

    space: str
    labels: dict[str, bool]
    by_rule: dict[str, list[float]]
    estimates: list[Threshold]

    @property
    def shared(self) -> dict[str, float]:
        """The T of each rule that has the same T in all classes."""
        return pair_labels.shared_thresholds(self.by_rule)


@dataclass(frozen=True)
class LabelledProofs:
    """The labels of registered pairs, and the precision of each rule that asks for a proof.

    by_rule: the estimates for the pairs that a rule proves, the largest overlap first.
    """

    space: str
    labels: dict[str, bool]
    by_rule: dict[Rule, Part]


def main(stage_run: StageRun) -> None:
    """Estimate the precision at each T, or of each overlap, and write the table `calibration`."""
    settings = stage_run.settings
    pairs = read_labelled_pairs(stage_run)
    if isinstance(pairs, LabelledProofs):
        rows = [_proof_row(rule, pairs.space, part) for rule, part in pairs.by_rule.items()]
        stage_run.summary = proof_summary(pairs, settings)
    else:
        rows = calibration_rows(
            pairs.estimates, pairs.shared, pairs.space, settings.calibrate.precision
        )
        stage_run.summary = summary(pairs.estimates, pairs.shared, len(pairs.labels), settings)
    stage_run.write(tables.rows("calibration", rows), "calibration")
    stage_run.rows |= {"labels": len(pairs.labels), "same": sum(pairs.labels.values())}


def print_next_commands(stage_run: StageRun) -> None:
    """Print the commands that publish at the smallest T, or overlap, of the wanted precision.

    The stage may have been skipped as up to date, so the labels are read here again.
    """
    pairs = read_labelled_pairs(stage_run)
    spaces = sorted(row["space"] for row in stage_run.query("thresholds", SPACES))
    if isinstance(pairs, LabelledProofs):
        commands = commands_by_proof(stage_run.settings, pairs, spaces)
    else:
        proofs = [rule.name for rule in pair_labels.overlap_rules(stage_run, pairs.space)]
        commands = next_commands(
            stage_run.settings, pairs.estimates, [*pairs.by_rule, *proofs], pairs.space, spaces
        )
    for command in commands:
        stage_run.console.line(f"  next      {command}")


def depends(run: RunContext) -> dict[str, Any]:
    """Return what the table depends on beside its inputs: the labels, and the wanted precision."""
    settings = run.settings.calibrate
    return {"labels": digest(settings.labels), "precision": settings.precision}


def digest(path: str) -> str:
    """Return the sha256 of a file's content; raises JobError if it cannot be read."""
    try:
        return hashlib.sha256(given_file.read(path)).hexdigest()
    except OSError as error:
        raise JobError(f"calibrate.labels = {path!r}: cannot be read: {error}") from error


def read_labelled_pairs(stage_run: StageRun) -> LabelledPairs | LabelledProofs:
    """Read the labels of the pairs that were drawn, and estimate the precision of each rule.

    Raises JobError if no pairs were drawn, or if the labels hold a mistake.
    """
    found = stage_run.query("pairs", "SELECT * FROM rows ORDER BY pair_id")
    rows = [Row(**row) for row in found]
    if not rows:
        raise JobError(
            "there are no pairs to label: no class has two images above the lowest edge around "
            "prune.thresholds, or that were registered and are not wholly unlike, or no T is "
            "below 1"
        )
    space = rows[0].space
    labels = pair_labels.read(stage_run.settings.calibrate.labels, {row.pair_id for row in rows})
    if is_registered(rows[0]):
        rules = pair_labels.overlap_rules(stage_run, space)
        return LabelledProofs(space, labels, parts_by_rule(rows, labels, rules))
    by_rule = pair_labels.thresholds_by_rule(stage_run, space)
    shared = pair_labels.shared_thresholds(by_rule)
    return LabelledPairs(space, labels, by_rule, curve(pairs_of(rows, labels), shared.values()))


def is_registered(pair: Row) -> bool:
    """Whether the pairs were drawn in strata of registration; earlier versions drew none so."""
    return "proved" in pair and pair["proved"] is not None


def parts_by_rule(
    rows: Sequence[Row], labels: Mapping[str, bool], rules: Iterable[Rule]
) -> dict[Rule, Part]:
    """Return the estimates for the pairs that each rule proves: with at least its overlap."""
    pairs = pairs_of(rows, labels, "registration")
    is_proved = np.array([row["proved"] for row in rows], np.bool_)
    overlap = np.array([row["overlap"] for row in rows], np.float64)
    return {rule: of_part(pairs, is_proved & (overlap >= rule.target)) for rule in rules}


def pairs_of(rows: Sequence[Row], labels: Mapping[str, bool], measure: str = "similarity") -> Pairs:
    """Return the rows of the table `pairs` as arrays, with their labels (−1: not labelled).

    measure: the column by which the pairs were divided into strata.
    """
    columns = (measure, "low", "high", "population", "weight")
    similarity, low, high, population, weight = (
        np.array([row[name] for row in rows], np.float64) for name in columns
    )
    label = np.array([int(labels.get(row.pair_id, -1)) for row in rows], np.int64)
    return Pairs(similarity, low, high, population, weight, label)


def calibration_rows(
    estimates: Sequence[Threshold], rules: Mapping[str, float], space: str, target: float
) -> list[dict[str, object]]:
    """Return the rows of the table `calibration`.

    They are the estimates at the T of each rule, at the other edges of the strata, and at the
    smallest T whose precision, and whose interval's lower end, reach the target.

    Args:
        estimates: the estimates at each T, rising.
        rules: the T of each rule that has one for all classes.
        space: the one that the pairs were drawn in.
        target: the wanted precision, in [0, 1].

    """
    by_threshold = {estimate.threshold: estimate for estimate in estimates}
    named = [(rule, by_threshold[threshold]) for rule, threshold in sorted(rules.items())]
    edges = (estimate for estimate in estimates if estimate.threshold not in rules.values())
    named += [(f"{EDGE}:{estimate.threshold!r}", estimate) for estimate in edges]
    for name, surely in ((REACHED, False), (SURELY_REACHED, True)):
        smallest = reaching(estimates, target, surely=surely)
        named += [(f"{name}:{target!r}", smallest)] if smallest else []
    return [_calibration_row(rule, space, estimate) for rule, estimate in named]


def _calibration_row(rule: str, space: str, estimate: Threshold) -> dict[str, object]:
    """Return a row of the table `calibration`: the estimate at one T."""
    precision = estimate.precision
    return {
        "rule": rule,
        "space": space,
        "threshold": estimate.threshold,
        "precision": precision.share if precision else None,
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "pairs": estimate.pairs,
        "found": estimate.recall,
    }


def _proof_row(rule: Rule, space: str, part: Part) -> dict[str, object]:
    """Return a row of the table `calibration`: the estimate for a rule that asks for a proof."""
    precision = part.precision
    return {
        "rule": rule.name,
        "space": space,
        "threshold": None,
        "precision": precision.share if precision else None,
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "pairs": part.pairs,
        "found": part.recall,
    }


def proof_summary(pairs: LabelledProofs, settings: Settings) -> str:
    """Return the precision of the published rule, or of the smallest overlap if it is no proof."""
    if not pairs.by_rule:
        return f"no rule asks for an overlap, {len(pairs.labels)} pairs"
    published = [rule for rule in pairs.by_rule if rule.name == settings.publish.rule]
    rule = published[0] if published else list(pairs.by_rule)[-1]
    text = _precision_text(pairs.by_rule[rule].precision, rule.short, "that it proves")
    return f"{text}, {len(pairs.labels)} pairs"


def _precision_text(precision: Interval | None, where: str, unlabelled: str) -> str:
    if precision is None:
        return f"no precision at {where}: strata {unlabelled} without a label"
    share, low, high = 100 * precision.share, 100 * precision.low, 100 * precision.high
    return f"precision {share:.1f} % ({low:.1f}–{high:.1f} %) at {where}"


def commands_by_proof(
    settings: Settings, pairs: LabelledProofs, spaces: Sequence[str]
) -> list[str]:
    """Return the command that publishes at the smallest overlap of the wanted precision.

    It must be reached at every larger overlap too. None if no rule reaches it.
    """
    best = None
    for rule, part in pairs.by_rule.items():
        if part.precision is None:
            continue
        if part.precision.share < settings.calibrate.precision:
            break
        best = rule
    return [_publish_command(settings, best, pairs.space, spaces)] if best else []


def _publish_command(settings: Settings, rule: Rule, space: str, spaces: Sequence[str]) -> str:
    warehouse = f"--warehouse {shlex.quote(settings.warehouse)}"
    command = f"./spark-submit.sh publish {warehouse} --set publish.rule={rule.name}"
    usual = tuple(spaces) == (usual_space([rule]),)
    return command if usual else f"{command} --set publish.space={space}"


def summary(
    estimates: Sequence[Threshold], rules: Mapping[str, float], count: int, settings: Settings
) -> str:
    """Return the precision at the published rule, and the smallest T that reaches the target.

    Where the published rule has no single T, the precision is that at the lowest T.
    """
    threshold = rules.get(
        settings.publish.rule, min(rules.values(), default=estimates[0].threshold)
    )
    precision = next(each.precision for each in estimates if each.threshold == threshold)
    text = _precision_text(precision, f"{threshold:g}", "above it")
    smallest = reaching(estimates, settings.calibrate.precision)
    reached = f"from T = {smallest.threshold:g}" if smallest else "at no T"
    return f"{text}, {count} pairs; {100 * settings.calibrate.precision:g} % {reached}"


def next_commands(
    settings: Settings,
    estimates: Sequence[Threshold],
    rules: Sequence[str],
    space: str,
    spaces: Sequence[str],
) -> list[str]:
    """Return the commands that publish at the smallest T of the wanted precision.

    There are none if no T reaches it, and no `prune` if a rule has this T already.

    Args:
        settings: those of this run.
        estimates: the estimates at each T, rising.
        rules: the rules that were computed in the space; `prune` computes them again.
        space: the one that the pairs were drawn in.
        spaces: all that were computed; `prune` computes them again.

    """
    smallest = reaching(estimates, settings.calibrate.precision)
    if smallest is None:
        return []
    rule = Rule.of(smallest.threshold)
    publish = _publish_command(settings, rule, space, spaces)
    if rule.name in rules:
        return [publish]
    wanted = [*map(Rule.of, rules), rule]
    thresholds = _toml_thresholds(wanted)
    warehouse = f"--warehouse {shlex.quote(settings.warehouse)}"
    prune = f"./spark-submit.sh prune {warehouse} --set {shlex.quote(thresholds)}"
    if tuple(spaces) != (usual_space(wanted),):
        quoted = ", ".join(f'"{name}"' for name in spaces)
        prune += f" --set {shlex.quote(f'prune.space=[{quoted}]')}"
    return [prune, publish]


def _toml_thresholds(rules: Iterable[Rule]) -> str:
    """Return the rules in TOML: `prune.thresholds=[0.9, "keep_share:0.5"]`."""
    values = [f'"{rule.name}"' if rule.threshold is None else repr(rule.target) for rule in rules]
    return f"prune.thresholds=[{', '.join(values)}]"


STAGE = Stage(
    "calibrate",
    main,
    reads=lambda run: written_by("pairs", "thresholds"),
    writes=("calibration",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.calibrate.labels),
    in_pipeline=False,  # its labels are of pairs that an earlier pipeline drew
    example_flags="--set calibrate.labels=labels.csv",
    message_if_disabled=NO_LABELS,
    afterwards=print_next_commands,
)
