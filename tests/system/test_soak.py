"""Thirty pipelines into one warehouse, with settings that change at random, and some are killed.

At the end a run with fixed settings must give the tables of the same run on an empty warehouse;
nothing that a run holds besides its tables may grow. `make test-faults` runs it, and it goes on
where it was stopped.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.warehouse import tables
from jobs.warehouse.store import open_store
from tests.support.commands import flags
from tests.support.faults import Sufferer
from tests.support.tables import there

pytestmark = [pytest.mark.spark, pytest.mark.long, pytest.mark.faults]

RUNS = 30
KILLED = 10
SEED = 20
RULES = ("[0.999, 0.97]", "[0.99, 0.95, 0.9]", "[0.995]", "['overlap:0.7', 0.95]")
ORDERS = ("[]", "['-size_bytes']")


class Step(NamedTuple):
    """A run: its settings, and the fault that it suffers, or ""."""

    settings: tuple[str, ...]
    fault: str


def plan(moments: Sequence[str]) -> list[Step]:
    """Draw the runs: each differs from the one before in what some stages depend on."""
    draw = random.Random(SEED)
    killed = set(draw.sample(range(RUNS), KILLED))
    steps = []
    for number in range(RUNS):
        rules = draw.choice(RULES)
        first = rules.strip("[]").split(",")[0].strip("'")
        settings = (
            f"prune.thresholds={rules}",
            f"publish.rule={first if ':' in first else f'fixed:{first}'}",
            f"prune.order={draw.choice(ORDERS)}",
            f"prune.space={draw.choice(('raw', 'whitened'))}",
            f"publish.seed={draw.randrange(3)}",
            f"estimate.components={draw.choice((1, 2))}",
            f"ingest.tile={draw.choice((0, 0, 32))}",
        )
        fault = f"{draw.choice(('kill', 'java', 'interrupt'))}@{draw.choice(moments)}"
        steps.append(Step(settings, fault if number in killed else ""))
    return steps


def left_over(warehouse: Path, temporary: Path) -> dict[str, int]:
    """What runs leave beside their tables, by kind: how many of it there are."""
    known = {*tables.TABLES, "models", "report", ".lock"}
    return {
        "work tables": sum((warehouse / name).exists() for name in ("placed", "rounds")),
        "models": len(list((warehouse / "models").glob("*"))),
        "unknown names": sum(path.name not in known for path in warehouse.iterdir()),
        "temporary files": len(list(temporary.iterdir())),
    }


def test_thirty_runs_leave_what_one_leaves(
    spark: SparkSession, clean: Sufferer, sufferer: Sufferer
) -> None:
    temporary = sufferer.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    sufferer.environment = {"TMPDIR": str(temporary), "SPARK_LOCAL_DIRS": str(temporary)}
    kept = sufferer.folder / "left over.json"
    found = json.loads(kept.read_text()) if kept.exists() else []
    for number, step in list(enumerate(plan(list(clean.outcomes))))[len(found) :]:
        done = sufferer.run(step.fault, *flags(*step.settings))
        moment = step.fault.partition("@")[2]
        suffered = bool(moment) and moment in done.moments
        # A job that needed Java no more ends as others do.
        needed = suffered and not (done.code == 0 and step.fault.startswith("java"))
        assert (done.code != 0) == needed, (number, step, done.said)
        assert suffered or "Traceback" not in done.said
        if suffered:  # what a killed process could not remove is its user's to remove
            shutil.rmtree(temporary)
            temporary.mkdir()
        found.append(left_over(sufferer.warehouse, temporary) | {"killed": int(suffered)})
        kept.write_text(json.dumps(found))
    assert sum(row["killed"] for row in found) >= KILLED // 3
    undisturbed = [row for row in found if not row["killed"]]
    for kind in ("temporary files", "unknown names"):
        first, *later = (row[kind] for row in undisturbed)
        assert max(later) <= first, (kind, found)
    # Other rules had tables of their own, which stay.
    sufferer.ends_like(spark, clean, there(open_store(spark, str(clean.warehouse))))
    last = left_over(sufferer.warehouse, temporary)
    assert last["work tables"] <= left_over(clean.warehouse, temporary)["work tables"], found
