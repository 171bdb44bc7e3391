"""Labels of pairs, as people saved them; and the thresholds that they can be held against."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jobs.errors import JobError
from jobs.runtime.stage import StageRun

SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
COLUMNS = ("pair_id", "same")
NAMED = 5  # rows that a message names
LABEL_THEM = "label the pairs in the report of this warehouse and save them"


def read(path: str, known: Collection[str]) -> dict[str, bool]:
    """Whether each labelled pair is the same, by pair_id; rows without a label are left out.

    known: the pair_ids there are. Raises JobError with all mistakes, naming rows (the first line
    is 1).
    """
    rows = _rows(path)
    found: dict[str, bool] = {}
    first: dict[str, int] = {}
    unknown, unread, contradicting = [], [], []
    for line, row in rows:
        pair, text = ((row[name] or "").strip() for name in COLUMNS)
        if not text:
            continue
        label = SAME.get(text.lower())
        if pair not in known:
            unknown.append(f"{line} ({pair or 'no pair_id'})")
        elif label is None:
            unread.append(f"{line} ({text!r})")
        elif found.setdefault(pair, label) is not label:
            contradicting.append(f"{first[pair]} and {line} ({pair})")
        else:
            first.setdefault(pair, line)
    mistakes = [
        *_told(unknown, "name no pair of the table pairs", f"leave them out, or {LABEL_THEM}"),
        *_told(unread, "have another label than 1, 0, true, false, yes or no", "correct them"),
        *_told(contradicting, "label a pair once same and once not", "leave one of them"),
    ]
    if not mistakes and not found:
        mistakes = [f"holds no label in {len(rows)} rows: {LABEL_THEM}"]
    if mistakes:
        raise JobError(f"calibrate.labels = {path!r}: {'; '.join(mistakes)}")
    return found


def _rows(path: str) -> list[tuple[int, Mapping[str, str | None]]]:
    """The rows and their lines. Comma or semicolon, which some spreadsheets write."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as refused:
        raise JobError(f"calibrate.labels = {path!r}: cannot be read: {refused}") from refused
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in head else ",")
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise JobError(
            f"calibrate.labels = {path!r}: has no column {', '.join(missing)}; it has "
            f"{', '.join(names) or 'none'}: {LABEL_THEM}"
        )
    return [(reader.line_num, row) for row in reader]


def _told(rows: Sequence[str], wrong: str, remedy: str) -> list[str]:
    if not rows:
        return []
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return [f"rows {', '.join(rows[:NAMED])}{more} {wrong}: {remedy}"]


def found_by(stage_run: StageRun, space: str) -> dict[str, list[float]]:
    """Every class's T by each rule of a space, from the table `thresholds`."""
    known = "SELECT rule, space, threshold FROM rows WHERE threshold IS NOT NULL"
    found: dict[str, list[float]] = {}
    for row in stage_run.query("thresholds", f"{known} ORDER BY rule, threshold"):
        if row["space"] == space:
            found.setdefault(row["rule"], []).append(row["threshold"])
    return found


def common(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The rules that have one T for all classes, and it."""
    return {rule: values[0] for rule, values in found.items() if min(values) == max(values)}
