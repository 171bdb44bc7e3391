"""The dry run: what it says would be done, why, and what it would take; it writes nothing."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs import main as command
from jobs.acquisition import ingest
from jobs.autoencoder import encode, train
from jobs.dry_run import cost, rates, reasons, workload
from jobs.dry_run.cost import Volume
from jobs.dry_run.plan import Plan
from jobs.dry_run.rates import Rates
from jobs.dry_run.reasons import Last
from jobs.dry_run.workload import Files
from jobs.errors import MissingError
from jobs.runtime.run import Run
from jobs.settings.load import build
from tests.conftest import PAPER, QUICK, ROOT, STAGES, flags, picture, settings_for

Done = tuple[Path, subprocess.CompletedProcess[str]]


def test_reasons_name_what_differs() -> None:
    was = build({}, ["prune.thresholds=[0.97, 0.95]", "prune.block=512"]).sections()
    last = Last(json.loads(json.dumps(was)), {"latents": 2})
    now = build({}, ["prune.thresholds=[0.97]", "prune.seed=3"]).sections()
    told = reasons.reason("prune", last, now, {"latents": 2}, [])
    assert told == "prune.thresholds = (0.97,), was [0.97, 0.95], prune.seed = 3, was 0"
    assert reasons.reason("prune", None, now, {}, ["encode"]) == "never done here"
    assert reasons.reason("prune", last, was, {"latents": 2}, ["encode"]) == "encode would be done"
    moved = reasons.reason("prune", last, was, {"latents": 5}, [])
    assert moved == "latents is at version 5, was 2"
    assert "not finished" in reasons.reason("prune", last, was, {"latents": 2}, [])
    fewer = build({}, ["prune.axes=64", "prune.seed=3"]).sections()
    assert reasons.changed("whiten", was, fewer) == ["prune.axes = 64, was 256"]
    trained = reasons.changed("train", was, build({}, ["ingest.tile=64"]).sections())
    assert trained == ["ingest.tile = 64, was 0"]


def test_files_are_told_by_what_became_of_them() -> None:
    assert str(Files(10, 4, 1, 2)) == "3 new, 1 changed, 2 vanished"
    assert str(Files(10, 0, 0, 0)) == ""


def test_pairs_are_those_within_groups() -> None:
    assert workload.pairs([3, 1, 0, 10]) == 3 + 45
    assert Volume((3.0, 10.0), 0.0, anew=False).pairs == 48


def test_rates_give_back_the_runs_they_were_made_of() -> None:
    """The seconds of README.md's two runs, on two cores."""
    shown = {
        "ingest": (18.2, 32.0),
        "encode": (11.9, 41.2),
        "project": (9.3, 13.6),
        "whiten": (5.0, 15.9),
        "publish": (2.2, 3.1),
        "estimate": (6.0, 14.6),
        "similarities": (5.7, 8.4),
        "report": (7.7, 12.5),
    }
    for stage, (demo, merced) in shown.items():
        assert Rates().seconds(stage, 5153, 0, 2) == pytest.approx(demo, rel=0.02)
        assert Rates().seconds(stage, 102_545, 0, 2) == pytest.approx(merced, rel=0.02)
    pairs = workload.pairs([102_545 / 21] * 21)
    assert Rates().seconds("prune", 102_545, pairs, 2) == pytest.approx(11.0, rel=0.02)
    learnt = 47_500 * 8 * rates.RECOGNISING
    assert Rates().seconds("train", learnt, 0, 2) == pytest.approx(966.6, rel=0.02)
    assert Rates().seconds("encode", 1e6, 0, 200) < Rates().seconds("encode", 1e6, 0, 2) / 10


class Sizes:
    """A warehouse of which only the tables' sizes are known."""

    def exists(self, table: str) -> bool:
        return table in ("images", "latents")

    def size(self, table: str) -> tuple[int, int] | None:
        return {"images": (100, 500_000), "latents": (0, 0)}[table]


