from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.autoencoder import whiten
from jobs.duplicates import groups as image_groups
from jobs.duplicates import prune
from jobs.duplicates import selection as selection_rows
from jobs.duplicates.cover_tasks import Progress, Pruning
from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.duplicates.rules import Rules
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage, StageRun
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.store import open_store
from tests.support.vectors import definition, spectral
from udfs.duplicates.thresholds import (
    AngleMoments,
    BisectionSearch,
    angle_histogram,
    keep_share,
    kept_counts,
    pair_angles,
    pair_rate,
)
from udfs.vectors.cosine import Matrix

THRESHOLDS = (0.97, 0.9, 0.8)
FLAGS = (
    f"prune.thresholds={list(THRESHOLDS)}",
    "prune.space=raw",
    "publish.rule=fixed:0.9",
    "prune.block=16",
)
WIDTH = 40


class Given:
    """Images with latents that did not come from pixels, and the warehouse that holds them."""

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
            {"image_id": name, "rule": "none", "log_density": self.density[name]}
            for name in (image["image_id"] for image in kept)
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
        """The selection by its definition; `first`: protected images."""
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


@pytest.fixture(scope="module")
def given(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """A class that is large here, and two that are not."""
    images = Given(spark, tmp_path_factory.mktemp("given"), {"large": 130, "small": 40, "one": 1})
    images.write()
    return images


ROUNDS_OF = ("prune.largest_class=50", "prune.window=24")


def test_tasks_are_the_definition(given: Given) -> None:
    expected = given.defined()
    assert {kept for kept, *_ in expected.values()} == {True, False}
    given.prune()
    assert given.selection() == expected
    version = open_store(given.spark, str(given.folder)).version("selection")
    again = given.prune(*ROUNDS_OF)  # sizes of tasks and windows decide nothing
    assert again.warehouse.version("selection") == version


class StoppedError(Exception):
    """By whoever."""


def test_rounds_are_the_definition_and_go_on_where_they_were_stopped(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.duplicates.rounds.SENT", 0)  # as ranks of very many images
    rounds: list[str] = []
    write = StageRun.write

    def stopping(stage_run: StageRun, frame: DataFrame, table: str, **how: Any) -> None:
        if table == ROUNDS and len(rounds) == 3:
            raise StoppedError
        rounds.extend([table] if table in (PLACED, ROUNDS) else [])
        write(stage_run, frame, table, **how)

    flags = (*ROUNDS_OF, "prune.order=[]", "prune.group_by=[]")  # all 171 in one group
    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "write", stopping)
        with pytest.raises(StoppedError):
            given.prune(*flags)
        assert rounds == [PLACED, ROUNDS, ROUNDS]
        rounds.append("a fourth entry, to let all pass")
        given.prune(*flags)
    assert PLACED not in rounds[3:]
    assert rounds[4:].count(ROUNDS) >= 2
    assert given.selection() == given.defined(group=lambda image: 0)
    for table in (PLACED, ROUNDS):
        assert not (given.folder / table).exists()


def test_groups_orders_and_protected_images(given: Given) -> None:
    """Groups of about 28, some of them small and some large."""
    given.prune(
        "prune.group_by=['camera']",
        "prune.never_across=['split']",
        "prune.order=['-size_bytes', 'log_density']",
        "prune.protect=size_bytes % 7 = 0",
        "prune.largest_class=28",
        "prune.window=20",
    )
    expected = given.defined(
        group=lambda image: (image["camera"], image["split"]),
        order=lambda image: (-image["size_bytes"], given.density[image["image_id"]]),
        first=lambda image: image["size_bytes"] % 7 == 0,
    )
    assert given.selection() == expected


def test_a_new_batch_leaves_earlier_decisions_as_they_are(
    spark: SparkSession, tmp_path: Path
) -> None:
    given = Given(spark, tmp_path, {"large": 90, "small": 20})
    early = sorted(given.images)[::2]
    given.write(early)
    given.prune("prune.mode=append")  # there is nothing yet: all
    first = given.selection()
    given.write()
    given.prune("prune.mode=append", *ROUNDS_OF)
    both = given.selection()
    assert first.items() <= both.items()
    assert both == given.defined(order=lambda image: image["image_id"] not in early)
    assert not all(kept for kept, *_ in (both[key] for key in both.keys() - first.keys()))
    with pytest.raises(JobError, match="made with other settings"):
        given.prune("prune.mode=append", "prune.thresholds=[0.9]")
    for change in ({"sha256": "changed"}, {"label": "small"}, None):
        image = dict(given.images[early[0]])
        given.images[early[0]] |= change or {}
        given.write(None if change else [*given.images][:-1])
        with pytest.raises(JobError, match="have vanished since, or have other content"):
            given.prune("prune.mode=append")
        given.images[early[0]] = image
    assert given.selection() == both


def test_what_an_earlier_run_left_wrong_fails_the_next_batch(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Two copies, both kept: the audit of a later batch looks at earlier decisions as well."""
    given = Given(spark, tmp_path, {"a": 30})
    given.write(sorted(given.images)[:29])
    given.prune("prune.mode=append")
    warehouse = open_store(spark, str(tmp_path))
    commit = warehouse.newest("selection")
    assert commit is not None
    removed = next(key for key, (kept, *_) in sorted(given.selection().items()) if not kept)
    lie = {"kept": F.lit(True), "kept_id": F.lit(None).cast("string")}
    there = (F.col("image_id") == removed[0]) & (F.col("rule") == removed[1])
    rows = warehouse.read("selection").withColumns(
        {name: F.when(there, value).otherwise(F.col(name)) for name, value in lie.items()}
    )
    warehouse.write(rows.localCheckpoint(), "selection", replace(commit, run_id="liar"))
    given.write()
    with pytest.raises(JobError, match="pairs of kept images above T"):
        given.prune("prune.mode=append")


def test_rounds_that_were_stopped_fit_other_limits(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that was large is so no longer: it is neither forgotten nor decided twice."""
    given = Given(spark, tmp_path, {"large": 40, "small": 25})
    given.write()
    rounds: list[str] = []
    write = StageRun.write

    def stopping(stage_run: StageRun, frame: DataFrame, table: str, **how: Any) -> None:
        if table == ROUNDS and len(rounds) == 4:
            raise StoppedError
        rounds.extend([table] if table == ROUNDS else [])
        write(stage_run, frame, table, **how)

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "write", stopping)
        with pytest.raises(StoppedError):  # in the second of the two classes
            given.prune("prune.largest_class=20", "prune.window=15")
    given.prune("prune.largest_class=30", "prune.window=15")
    assert given.selection() == given.defined()


def test_classes_that_workers_read_by_themselves(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file a class, by id: no row goes through Spark, and no other image stays."""
    given = Given(spark, tmp_path, {"large": 130, "sm/all": 40, "one": 1})
    given.write()
    warehouse = open_store(spark, str(tmp_path))
    rows = warehouse.read("latents").repartitionByRange(3, "label")
    commit = warehouse.newest("latents", "encode")
    assert commit is not None
    rows = rows.sortWithinPartitions("image_id").localCheckpoint()
    warehouse.write(rows, "latents", replace(commit, run_id="again"))

    def never(*_: Any) -> DataFrame:
        raise AssertionError("Spark dealt the classes out")

    monkeypatch.setattr(prune, "whole", never)
    given.prune()
    assert given.selection() == given.defined()


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_partitions_decide_nothing(given: Given, partitions: int) -> None:
    latents = open_store(given.spark, str(given.folder)).read("latents")
    settings = build({}, FLAGS).prune
    members = image_groups.grouped({"raw": latents.repartition(partitions)}, None, None, settings)
    marked = image_groups.decisions(members, list(settings.rules))
    counts = {f"raw/{label}": n for label, n in {"large": 130, "small": 40, "one": 1}.items()}
    pruning = Pruning(Rules.fixed(settings), Progress.begun(given.spark))
    rows = selection_rows.whole(
        given.spark, marked, counts, pruning, image_groups.in_order(settings)
    )
    found = {(r.image_id, r.rule): (r.kept, r.kept_id, r.similarity) for r in rows.collect()}
    assert found == given.defined()


def test_thresholds_of_both_spaces_that_set_themselves(given: Given) -> None:
    """Each class has its own T by the share and the rate, all have one by the share of all."""
    rules = ("fixed:0.9", "keep_share:0.5", "keep_share_all:0.4", "pair_rate:0.01")
    flags = (
        'prune.space=["raw", "whitened"]',
        f"prune.thresholds={[0.9, *rules[1:]]}".replace("'", '"'),
    )
    given.job(whiten.STAGE, *flags)
    given.prune(*flags)
    warehouse = open_store(given.spark, str(given.folder))
    spaces = {
        "raw": {row.image_id: row.latent for row in warehouse.read("latents").collect()},
        "whitened": {row.image_id: row.vector for row in warehouse.read("vectors").collect()},
    }
    selection = warehouse.read("selection").collect()
    decided = {(r.image_id, r.rule, r.space): r for r in selection}
    assert len(decided) == len(selection) == len(given.images) * len(rules) * len(spaces)
    shown = {
        (r.label, r.rule, r.space): (r.threshold, r.reached)
        for r in warehouse.read("thresholds").collect()
    }
    names = sorted(given.images)
    for space, vectors in spaces.items():
        classes = {
            label: np.array([vectors[n] for n in names if n.startswith(label)], np.float32)
            for label in ("large", "small", "one")
        }
        low = 0.0 if space == "raw" else -1.0
        search = BisectionSearch.of(0.4, len(given.images), low)
        while search.left:
            tried = search.next_thresholds(1)
            search.narrow([sum(kept_counts(rows, tried)[0] for rows in classes.values())])
        values = {label: pair_angles(rows) for label, rows in classes.items()}
        pooled = np.concatenate([values[label] for label in ("large", "one", "small")])
        for label, rows in classes.items():
            of = values[label] if label == "large" else pooled  # 8 pairs of the small do not tell
            expected = {
                "fixed:0.9": 0.9,
                "keep_share:0.5": keep_share(rows, 0.5, low=low),
                "keep_share_all:0.4": search.high,
                "pair_rate:0.01": pair_rate(angle_histogram(of, AngleMoments.of(of).step), 0.01),
            }
            of_class = [name for name in names if name.startswith(label)]
            for rule, threshold in expected.items():
                cover = definition(rows[:0], rows, threshold, np.arange(len(rows)))
                for i, name in enumerate(of_class):
                    row = decided[name, rule, space]
                    keeper = None if cover.kept[i] else of_class[cover.keeper[i]]
                    assert (row.kept, row.kept_id) == (cover.kept[i], keeper)
                    assert row.threshold == pytest.approx(threshold, abs=1e-12)
                found, reached = shown[label, rule, space]
                assert found == pytest.approx(threshold, abs=1e-12)
                assert reached == cover.kept.mean()
    # A new batch is decided by the thresholds of the first.
    before = warehouse.read("selection").count()
    given.add("small/z.png", "small", given.latents["small/0003ü.png"], 1)
    given.write()
    append = (*flags, "prune.mode=append")
    given.job(whiten.STAGE, *append)
    with pytest.raises(JobError, match="made with"):
        given.prune(*append, "prune.seed=5")
    given.prune(*append)
    new = warehouse.read("selection").where("image_id = 'small/z.png'").collect()
    assert open_store(given.spark, str(given.folder)).read("selection").count() == before + 8
    for row in new:
        assert (row.kept, row.kept_id) == (False, "small/0003ü.png")
        assert row.threshold == shown["small", row.rule, row.space][0]


def test_axes_of_few_images_do_not_serve_many(given: Given) -> None:
    """Along so few axes most images would look alike."""
    flags = ("prune.space=whitened", "prune.thresholds=[0.9]")
    given.write(sorted(given.images)[:6])
    given.job(whiten.STAGE, *flags)
    given.write()
    with pytest.raises(JobError, match=r"fitted on few images, 6 where all images now have \d\d;"):
        given.job(whiten.STAGE, *flags, "prune.mode=append")
    given.job(whiten.STAGE, *flags)
    given.job(whiten.STAGE, *flags, "prune.mode=append")


def test_columns_that_cannot_serve_are_all_named(given: Given) -> None:
    settings = build(
        {},
        (
            "prune.order=['lost', '-pixels']",
            "prune.group_by=['label', 'gone']",
            "prune.protect=label",
        ),
    ).prune
    images = open_store(given.spark, str(given.folder)).read("images")
    with pytest.raises(SettingsError) as told:
        image_groups.check(images, settings)
    lines = str(told.value).splitlines()
    assert [line.split(":")[0].split(" =")[0] for line in lines] == [
        "prune.order",
        "prune.order",
        "prune.group_by",
        "prune.protect",
    ]
    for line, word in zip(lines, ["lost", "pixels (binary)", "gone", "gives string"], strict=True):
        assert word in line
    with pytest.raises(SettingsError, match="no SQL predicate on images"):
        image_groups.check(images, replace(settings, protect="size_bytes >", order=(), group_by=()))
