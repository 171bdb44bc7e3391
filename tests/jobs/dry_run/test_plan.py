"""The dry run: what it says would be done, why, and what it would take; it writes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs import main as command
from jobs import pipeline
from jobs.acquisition import ingest
from jobs.autoencoder import encode, train
from jobs.dry_run.plan import Plan, differences
from jobs.errors import MissingError, SettingsError
from jobs.runtime.run import Run
from jobs.runtime.stage import NamedValues, recorded
from tests.support.commands import QUICK, flags
from tests.support.folders import ROOT
from tests.support.pictures import picture
from tests.support.session import settings_for
from tests.support.tables import STAGES

SPLIT_REASON = 'publish.split = ["a:0.5", "b:0.5"], was ["train:0.7", "test:0.3"]'
Done = tuple[Path, subprocess.CompletedProcess[str]]


def test_what_a_stage_depends_on_is_compared_key_by_key() -> None:
    then = json.dumps({"thresholds": ["fixed:0.97"], "decoding": {"tile": 0}, "content": "a"})
    now = {"thresholds": ["fixed:0.9"], "decoding": {"tile": 64}, "content": "b", "new": 1}
    assert list(differences(then, now, "prune")) == [
        'prune.thresholds = ["fixed:0.9"], was ["fixed:0.97"]',
        "prune.decoding.tile = 64, was 0",
        "prune.new = 1, was null",
    ]
    assert list(differences(then, json.loads(then), "prune")) == []
    assert list(differences(None, now, "prune")) == []  # versions before recorded nothing


ORDER = NamedValues({"prune.seed": 1, "prune.order": ["-width"]}, hashed=[1, ["-width"]])


@pytest.mark.parametrize(
    ("before", "reasons"),
    [
        ({"images": {"prune.seed": 1, "prune.order": ["-width"]}}, []),
        ({"images": {"prune.seed": 0, "prune.order": ["-width"]}}, ["prune.seed = 1, was 0"]),
        ({"images": {"seed": 0, "order": ["-width"], "tasks": 3}}, ["prune.seed = 1, was 0"]),
        ({"images": [1, ["-width"]]}, []),
        ({"images": [0, []]}, ['prune.seed, prune.order = [1, ["-width"]], was [0, []]']),
        ({}, ["prune.seed = 1, was null", 'prune.order = ["-width"], was null']),
    ],
)
def test_a_setting_of_another_section_is_named_in_full(before: Any, reasons: list[str]) -> None:
    """Also if a version recorded it that did not name it, or not with its section."""
    assert list(differences(json.dumps(before), {"images": ORDER}, "similarities")) == reasons


def test_stages_whose_whole_depends_is_named_are_compared_as_well() -> None:
    before = json.dumps(recorded(ORDER))
    assert list(differences(before, ORDER, "leaks")) == []
    later = NamedValues({"prune.seed": 2, "prune.order": ["-width"]}, hashed=[2, ["-width"]])
    assert list(differences(before, later, "leaks")) == ["prune.seed = 2, was 1"]
    gone = list(differences(json.dumps({"leaks": {"leaks.split": ["a"]}}), {}, "prune"))
    assert gone == ['leaks.split = null, was ["a"]']


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
        wanted = command.parse(job, [*given, *flags(*QUICK, *settings)])
        current = Run(spark, wanted, job, pipeline.STAGES)
        before = listing(warehouse.parent)
        command.plan(current, job)
        current.close()
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
    assert (whole["redo"], whole["seconds"]) == ([], 0)
    assert "nothing was done" in said


@pytest.mark.spark
def test_a_changed_setting_redoes_what_depends_on_it(plan: Any) -> None:
    stages, whole, said = plan("prune.thresholds=[0.999, 0.5]")
    assert whole["redo"] == ["prune", "publish", "estimate", "similarities", "report"]
    rules = '["fixed:0.999", "fixed:0.5"], was ["fixed:0.999", "fixed:0.97"]'
    assert stages["prune"]["why"] == f"prune.thresholds = {rules}"
    assert stages["publish"]["why"] == "prune would be done"
    assert whole["pairs"] == 3 * 33 * 32 / 2
    assert stages["prune"]["seconds"] > 0
    assert "by earlier runs of this warehouse" in said


@pytest.mark.spark
def test_another_model_is_not_known_before_it_is_trained(plan: Any) -> None:
    stages, whole, _ = plan("train.epochs=2")
    assert "train.epochs = 2, was 1" in stages["train"]["why"]
    assert stages["encode"]["why"] == "train would be done"
    assert whole["redo"] == [stage for stage in STAGES if stage != "ingest"]
    assert stages["encode"]["images"] == 99


@pytest.mark.spark
def test_the_time_of_a_training_is_foretold_where_there_will_be_one(
    plan: Any, undisturbed: Done
) -> None:
    """The earlier run trained; a model that is given is only taken over."""
    stages, _, _ = plan("train.epochs=2")
    assert stages["train"]["seconds"] > 0
    (model,) = (undisturbed[0] / "models").glob("[!.]*")
    stages, _, _ = plan("train.sample=100", f"train.model={model}")
    assert stages["train"]["redo"]
    assert stages["train"].get("seconds") is None


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
        run.execute(job.STAGE)
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
    assert stages["ingest"]["why"] == "never run in this warehouse"
    assert stages["ingest"]["images"] == 400  # the broken file is not known to be one
    assert whole["pairs"] == (2 * 132 * 131 + 136 * 135) / 2, "one class has the broken file"
    _, whole, _ = plan("ingest.tile=64", "ingest.stride=8", "prune.group_by=[]", warehouse=where)
    assert whole["pairs"] == 400 * 399 / 2, "all images are compared with each other"
    assert "seconds" not in stages["ingest"], "it never ran in this warehouse"


@pytest.mark.spark
def test_a_single_job(plan: Any, tmp_path: Path) -> None:
    stages, whole, _ = plan("publish.rule=fixed:0.97", job="publish")
    assert whole["redo"] == ["publish"]
    assert stages["publish"]["why"] == 'publish.rule = "fixed:0.97", was "fixed:0.999"'
    with pytest.raises(MissingError, match=r"spark-submit.sh encode first"):
        plan(job="project", warehouse=tmp_path / "w")


@pytest.mark.spark
def test_what_a_run_would_refuse_at_once_a_dry_run_refuses(plan: Any) -> None:
    for job in ("modes", "leaks", "conflicts", "anomalies", "generate"):
        with pytest.raises(SettingsError, match=f"^{job}: "):
            plan(job=job)
    with pytest.raises(SettingsError, match="no_such_column"):
        plan("prune.order=['no_such_column']")
    with pytest.raises(SettingsError, match="no_such_column"):
        plan("prune.order=no_such_column", more=("--overwrite", "train"))


@pytest.mark.spark
@pytest.mark.parametrize(
    ("setting", "stage", "why"),
    [
        ("train.device=cuda", "train", 'train.device = "cuda", was "auto"'),
        ("calibrate.pairs=100", "similarities", "calibrate.pairs = 100, was 200"),
        ("estimate.control=7", "estimate", "estimate.control = 7, was 100"),
        ("ingest.tile=64", "ingest", "ingest.tile = 64, was 0"),
        ('publish.split=["a:0.5", "b:0.5"]', "publish", SPLIT_REASON),
        ("prune.protect=width > 5", "prune", 'prune.protect = "width > 5", was ""'),
    ],
)
def test_every_setting_that_redoes_a_stage_is_named(
    plan: Any, setting: str, stage: str, why: str
) -> None:
    """Whether or not it lies in the stage's own section."""
    stages, _, _ = plan(setting)
    assert stages[stage]["redo"]
    assert stages[stage]["why"] == why