def test_what_was_measured_here_takes_the_place_of_rates() -> None:
    begun = datetime(2026, 1, 2, tzinfo=UTC)
    settings = build({}, PAPER)
    row = {"run_id": "a", "settings": json.dumps(settings.sections()), "started": begun}

    def done(stage: str, seconds: float, **counts: int) -> dict[str, Any]:
        end = begun + timedelta(seconds=seconds)
        told = {
            "stage": stage,
            "state": "done",
            "finished": end,
            "row_counts": list(counts.items()),
        }
        return row | told

    stated = rates.SECONDS["encode"].seconds(1000, 0, 2)
    history = [done("ingest", 50, images=1000), done("encode", 3 * stated), done("encode", 0.1)]
    warehouse: Any = Sizes()
    found = cost.measured(history, Volume((1000.0,), 0.0, False), warehouse, 2)
    assert found.factors["encode"] == pytest.approx(3)
    assert found.seconds("encode", 1000, 0, 2) == pytest.approx(3 * stated)
    assert found.bytes("images") == 5000
    assert found.bytes("latents") == rates.BYTES["latents"]
    now = Volume((600.0, 400.0), 100.0, anew=False)
    of = {
        stage: cost.estimate(stage, writes, now, 150.0, settings, found, 2)
        for stage, writes in (
            ("ingest", ("images",)),
            ("encode", ("latents",)),
            ("prune", ("selection",)),
            ("train", ()),
        )
    }
    assert (of["ingest"].images, of["ingest"].bytes) == (100, 500_000)
    assert of["encode"].images == 150
    assert of["prune"].pairs == now.pairs == 600 * 599 / 2 + 400 * 399 / 2
    assert of["prune"].bytes == pytest.approx(1000 * 3 * rates.BYTES["selection"])
    assert of["train"].images == pytest.approx(1000 * 0.95 * 8)
    assert of["train"].bytes == cost.MODEL
    slower = build({}, ["encode.orientations=8"])
    encode8 = cost.estimate("encode", (), now, 150.0, slower, Rates(), 2)
    assert encode8.images == 150
    assert encode8.seconds == rates.SECONDS["encode"].seconds(8 * 150, 0, 2)
    recognising = cost.estimate("train", (), now, 150.0, slower, Rates(), 2)
    plain = cost.estimate("train", (), now, 150.0, settings, Rates(), 2)
    assert recognising.images == plain.images
    assert recognising.seconds > plain.seconds
    row = row | {"settings": json.dumps(slower.sections())}
    long = rates.SECONDS["encode"].seconds(8000, 0, 2)
    eightfold = [done("ingest", 50, images=1000), done("encode", 3 * long)]
    found = cost.measured(eightfold, Volume((1000.0,), 0.0, False), warehouse, 2)
    assert found.factors["encode"] == pytest.approx(3)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    found = {}
    for path in folder.rglob("*"):
        status = path.stat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture
def plan(
    spark: SparkSession, survey: Path, undisturbed: Done, capsys: pytest.CaptureFixture[str]
) -> Any:
    """The plan of a command over the survey: its events by stage, and the one of the whole."""

    def made(
        *settings: str,
        job: str = "pipeline",
        images: Path = survey,
        warehouse: Path = undisturbed[0],
        more: Any = (),
    ) -> tuple[dict[str, Any], dict[str, Any], str]:
        given = ["--images", str(images), "--warehouse", str(warehouse), "--log-format", "json"]
        given += ["--settings", str(ROOT / "conf/local.toml"), "--dry-run", *more]
        current = Plan(spark, command.parse(job, [*given, *flags(*QUICK, *settings)]), job)
        before = listing(warehouse.parent)
        importlib.import_module(command.JOBS[job]).main(current)
        current.say()
        assert listing(warehouse.parent) == before
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        stages = {event["stage"]: event for event in events if event["event"] == "planned"}
        (whole,) = (event for event in events if event["event"] == "plan")
        return stages, whole, "\n".join(event.get("text", "") for event in events)

    return made


