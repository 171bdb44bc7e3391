"""The tables that not every pipeline writes: which of them the report shows, and their rows.

A report reads such a table only if the job that writes it completed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.report import table_states
from jobs.report.table_states import State
from jobs.runtime.stage import RunContext, StageRun
from jobs.warehouse import tables
from jobs.warehouse.commits import UNFINISHED

# Tables that a pipeline writes only if the settings ask for it, or that a job wrote by itself.
OPTIONAL = (
    "similarities",
    "pairs",
    "calibration",
    "conflicts",
    "leaks",
    "anomalies",
    "modes",
    "generated",
)
MOST_ROWS = 160  # shown of a list
MOST_PAIRS = 1000
MOST_MODES = 20_000  # rows: those of some thousand classes

# The most similar images of each pair of classes come first, then the second ones, and so on.
CONFLICTS = f"""
SELECT image_id, label, other_id, other_label, similarity, total FROM (
  SELECT *, count(*) OVER () AS total, row_number() OVER (
    PARTITION BY label, other_label ORDER BY similarity DESC, image_id, other_id) AS turn
  FROM rows) ORDER BY turn, similarity DESC, image_id, other_id LIMIT {MOST_ROWS}
"""
# An image may leak at several rules; it is shown at that of the largest overlap or threshold.
LEAKS = f"""
SELECT *, count(*) OVER () AS total, row_number() OVER (
  PARTITION BY label, reference_label ORDER BY similarity DESC, image_id) AS turn FROM (
  SELECT *, row_number() OVER (
    PARTITION BY image_id ORDER BY threshold DESC NULLS FIRST, rule DESC, space) AS first
  FROM rows) WHERE first = 1 ORDER BY turn, similarity DESC, image_id LIMIT {MOST_ROWS}
"""
ANOMALIES = f"""
SELECT image_id, label, log_density, cut, rank, count(*) OVER () AS total FROM rows
ORDER BY rank, log_density, image_id LIMIT {MOST_ROWS}
"""
MODES = f"SELECT * FROM rows ORDER BY label, component LIMIT {MOST_MODES}"
GENERATED = """
SELECT count(*) AS images, count(DISTINCT label) AS classes, median(similarity) AS median,
  max(similarity) AS nearest FROM rows
"""
PAIRS = f"SELECT * FROM rows ORDER BY pair_id LIMIT {MOST_PAIRS}"
QUERIES = {
    "conflicts": CONFLICTS,
    "leaks": LEAKS,
    "anomalies": ANOMALIES,
    "modes": MODES,
    "generated": GENERATED,
    "pairs": PAIRS,
    "calibration": "SELECT * FROM rows",
}
PRECISION = ("precision", "precision_low", "precision_high")


@dataclass
class OptionalTables:
    """The state of each table that the page shows or could show, and the rows of optional ones."""

    states: dict[str, State]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def of(self, table: str) -> list[dict[str, Any]]:
        """Return the shown rows of a table; none if it is absent."""
        return self.rows.get(table, [])

    def total(self, table: str) -> int:
        """Return how many rows the table itself has, of which `of` returns the first."""
        return int(self.of(table)[0]["total"]) if self.of(table) else 0

    @property
    def heterogeneous(self) -> list[dict[str, Any]]:
        """The rows of `modes` of the classes that are not homogeneous."""
        return [row for row in self.of("modes") if row["heterogeneous"]]

    @property
    def classes_tested(self) -> int:
        """The number of classes that `modes` has rows of."""
        return len({row["label"] for row in self.of("modes")})


def load(stage_run: StageRun, states: dict[str, State]) -> OptionalTables:
    """Read the rows that the page shows of every optional table that was computed.

    states: of all tables, see `states`.
    """
    rows = {
        table: stage_run.query(table, sql)
        for table, sql in QUERIES.items()
        if states[table].has_rows
    }
    return OptionalTables(states, rows)


def complete(run: RunContext) -> dict[str, str]:
    """Return the optional tables that a report reads, with the stages that write them.

    Of a job that died between two of its tables none is read: their fingerprints differ.
    """
    writers = {table: writer_of(table) for table in OPTIONAL}
    fingerprints: dict[str, set[str]] = {}
    for table, writer in writers.items():
        commit = run.warehouse.newest(table, writer)
        fingerprint = commit.fingerprint if commit else UNFINISHED
        fingerprints.setdefault(writer, set()).add(fingerprint)
    return {
        table: writer
        for table, writer in writers.items()
        if len(fingerprints[writer]) == 1 and UNFINISHED not in fingerprints[writer]
    }


def writer_of(table: str) -> str:
    """Return the stage that writes a table first."""
    return tables.TABLES[table].stages[0]


def states(run: RunContext, reads: Mapping[str, str]) -> dict[str, State]:
    """Return the state of each table that a report reads, and of each optional one.

    reads: the tables that the report reads, with the stages that write them.
    """
    absent = {
        table: State("absent", (table_states.command(run, writer_of(table)),))
        for table in OPTIONAL
        if table not in reads
    }
    return absent | table_states.states(run, reads)


def precision_text(calibration: Sequence[Mapping[str, Any]], rule: Mapping[str, Any]) -> str:
    """Return the audited precision of a rule: `97 ± 2 %, 200 pairs`; empty if it is unknown."""
    key = rule["rule"], rule["space"]
    row = next((row for row in calibration if (row["rule"], row["space"]) == key), None)
    if row is None or row["precision"] is None or math.isnan(row["precision"]):
        return ""
    precision, low, high = (100 * row[name] for name in PRECISION)
    if abs((high - precision) - (precision - low)) < 1:
        text = f"{precision:.0f} ± {(high - low) / 2:.0f} %"
    else:  # near 100 % the interval is not symmetric
        text = f"{precision:.0f} % ({low:.0f} … {high:.0f} %)"
    return f"{text}, {row['pairs']} pairs"
