"""What this version of the software does not know of a warehouse, or finds missing in it."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.runtime.console import abbreviated
from jobs.warehouse import tables
from jobs.warehouse.store import Store


def remarks(store: Store, stored: Sequence[str]) -> list[str]:
    """Return a line on each table that another version or program wrote; stored: our tables."""
    lines = []
    for table in stored:
        missing, unknown = tables.differences(table, store.columns(table))
        if missing:
            lines.append(
                f"{table} was written by an earlier version: it lacks {abbreviated(missing)}. The "
                "next pipeline that writes it adds them (run ./spark-submit.sh pipeline)"
            )
        if unknown:
            lines.append(
                f"{table} was written by a newer version or another program: this one does not "
                f"know {abbreviated(unknown)}. Use the newer version to change the warehouse"
            )
    others = [name for name in store.files.entries() if is_unknown_table(store, name)]
    if others:
        lines.append(
            f"no tables of this version, left as they are: {abbreviated(others)} (an earlier or "
            "a newer version, or another program wrote them)"
        )
    return lines


def is_unknown_table(store: Store, name: str) -> bool:
    """Return whether a folder of the warehouse is a Delta table that is not declared."""
    return (
        name not in tables.TABLES
        and not name.startswith(".")
        and store.files.exists(f"{name}/_delta_log")
    )