@pytest.mark.spark
def test_of_a_finished_run_nothing_would_be_done(plan: Any) -> None:
    stages, whole, said = plan()
    assert {stage: event["why"] for stage, event in stages.items()} == dict.fromkeys(
        STAGES, "up to date"
    )
    assert (whole["redo"], whole["seconds"], whole["bytes"]) == ([], 0, 0)
    assert "nothing was done" in said


@pytest.mark.spark
def test_a_changed_setting_redoes_what_depends_on_it(plan: Any) -> None:
    stages, whole, said = plan("prune.thresholds=[0.999, 0.5]")
    assert whole["redo"] == ["prune", "publish", "estimate", "similarities", "report"]
    assert "prune.thresholds = (0.999, 0.5), was [0.999, 0.97]" in stages["prune"]["why"]
    assert stages["publish"]["why"] == "prune would be done"
    assert whole["pairs"] == 3 * 33 * 32 / 2
    assert "% stay" in said
    assert whole["core_hours"] > 0
    assert "this warehouse's own runs for prune" in said


@pytest.mark.spark
def test_another_model_is_not_known_before_it_is_trained(plan: Any) -> None:
    stages, whole, _ = plan("train.epochs=2")
    assert "train.epochs = 2, was 1" in stages["train"]["why"]
    assert stages["encode"]["why"] == "train would be done"
    assert whole["redo"] == [stage for stage in STAGES if stage != "ingest"]
    assert stages["encode"]["images"] == 99


@pytest.mark.spark
def test_a_new_and_a_lost_file_are_counted(
    plan: Any, spark: SparkSession, survey: Path, undisturbed: Done, tmp_path: Path
) -> None:
    images, warehouse = tmp_path / "images", tmp_path / "warehouse"
    shutil.copytree(survey, images)
    (model,) = (undisturbed[0] / "models").glob("[!.]*")
    given = (*QUICK, "train.sample=100", f"train.model={model}")
    for job in (ingest, train, encode):
        run = Run(spark, settings_for(images, warehouse, *given), "pipeline")
        job.main(run)
        run.close()  # what it did stands in `runs` then, which the plan reads
    Image.fromarray(picture(77).astype(np.uint8)).save(images / "town/new.png")
    (images / "town/000.png").unlink()
    stages, whole, said = plan(*given, images=images, warehouse=warehouse)
    assert stages["ingest"]["why"] == "1 new, 1 vanished files"
    assert stages["ingest"]["images"] == 1
    assert stages["train"]["why"] == "up to date"
    assert (stages["encode"]["images"], stages["encode"]["why"]) == (1, "ingest would be done")
    assert whole["redo"] == [stage for stage in STAGES if stage != "train"]
    assert "100 files (1 new, 1 vanished)" in said


@pytest.mark.spark
def test_done_again_with_the_same_outcome_ends_there(plan: Any) -> None:
    stages, whole, _ = plan(more=("--overwrite", "project"))
    assert stages["project"]["why"] == "--overwrite project"
    assert whole["redo"] == ["project"]


@pytest.mark.spark
def test_without_a_warehouse_all_would_be_done_and_none_is_made(plan: Any, tmp_path: Path) -> None:
    """Tiles are counted by the headers: 4 of 72 px at a stride of 8 with a side of 64."""
    where = tmp_path / "here/w"
    where.parent.mkdir()
    stages, whole, _ = plan("ingest.tile=64", "ingest.stride=8", warehouse=where)
    assert not where.exists()
    assert list(stages) == list(STAGES) == whole["redo"]
    assert stages["ingest"]["why"] == "never done here"
    assert stages["ingest"]["images"] == 400  # the broken file is not known to be one
    assert whole["bytes"] > 400 * rates.BYTES["images"]


@pytest.mark.spark
def test_a_single_job(plan: Any, tmp_path: Path) -> None:
    stages, whole, _ = plan("publish.rule=fixed:0.97", job="publish")
    assert whole["redo"] == ["publish"]
    assert "publish.rule = 'fixed:0.97', was 'fixed:0.999'" in stages["publish"]["why"]
    with pytest.raises(MissingError, match=r"spark-submit.sh encode first"):
        plan(job="project", warehouse=tmp_path / "w")
