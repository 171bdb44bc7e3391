"""Tells what a report was made with: stages and their seconds, settings, versions, the model."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from jobs.acquisition.vector_reader import GIVEN
from jobs.runtime.stage import RunContext
from jobs.settings.model import Settings
from jobs.settings.redaction import redacted

PACKAGES = ("pyspark", "delta-spark", "torch", "numpy", "scipy", "pyarrow", "pandas", "pillow")
# Of each stage the newest row that was not skipped, and the newest one that was done.
LAST_RUNS = """
SELECT stage, state, started, finished, settings, versions_read, newest, newest_of_state FROM (
  SELECT *, row_number() OVER (PARTITION BY stage ORDER BY started DESC) AS newest,
    row_number() OVER (PARTITION BY stage, state ORDER BY started DESC) AS newest_of_state
  FROM rows WHERE state IN ('done', 'failed'))
WHERE newest = 1 OR (newest_of_state = 1 AND state = 'done') ORDER BY started
"""
Row = Mapping[str, Any]


def last_runs(run: RunContext) -> list[dict[str, Any]]:
    """Read from `runs` the newest row of each stage, and the newest in which it was done."""
    return run.warehouse.query("runs", LAST_RUNS)


def last_done(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the newest row of each stage in which it was done."""
    return {
        row["stage"]: row for row in rows if row["state"] == "done" and row["newest_of_state"] == 1
    }


def stages(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return how each stage ended when it last ran and was not skipped."""
    return [
        {
            "stage": row["stage"],
            "state": row["state"],
            "seconds": f"{(row['finished'] - row['started']).total_seconds():.1f}"
            if row["finished"]
            else "",
            "finished": f"{row['finished']:%Y-%m-%d %H:%M:%S}" if row["finished"] else "",
        }
        for row in rows
        if row["newest"] == 1
    ]


def draws(rows: Sequence[Row], settings: Settings) -> int:
    """Return how many random removals the effects are compared with, by the run that drew them."""
    row = last_done(rows).get("estimate")
    if row is None:
        return settings.estimate.control
    return int(json.loads(row["settings"])["estimate"].get("control", 0))


def settings_used(rows: Sequence[Row], settings: Settings) -> str:
    """Return the settings of each stage in the run that did it; this run may have other ones."""
    used = {stage: json.loads(row["settings"]) for stage, row in last_done(rows).items()}
    lines = []
    for section, keys in redacted(settings.sections()).items():
        if section == "sample":
            continue
        lines.append(f"[{section}]")
        keys = used.get(section, {}).get(section, keys)
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines)


def origin(model_id: str | None, encoded_on: str | None) -> str:
    """Return where the latents come from, for people."""
    if encoded_on == GIVEN:
        return f"vectors brought along: {model_id}"
    if model_id:
        return f"model {model_id}, encoded on {encoded_on}"
    return "no model"


def versions(reads: Mapping[str, int], latents: str) -> str:
    """Return the versions of Python, packages and tables; latents: where these come from."""
    named = [f"{name} {version(name)}" for name in PACKAGES]
    tables = [f"{table} {number}" for table, number in sorted(reads.items())]
    return "\n".join(
        [
            f"Python {platform.python_version()}, {', '.join(named)}",
            latents,
            f"tables read at version: {', '.join(tables)}",
        ]
    )
