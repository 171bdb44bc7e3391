"""The registry of stages: what follows from it is whole, and it agrees with the tables."""

from __future__ import annotations

import ast
import importlib
import inspect
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.errors import JobError, SettingsError
from jobs.main import JOBS
from jobs.runtime.console import STAGE_WIDTH
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage, hashed
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.commits import fingerprint
from tests.support.session import settings_for

ROOT = Path(pipeline.__file__).parent
MODULES = {stage.name: inspect.getmodule(stage.main) for stage in pipeline.STAGES}
BY_NAME = {stage.name: stage for stage in pipeline.STAGES}


def test_each_name_occurs_once_and_is_that_of_its_file() -> None:
    assert len(BY_NAME) == len(pipeline.STAGES)
    for name, module in MODULES.items():
        assert module is not None
        assert module.__name__.endswith(f".{name}")
        assert module.STAGE is BY_NAME[name]


def test_every_file_that_declares_a_stage_is_in_the_registry() -> None:
    declared = {
        path.stem
        for path in ROOT.glob("*/*.py")
        if "\nSTAGE = Stage(\n" in path.read_text(encoding="utf-8")
    }
    assert declared == set(BY_NAME)
    assert ("sample", *BY_NAME, "pipeline", "maintain") == JOBS


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("name", BY_NAME)
def test_stages_meet_in_tables_none_imports_another(name: str) -> None:
    module = MODULES[name]
    assert module is not None
    assert module.__file__ is not None
    others = {other.__name__ for other in MODULES.values() if other and other is not module}
    assert not imported(Path(module.__file__)) & others


def test_every_table_names_the_stages_that_write_it() -> None:
    work_tables = {"placed", "rounds"}
    optional = {  # some only where they are asked for, or there
        "publish": ("curated", "splits", "changes"),
        "prune": ("alignments", "selection", "thresholds", "audit"),
    }
    written: dict[str, list[str]] = {}
    for stage in pipeline.STAGES:
        fixed = () if callable(stage.writes) else stage.writes
        for table in optional.get(stage.name, fixed):
            written.setdefault(table, []).append(stage.name)
    for name, declared in tables.TABLES.items():
        if name not in work_tables | {"runs"}:
            assert tuple(written[name]) == declared.stages, name
    assert written.keys() == tables.TABLES.keys() - work_tables - {"runs"}


def test_stages_that_a_pipeline_skips_say_how_to_ask_for_them() -> None:
    """What they name as an example is taken by the settings, and makes them part of a pipeline."""
    usual = build({}, images="x")
    skipped = [stage for stage in pipeline.STAGES if not stage.enabled(usual)]
    assert [stage.name for stage in skipped] == [
        "modes",
        "whiten",
        "leaks",
        "conflicts",
        "anomalies",
        "generate",
        "export",
        "calibrate",
    ]
    for stage in skipped:
        assert stage.message_if_disabled
        flag = stage.example_flags.removeprefix("--set ").strip("'")
        if stage.name != "calibrate":  # whose file of labels must be there
            assert stage.enabled(build({}, (flag,), images="x")), stage.name


def test_a_pipeline_does_not_calibrate_even_where_labels_are_named(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("pair_id,same\n")
    settings = build({}, (f"calibrate.labels={labels}",), images="x")
    assert BY_NAME["calibrate"].enabled(settings)
    assert "calibrate" not in [stage.name for stage in pipeline.stages_of(settings)]


def test_the_modules_that_take_long_can_be_imported_ahead() -> None:
    for stage in pipeline.STAGES:
        for module in stage.imports:
            importlib.import_module(module)


def test_names_fit_the_console() -> None:
    assert max(len(stage.name) for stage in pipeline.STAGES) <= STAGE_WIDTH


def test_a_stage_gives_its_outputs_by_name_or_by_function() -> None:
    assert Stage("a", lambda _: None, writes=("b",)).outputs(None) == ("b",)  # type: ignore[arg-type]
    assert Stage("a", lambda _: None, writes=lambda _: ("c",)).outputs(None) == ("c",)  # type: ignore[arg-type]


@pytest.mark.spark
def test_the_hashed_form_of_named_values_is_that_of_earlier_versions(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Else the outputs in existing warehouses would count as out of date."""
    flags = (
        "prune.mode=append",
        "leaks.remove=true",
        'leaks.split=["test"]',
        'publish.split=["a:0.5", "b:0.5"]',
        "prune.thresholds=[0.9]",
        "publish.seed=3",
        "train.model=trained",
    )
    run = Run(spark, build({}, flags, images="x", warehouse=str(tmp_path / "w")), "pipeline")
    forms = {
        "whiten": {"append": True, "axes": 256},
        "project": {"basis": "before", "step": "scott", "components": 3},
        "estimate": {"control": [100, 0]},
        "leaks": [[[["fixed:0.9", 0.9]], ["test"], "", "all", "whitened"], None],
        "similarities": {
            "spaces": [["whitened"], "whitened"],
            "images": [0, []],
            "pairs": [200, 0],
        },
    }
    for name, form in forms.items():
        assert fingerprint(hashed(BY_NAME[name].depends(run))) == fingerprint(form), name
    assert hashed(BY_NAME["prune"].depends(run))["leaks"] == [("test",), "", "all"]
    assert hashed(BY_NAME["publish"].depends(run))["split"] == ["a:0.5", "b:0.5", 3]
    train = hashed(BY_NAME["train"].depends(run))
    assert (train["decoding"], train["given"]) == ({"tiling": None, "max_pixels": 89478485}, "")


@pytest.mark.spark
def test_settings_that_do_not_fit_the_images_are_told_before_training(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    """All in one message: a split and a class that there are not, and a mistyped column."""
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    settings = settings_for(
        Path(finished.settings.images),
        tmp_path / "w",
        'leaks.split=["test"]',
        "generate.count=2",
        'generate.labels=["feild", "town"]',
        "prune.protect=spilt = 'test'",
        "train.epochs=3",  # which would be a training
    )
    run = Run(spark, settings, "pipeline", pipeline.STAGES)
    with pytest.raises(SettingsError) as told:
        pipeline.main(run)
    run.close()
    leaks, generate, protect = str(told.value).splitlines()
    assert "leaks.split = ['test']: no image of the table images is of these; it has none" in leaks
    assert generate == "generate.labels: the table images has no class feild; it has field, town"
    assert "prune.protect = \"spilt = 'test'\": no SQL predicate on images" in protect
    assert list(run.seconds) == ["ingest"]


@pytest.mark.spark
@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("report.truth={}/truth.csv", "cannot be read as a CSV with the columns image_id, copy_of"),
        ("leaks.warehouse={}/other", "has no table latents; name the folder of a warehouse"),
    ],
)
def test_files_that_settings_name_are_looked_at_before_anything_else(
    spark: SparkSession, tmp_path: Path, flag: str, told: str
) -> None:
    (tmp_path / "truth.csv").write_text("name,copy\n1,2\n")
    settings = settings_for(tmp_path / "nothing", tmp_path / "w", flag.format(tmp_path))
    run = Run(spark, settings, "pipeline", pipeline.STAGES)
    with pytest.raises((JobError, SettingsError), match=told):
        pipeline.main(run)
    run.close()
    assert run.seconds == {}
