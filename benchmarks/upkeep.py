"""What `maintain` leaves of a warehouse after many runs with changing settings.

    .venv/bin/python -m benchmarks.upkeep [--runs 30] [--folder build/upkeep]

It renders a small survey, runs the pipeline with settings that change from run to run, and keeps
the warehouse up twice: as it is, and as if 31 days had passed (the tables' retention is then set
to nothing). It prints files and bytes of both, and that the next pipeline has nothing to do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from deltalake import DeltaTable
from pyspark.sql import SparkSession

from benchmarks.results import recorded
from benchmarks.runs import run_pipeline
from benchmarks.session import start
from jobs.acquisition import sample
from jobs.maintenance import maintain
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.lock import lock

SURVEY = ("sample.labels=3", "sample.scenes=12", "sample.processes=1")
FAST = ("train.epochs=1", "train.sample=60", "prune.space=raw", "estimate.control=10")
RULES = ("[0.999, 0.97]", "[0.99, 0.95]", "[0.995]", "[0.98, 0.96, 0.94]")


def changed(number: int) -> tuple[str, ...]:
    """The settings of a run: rules, the order, components and splits take turns."""
    rules = RULES[number % len(RULES)]
    first = rules.strip("[]").split(",")[0]
    return (
        f"prune.thresholds={rules}",
        f"publish.rule=fixed:{first}",
        f"publish.seed={number // 3}",
        'publish.split=["train:0.8", "test:0.2"]',
        f"estimate.components={2 + number % 2}",
    )


def settings_of(folder: Path, *flags: str) -> Settings:
    """The settings of one run."""
    return build(
        {}, (*SURVEY, *FAST, *flags), images=f"{folder}/images", warehouse=f"{folder}/warehouse",
        quiet=True,
    )  # fmt: skip


def keep_up(spark: SparkSession, folder: Path) -> None:
    """Run `maintain`, which prints its figures, and its seconds."""
    clock = time.monotonic()
    with lock(f"{folder}/warehouse"):
        maintain.main(spark, build({}, warehouse=f"{folder}/warehouse"))
    print(f"  {time.monotonic() - clock:.1f} s\n")


def forget_old_versions(folder: Path) -> None:
    """Let no table keep old versions, as if their 30 days had passed."""
    for name in tables.TABLES:
        if (folder / "warehouse" / name / "_delta_log").exists():
            log = DeltaTable(folder / "warehouse" / name)
            log.alter.set_table_properties({tables.KEPT_FILES: "interval 0 seconds"})


def main() -> None:
    """Make the warehouse, keep it up, and run the pipeline again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path("build/upkeep"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    if (folder / "warehouse").exists():
        parser.error(f"{folder}/warehouse is there: remove it, or give another --folder")
    spark = start(2, {"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "2"})
    sample.main(settings_of(folder))
    for number in range(options.runs):
        clock = time.monotonic()
        run_pipeline(spark, settings_of(folder, *changed(number)))
        print(f"run {number + 1}: {time.monotonic() - clock:.1f} s", flush=True)
    last = settings_of(folder, *changed(options.runs - 1))
    print("\nas it is")
    keep_up(spark, folder)
    print(f"the next pipeline: {run_pipeline(spark, last)}\n")
    print("when the old versions' 30 days have passed")
    forget_old_versions(folder)
    keep_up(spark, folder)
    print(f"the next pipeline: {run_pipeline(spark, last)}")
    spark.stop()


if __name__ == "__main__":
    recorded(main)
