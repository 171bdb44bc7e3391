"""Reads labels that people gave to pairs, and the thresholds T that the labels are to judge.

Used by the stages `similarities` and `calibrate`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter

from jobs.errors import JobError
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import Rule, asks_for_proof
from jobs.warehouse import given_file

SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
COLUMNS = ("pair_id", "same")
MOST_NAMED = 5  # rows that a message names
LABEL_THEM = "label the pairs in the report of this warehouse and save them"


def read(path: str, pair_ids: Collection[str]) -> dict[str, bool]:
    """Read a CSV of labels: whether both images of a pair show the same, by pair_id.

    Rows without a label are left out.

    Args:
        path: the CSV, with the columns pair_id and same.
        pair_ids: the pairs of the table `pairs`; no other may be labelled.

    Raises:
        JobError: with all mistakes of the file, which name their rows (the first line is 1).

    """
    rows = _rows(path)
    labels: dict[str, bool] = {}
    first_line: dict[str, int] = {}
    unknown, unreadable, contradictory = [], [], []
    for line, row in rows:
        pair, text = ((row[name] or "").strip() for name in COLUMNS)
        if not text:
            continue
        label = SAME.get(text.lower())
        if pair not in pair_ids:
            unknown.append(f"{line} ({pair or 'no pair_id'})")
        elif label is None:
            unreadable.append(f"{line} ({text!r})")
        elif labels.setdefault(pair, label) is not label:
            contradictory.append(f"{first_line[pair]} and {line} ({pair})")
        else:
            first_line.setdefault(pair, line)
    mistakes = [
        *_mistake(unknown, "name no pair of the table pairs", f"leave them out, or {LABEL_THEM}"),
        *_mistake(
            unreadable, "have another label than 1, 0, true, false, yes or no", "correct them"
        ),
        *_mistake(contradictory, "label a pair once same and once not", "leave one of them"),
    ]
    if not mistakes and not labels:
        mistakes = [f"holds no label in {len(rows)} rows: {LABEL_THEM}"]
    if mistakes:
        raise JobError(f"calibrate.labels = {path!r}: {'; '.join(mistakes)}")
    return labels


def _rows(path: str) -> list[tuple[int, Mapping[str, str | None]]]:
    """Return the rows of a CSV with their line numbers.

    The delimiter is a comma, or a semicolon, which some spreadsheets write.
    """
    try:
        text = given_file.read(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"calibrate.labels = {path!r}: cannot be read: {error}") from error
    # Whatever ends the lines: a \r alone, of old spreadsheets, would be an error of the reader.
    lines = io.StringIO(text, newline=None)
    delimiter = ";" if ";" in lines.readline() else ","
    lines.seek(0)
    try:
        return _parsed(csv.DictReader(lines, delimiter=delimiter), path)
    except csv.Error as error:
        raise JobError(f"calibrate.labels = {path!r}: is no CSV: {error}") from error


def _parsed(reader: csv.DictReader[str], path: str) -> list[tuple[int, Mapping[str, str | None]]]:
    """Return the rows with their line numbers, under names without spaces around them."""
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise JobError(
            f"calibrate.labels = {path!r}: has no column {', '.join(missing)}; it has "
            f"{', '.join(names) or 'none'}: {LABEL_THEM}"
        )
    return [(reader.line_num, row) for row in reader]


def _mistake(rows: Sequence[str], wrong: str, remedy: str) -> list[str]:
    """Return one message about all rows with a mistake; no message if there are none."""
    if not rows:
        return []
    others = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return [f"rows {', '.join(rows[:MOST_NAMED])}{others} {wrong}: {remedy}"]


def thresholds_by_rule(stage_run: StageRun, space: str) -> dict[str, list[float]]:
    """Return the thresholds T of each rule in a space, one a class, rising.

    They come from the table `thresholds`; classes without a T are left out.
    """
    sql = "SELECT rule, space, threshold FROM rows WHERE threshold IS NOT NULL"
    by_rule: dict[str, list[float]] = {}
    for row in stage_run.query("thresholds", f"{sql} ORDER BY rule, threshold"):
        if row["space"] == space:
            by_rule.setdefault(row["rule"], []).append(row["threshold"])
    return by_rule


def overlap_rules(stage_run: StageRun, space: str) -> list[Rule]:
    """Return the rules of a space that ask for a proof, that of the largest overlap first."""
    rows = stage_run.query("thresholds", "SELECT DISTINCT rule, space FROM rows")
    names = [row["rule"] for row in rows if row["space"] == space]
    return sorted(map(Rule.of, filter(asks_for_proof, names)), key=attrgetter("sort_key"))


def shared_thresholds(by_rule: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the T of each rule that has the same T in all classes."""
    return {rule: values[0] for rule, values in by_rule.items() if min(values) == max(values)}