@pytest.mark.spark
def test_the_name_of_given_vectors_is_named_as_a_reason(
    spark: SparkSession, tmp_path: Path
) -> None:
    table, warehouse = tmp_path / "vectors.parquet", tmp_path / "w"
    vectors = [[float(i), 1.0, 2.0] for i in range(4)]
    rows = pa.table({"id": list("abcd"), "label": ["x"] * 4, "v": pa.array(vectors)})
    pq.write_table(rows, table)
    flags = (
        "ingest.source=parquet",
        "ingest.id_column=id",
        "ingest.vector_column=v",
        "ingest.vector_name=clip",
    )
    for job in (ingest, encode):
        run = Run(spark, settings_for(table, warehouse, *flags), "pipeline", pipeline.STAGES)
        run.execute(job.STAGE)
        run.close()
    renamed = settings_for(table, warehouse, *flags[:-1], "ingest.vector_name=other")
    plan = Plan(Run(spark, renamed, "encode", pipeline.STAGES))
    for job in (ingest, encode):
        plan.add(job.STAGE)
    assert [(step.stage, step.would_run, step.reason) for step in plan.steps] == [
        ("ingest", False, "up to date"),
        ("encode", True, 'ingest.vector_name = "other", was "clip"'),
    ]


@pytest.mark.spark
def test_settings_that_decide_nothing_redo_nothing(plan: Any) -> None:
    _, whole, _ = plan("prune.block=64", "encode.batch=16", "ingest.tasks=3", "prune.window=100")
    assert whole["redo"] == []


@pytest.mark.spark
def test_a_warehouse_of_a_version_that_recorded_less_is_still_planned(
    plan: Any, undisturbed: Done, tmp_path: Path
) -> None:
    """Its table `runs` has no column `depends`: then the reason is not named, but it is redone."""
    warehouse = tmp_path / "w"
    shutil.copytree(undisturbed[0], warehouse)
    runs = str(warehouse / "runs")
    rows = pa.table(
        deltalake.QueryBuilder()
        .register("r", deltalake.DeltaTable(runs))
        .execute("SELECT * FROM r")
        .read_all()
    )
    deltalake.write_deltalake(
        runs, rows.drop_columns(["depends"]), mode="overwrite", schema_mode="overwrite"
    )
    _, whole, _ = plan(warehouse=warehouse)
    assert whole["redo"] == []
    stages, _, _ = plan("prune.thresholds=[0.999, 0.5]", warehouse=warehouse)
    assert stages["prune"]["why"].startswith("its last run did not finish, or this version")
    stages, _, _ = plan("ingest.tile=64", warehouse=warehouse)
    assert stages["ingest"]["images"] == 100, "all files would be decoded, none of them changed"
