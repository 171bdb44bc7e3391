"""What a report was made with: stages and their seconds, settings, versions, the model."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from jobs.acquisition.vector_reader import GIVEN
from jobs.runtime.stage import RunContext
from jobs.settings.model import Settings

PACKAGES = ("pyspark", "delta-spark", "torch", "numpy", "scipy", "pyarrow", "pandas", "pillow")
# Of each stage its newest row that did anything, and its newest `done` one.
NEWEST = """
SELECT stage, state, started, finished, settings, versions_read, any, done FROM (
  SELECT *, row_number() OVER (PARTITION BY stage ORDER BY started DESC) AS any,
    row_number() OVER (PARTITION BY stage, state ORDER BY started DESC) AS done
  FROM rows WHERE state IN ('done', 'failed'))
WHERE any = 1 OR (done = 1 AND state = 'done') ORDER BY started
"""
Row = Mapping[str, Any]


def newest(run: RunContext) -> list[dict[str, Any]]:
    """Of each stage in `runs`: its newest row that did anything, and its newest `done`."""
    return run.warehouse.query("runs", NEWEST)


def done(rows: Sequence[Row]) -> dict[str, Row]:
    """The newest `done` row of each stage."""
    return {row["stage"]: row for row in rows if row["state"] == "done" and row["done"] == 1}


def stages(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How each stage ended when it last did anything."""
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
        if row["any"] == 1
    ]


def draws(rows: Sequence[Row], settings: Settings) -> int:
    """Random removals that the effects stand beside, as of the run that estimated them."""
    used = done(rows).get("estimate")
    if used is None:
        return settings.estimate.control
    return int(json.loads(used["settings"])["estimate"].get("control", 0))


def settings_used(rows: Sequence[Row], settings: Settings) -> str:
    """Each stage's settings as of the run that did it: this one may have been given others."""
    used = {stage: json.loads(row["settings"]) for stage, row in done(rows).items()}
    lines = []
    for section, keys in settings.sections().items():
        if section == "sample":
            continue
        lines.append(f"[{section}]")
        keys = used.get(section, {}).get(section, keys)
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines)


def origin(model_id: str | None, encoded_on: str | None) -> str:
    """Where the latents come from."""
    if encoded_on == GIVEN:
        return f"vectors brought along: {model_id}"
    if model_id:
        return f"model {model_id}, encoded on {encoded_on}"
    return "no model"


def versions(reads: Mapping[str, int], latents: str) -> str:
    """What the figures were made with; latents: where they come from."""
    named = [f"{name} {version(name)}" for name in PACKAGES]
    tables = [f"{table} {number}" for table, number in sorted(reads.items())]
    return "\n".join(
        [
            f"Python {platform.python_version()}, {', '.join(named)}",
            latents,
            f"tables read at version: {', '.join(tables)}",
        ]
    )
