"""Warehouses of given latents, without images, and the selection that they must lead to."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from jobs.duplicates import prune
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.store import open_store
from tests.support.folders import Once
from tests.support.vectors import definition, spectral
from udfs.vectors.cosine import Matrix

THRESHOLDS = (0.97, 0.9, 0.8)
FLAGS = (
    f"prune.thresholds={list(THRESHOLDS)}",
    "prune.space=raw",
    "publish.rule=fixed:0.9",
    "prune.block=16",
)


WIDTH = 40


class GivenLatents:
    """Images whose latents are given, not encoded, and the warehouse that holds them."""

    def __init__(self, spark: SparkSession, folder: Path, sizes: dict[str, int]) -> None:
        self.spark = spark
        self.folder = folder
        self.model = "m"
        self.images: dict[str, dict[str, Any]] = {}
        self.latents: dict[str, Matrix] = {}
        self.density: dict[str, float] = {}
        for number, (label, count) in enumerate(sizes.items()):
            for i, latent in enumerate(spectral(count, WIDTH, number)):
                # Ids whose order is that of no other column.
                self.add(f"{label}/{(7 * i) % count:04}ü.png", label, latent, i)

    def add(self, name: str, label: str, latent: Matrix, number: int) -> None:
        self.latents[name] = latent
        self.density[name] = -float(number % 5)
        self.images[name] = {
            "image_id": name,
            "label": label,
            "split": ("train", "test", None)[number % 3],
            "sha256": f"{label}{number}",
            "size_bytes": 1000 - number // 2,
            "camera": f"c{number % 2}",
        }

    def write(self, names: list[str] | None = None) -> None:
        """The tables `images`, `latents` and `projections`, of some of the images."""
        warehouse = open_store(self.spark, str(self.folder))
        kept = list(self.images.values()) if names is None else [self.images[n] for n in names]
        mark = fingerprint([kept, self.model])
        run = secrets.token_hex(4)  # of one run and table Delta takes the same write only once
        blank = dict.fromkeys(tables.TABLES["images"].schema.names)
        ddl = f"{tables.TABLES['images'].schema.simpleString()[7:-1]},camera:string"
        rows = [blank | image | {"modified_at": datetime.now(UTC)} for image in kept]
        frame = self.spark.createDataFrame(rows, ddl.replace(":", " "))
        warehouse.write(frame, "images", CommitInfo(run, "ingest", mark))
        rows = [
            image
            | {"model_id": self.model, "encoded_on": "here", "latent": self.latents[name].tolist()}
            for name, image in ((image["image_id"], image) for image in kept)
        ]
        frame = self.spark.createDataFrame(rows, tables.TABLES["latents"].schema)
        warehouse.write(frame.repartition(3), "latents", CommitInfo(run, "encode", mark))
        rows = [
            {
                "image_id": image["image_id"],
                "label": image["label"],
                "rule": "none",
                "log_density": self.density[image["image_id"]],
            }
            for image in kept
        ]
        frame = self.spark.createDataFrame(rows, tables.TABLES["projections"].schema)
        warehouse.write(frame, "projections", CommitInfo(run, "project", mark))

    def prune(self, *flags: str) -> Run:
        return self.job(prune.STAGE, *flags)

    def settings(self, *flags: str) -> Settings:
        return build({}, (*FLAGS, *flags), warehouse=str(self.folder), quiet=True)

    def job(self, stage: Stage, *flags: str) -> Run:
        return self.run(stage, self.settings(*flags))

    def run(self, stage: Stage, settings: Settings) -> Run:
        run = Run(self.spark, settings, "prune")
        try:
            run.execute(stage)
        finally:
            run.close()
        return run

    def selection(self) -> dict[tuple[str, str], tuple[bool, str | None, float | None]]:
        rows = open_store(self.spark, str(self.folder)).read("selection").collect()
        found = {(r.image_id, r.rule): (r.kept, r.kept_id, r.similarity) for r in rows}
        assert len(found) == len(rows)
        assert all(r.label == self.images[r.image_id]["label"] for r in rows)
        return found

    def defined(
        self,
        group: Callable[[dict[str, Any]], Any] = lambda image: image["label"],
        order: Callable[[dict[str, Any]], Any] = lambda image: 0,
        first: Callable[[dict[str, Any]], bool] = lambda image: False,
    ) -> dict[tuple[str, str], tuple[bool, str | None, float | None]]:
        """The selection that the definition gives; `first` is true of protected images."""
        groups: dict[Any, list[str]] = {}
        for name, image in self.images.items():
            groups.setdefault(group(image), []).append(name)
        found: dict[tuple[str, str], tuple[bool, str | None, float | None]] = {}
        for names in groups.values():
            names.sort(key=lambda n: (not first(self.images[n]), order(self.images[n]), n.encode()))
            fixed = sum(first(self.images[name]) for name in names)
            rows = np.array([self.latents[name] for name in names])
            for threshold in THRESHOLDS:
                rule = f"fixed:{threshold}"
                cover = definition(
                    rows[:fixed], rows[fixed:], threshold, np.arange(len(names) - fixed)
                )
                found |= {(name, rule): (True, None, None) for name in names[:fixed]}
                for i, name in enumerate(names[fixed:]):
                    keeper = None if cover.kept[i] else names[cover.keeper[i]]
                    similarity = None if cover.kept[i] else float(cover.similarity[i])
                    found[name, rule] = (bool(cover.kept[i]), keeper, similarity)
        return found


ROUNDS_OF = ("prune.largest_class=50", "prune.window=24")
WINDOW = "prune.window=16"  # several windows


def run_job(given: GivenLatents, job: Stage, *flags: str) -> None:
    settings = build({}, (*FLAGS, WINDOW, *flags), warehouse=str(given.folder), quiet=True)
    run = Run(given.spark, settings, "job")
    try:
        run.execute(job)
    finally:
        run.close()


def rows_of(given: GivenLatents, table: str) -> list[dict[str, Any]]:
    return [
        row.asDict() for row in open_store(given.spark, str(given.folder)).read(table).collect()
    ]


def prepared(images: GivenLatents, name: str, once: Once, *stages: Stage) -> GivenLatents:
    """Fill the warehouse of `images` and run stages on it; one test process does it, others copy.

    `name` is that of the shared folder; what is written later stays in the copy.
    """
    own = images.folder

    def make(folder: Path) -> None:
        images.folder = folder
        images.write()
        for stage in stages:
            images.job(stage)

    made = once(name, make)
    images.folder = own
    shutil.copytree(made, own, dirs_exist_ok=True)
    return images


def withdraw(spark: SparkSession, folder: Path, name: str) -> None:
    """Say in `rejects` that others took an image out."""
    row = (None, name, None, None, "ingest", "withdrawn", "")
    warehouse = open_store(spark, str(folder))
    commit = CommitInfo("run", "ingest", "mark")
    warehouse.write(tables.rows("rejects", [row]), "rejects", commit)
