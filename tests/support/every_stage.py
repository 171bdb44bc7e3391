"""A warehouse in which every stage has run, on one machine and undisturbed, over a small survey."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.acquisition import sample
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.commands import flags, run_command
from tests.support.folders import Once
from tests.support.session import PAPER, SPLIT

# Each of the optional stages, both kinds of rules, and large groups in rounds.
EVERY_STAGE = (
    "ingest.layout=split/label",
    *PAPER,
    "train.epochs=1",
    "train.sample=100",
    "prune.thresholds=['overlap:0.7', 0.9, 'pair_rate:0.01']",
    "prune.space=['gradients', 'whitened']",
    "prune.largest_class=30",
    "prune.window=25",
    "publish.rule=overlap:0.7",
    SPLIT,
    "modes.draws=40",
    "leaks.split=['test']",
    "conflicts.threshold=0.2",
    "anomalies.quantile=0.1",
    "generate.count=2",
    "estimate.components=2",
    "estimate.control=10",
    "calibrate.pairs=40",
)
CLASSES, SCENES = 3, 14


class EveryStage(NamedTuple):
    """The images, the warehouse, and labels of the pairs that it drew."""

    images: Path
    warehouse: Path
    labels: Path

    @property
    def with_labels(self) -> str:
        """The setting that names the labels."""
        return f"calibrate.labels={self.labels}"


def save_survey(folder: Path) -> None:
    """The demo's survey in two splits: folders split/label."""
    rendered = folder / "rendered"
    flags = (f"sample.labels={CLASSES}", f"sample.scenes={SCENES}", "sample.processes=1")
    sample.main(build({}, flags, images=str(rendered), quiet=True))
    for number, path in enumerate(sorted(rendered.glob("*/*"))):
        split = "test" if number % 4 == 0 else "train"
        target = folder / "images" / split / path.relative_to(rendered)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


@pytest.fixture(scope="session")
def every_stage(spark: SparkSession, once: Once) -> EveryStage:
    """Tests read it and do not change it."""

    def make(folder: Path) -> None:
        save_survey(folder)
        made = EveryStage(folder / "images", folder / "warehouse", folder / "labels.csv")
        given = ("--images", str(made.images), "--warehouse", str(made.warehouse))
        _done("pipeline", *given, *flags(*EVERY_STAGE), cwd=folder)
        pairs = open_store(spark, str(made.warehouse)).query("pairs")
        with made.labels.open("w") as file:
            writer = csv.writer(file)
            writer.writerow(("pair_id", "same"))
            writer.writerows((pair["pair_id"], int(pair["similarity"] > 0.9)) for pair in pairs)
        _done("calibrate", *given, *flags(*EVERY_STAGE, made.with_labels), cwd=folder)

    folder = once("every stage", make)
    return EveryStage(folder / "images", folder / "warehouse", folder / "labels.csv")


def _done(job: str, *arguments: str, cwd: Path) -> None:
    done = run_command(job, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
