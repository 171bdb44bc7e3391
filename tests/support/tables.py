"""Which tables a pipeline writes, and whether two warehouses hold the same tables."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.store import Store, open_store
from tests.support.session import PAPER

# What a pipeline does whatever it is asked for, and the tables that it leaves.
STAGES = tuple(
    stage.name for stage in pipeline.STAGES if stage.enabled(build({}, PAPER, images="any"))
)


NOT_IN_PAPER_SETTING = {
    "modes",
    "sublabels",
    "spaces",
    "vectors",
    "gradients",
    "leaks",
    "conflicts",
    "anomalies",
    "generated",
    "calibration",
    "alignments",
}


WORK = {"placed", "rounds"}  # a prune that has ended leaves what it likes of them
WRITTEN = tables.TABLES.keys() - NOT_IN_PAPER_SETTING - WORK
NOT_COMPARED = {"runs", "changes", *WORK}  # the first two tell of the runs that there were
MOMENTS = {
    "kurtosis_before",
    "kurtosis_after",
    "slope",
    "intercept",
    "slope_low",
    "slope_high",
    "control_low",
    "control_high",
}  # Spark chooses the order of the sums behind them: equal to 1e-9


def assert_same_tables(
    spark: SparkSession,
    one: Path | str,
    other: Path | str,
    but: Collection[str] = (),
    names: Collection[str] | None = None,
) -> None:
    """Fail unless all tables but `runs` are equal: bit for bit, moments to 1e-9.

    but: columns that are not compared, such as the paths of images that lie elsewhere. names: the
    tables that are compared; None: all, which must be the same in both, what every pipeline writes
    among them.
    """
    first, second = open_store(spark, str(one)), open_store(spark, str(other))
    if names is None:
        names = there(first)
        assert names == there(second)
        assert names >= WRITTEN - NOT_COMPARED
    for table in sorted(names):
        a, b = (_rows(warehouse, table, but) for warehouse in (first, second))
        assert len(a) == len(b), table
        for row, twin in zip(a, b, strict=True):
            assert row.keys() == twin.keys(), table
            for name, value in row.items():
                if name in but:
                    continue
                assert _same(name, value, twin[name]), (table, name, value, twin[name])


def there(warehouse: Store) -> set[str]:
    """The tables of a warehouse that two runs are compared by."""
    return {name for name in tables.TABLES.keys() - NOT_COMPARED if warehouse.exists(name)}


def _rows(warehouse: Store, table: str, but: Collection[str]) -> list[dict[str, Any]]:
    rows = [row.asDict(recursive=True) for row in warehouse.read(table).collect()]
    names = tables.TABLES[table].schema.names
    exact = [name for name in names if name not in MOMENTS and name not in but]
    return sorted(rows, key=lambda row: repr([row[name] for name in exact]))


def _same(name: str, value: Any, twin: Any) -> bool:
    if name in MOMENTS and value is not None and twin is not None:
        return math.isclose(value, twin, rel_tol=1e-9)
    return bool(value == twin)
