"""What the optional tables have to show, a few rows of each in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.report.optional_tables import State
from jobs.runtime.stage import StageRun

MOST = 160  # rows shown of a list
MOST_PAIRS = 1000
MOST_MODES = 20_000  # rows: of some thousand classes

# Each pair of classes has its turn, the most similar images first.
CONFLICTS = f"""
SELECT image_id, label, other_id, other_label, similarity, total FROM (
  SELECT *, count(*) OVER () AS total, row_number() OVER (
    PARTITION BY label, other_label ORDER BY similarity DESC, image_id, other_id) AS turn
  FROM rows) ORDER BY turn, similarity DESC, image_id, other_id LIMIT {MOST}
"""
# An image leaks at several thresholds: it is shown at the highest.
LEAKS = f"""
SELECT *, count(*) OVER () AS total, row_number() OVER (
  PARTITION BY label, reference_label ORDER BY similarity DESC, image_id) AS turn FROM (
  SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY threshold DESC, space) AS first
  FROM rows) WHERE first = 1 ORDER BY turn, similarity DESC, image_id LIMIT {MOST}
"""
ANOMALIES = f"""
SELECT image_id, label, log_density, cut, rank, count(*) OVER () AS total FROM rows
ORDER BY rank, log_density, image_id LIMIT {MOST}
"""
MODES = f"SELECT * FROM rows ORDER BY label, component LIMIT {MOST_MODES}"
GENERATED = """
SELECT count(*) AS images, count(DISTINCT label) AS classes, median(similarity) AS median,
  max(similarity) AS nearest FROM rows
"""
PAIRS = f"SELECT * FROM rows ORDER BY pair_id LIMIT {MOST_PAIRS}"

PRECISION = ("precision", "precision_low", "precision_high")
QUERIES = {
    "conflicts": CONFLICTS,
    "leaks": LEAKS,
    "anomalies": ANOMALIES,
    "modes": MODES,
    "generated": GENERATED,
    "pairs": PAIRS,
    "calibration": "SELECT * FROM rows",
}


@dataclass
class Findings:
    """Rows to show of each optional table, and how it stands with it."""

    states: dict[str, State]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def of(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table; none where it is absent."""
        return self.rows.get(table, [])

    def total(self, table: str) -> int:
        """How many rows the table itself has, of which `of` shows some."""
        return int(self.of(table)[0]["total"]) if self.of(table) else 0

    @property
    def heterogeneous(self) -> list[dict[str, Any]]:
        """Rows of `modes` of the classes that are not homogeneous."""
        return [row for row in self.of("modes") if row["heterogeneous"]]

    @property
    def classes_tested(self) -> int:
        """Classes that `modes` has looked at."""
        return len({row["label"] for row in self.of("modes")})


def gather(stage_run: StageRun, states: dict[str, State]) -> Findings:
    """The rows shown of every optional table that is there."""
    rows = {
        table: stage_run.query(table, sql) for table, sql in QUERIES.items() if states[table].there
    }
    return Findings(states, rows)


def audited(calibration: Sequence[Mapping[str, Any]], rule: Mapping[str, Any]) -> str:
    """`97 ± 2 %, 200 pairs`: the precision of a selection's threshold; empty where unknown."""
    key = rule["rule"], rule["space"]
    row = next((row for row in calibration if (row["rule"], row["space"]) == key), None)
    if row is None or row["precision"] is None or math.isnan(row["precision"]):
        return ""
    precision, low, high = (100 * row[name] for name in PRECISION)
    if abs((high - precision) - (precision - low)) < 1:
        said = f"{precision:.0f} ± {(high - low) / 2:.0f} %"
    else:  # near 100 % the interval is not symmetric
        said = f"{precision:.0f} % ({low:.0f} … {high:.0f} %)"
    return f"{said}, {row['pairs']} pairs"
