"""The whole pipeline in Spark on small images: run, run again, and run after changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs.errors import SettingsError
from jobs.runtime.run import Run
from jobs.warehouse import tables
from jobs.warehouse.store import open_store
from tests.support.pictures import save_pictures
from tests.support.session import Runner, settings_for
from tests.support.tables import NOT_COMPARED, STAGES, WRITTEN

pytestmark = [pytest.mark.spark, pytest.mark.whole]


def states(run: Run) -> dict[str, str]:
    rows = run.warehouse.read("runs").where(F.col("run_id") == run.run_id).collect()
    return {row.stage: row.state for row in rows}


def test_every_stage_is_done_and_recorded(finished: Run) -> None:
    assert states(finished) == dict.fromkeys(STAGES, "done")


def test_every_table_has_its_declared_schema(finished: Run) -> None:
    for name in WRITTEN:
        table = tables.TABLES[name]
        found = finished.warehouse.read(name).schema
        assert [c.name for c in found] == [c.name for c in table.schema], name
        assert [c.dataType for c in found] == [c.dataType for c in table.schema], name


def test_images_hold_every_picture(finished: Run, pictures: Path) -> None:
    rows = finished.warehouse.read("images").collect()
    assert {row.image_id for row in rows} == {
        str(path.relative_to(pictures)) for path in pictures.rglob("*.png")
    }
    assert all(len(row.pixels) == 64 * 64 * 3 for row in rows)
    assert all(row.label == row.image_id.split("/")[0] and row.width == 72 for row in rows)


@pytest.fixture(scope="module")
def copied(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished warehouse, to run on; other test processes read the original."""
    folder = tmp_path_factory.mktemp("copied") / "warehouse"
    shutil.copytree(finished.warehouse.root, folder)
    return folder


def test_the_same_command_again_does_nothing(
    finished: Run, copied: Path, run_pipeline: Runner
) -> None:
    again = run_pipeline(Path(finished.settings.images), copied)
    assert states(again) == dict.fromkeys(STAGES, "skipped")
    warehouse = open_store(finished.spark, str(copied))
    for name in sorted(WRITTEN - NOT_COMPARED):
        assert warehouse.version(name) == finished.warehouse.version(name), name


def rows_of(run: Run, table: str) -> list[tuple[object, ...]]:
    """A table's rows in a fixed order, without when and by whom they were made."""
    columns = [c for c in run.warehouse.read(table).columns if c not in ("modified_at", "path")]
    return sorted(
        (tuple(row) for row in run.warehouse.read(table).select(columns).collect()), key=repr
    )


RESULTS = ("images", "latents", "selection", "curated", "splits", "density", "effect", "regression")


@pytest.mark.slow
def test_changes_redo_what_depends_on_them(
    run_pipeline: Runner, pictures: Path, tmp_path: Path
) -> None:
    """A setting changes and changes back; files are added, changed and lost."""
    images, warehouse = tmp_path / "images", tmp_path / "warehouse"
    shutil.copytree(pictures, images)
    first = run_pipeline(images, warehouse)
    stored = {table: rows_of(first, table) for table in RESULTS}

    changed = run_pipeline(images, warehouse, "prune.thresholds=[0.97]")
    assert states(changed) == {
        **dict.fromkeys(("ingest", "train", "encode", "project"), "skipped"),
        **dict.fromkeys(("prune", "publish", "estimate", "similarities", "report"), "done"),
    }
    back = run_pipeline(images, warehouse)
    assert states(back)["prune"] == "done"
    assert {table: rows_of(back, table) for table in RESULTS} == stored

    save_pictures(tmp_path / "more", ("field",), each=3)
    shutil.move(tmp_path / "more/field/001.png", images / "field/100.png")
    (images / "town/005.png").unlink()
    shutil.copy(images / "town/001.png", images / "town/002.png")
    more = run_pipeline(images, warehouse)
    assert states(more)["train"] == "skipped"
    assert states(more)["encode"] == "done"
    rejects = more.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("town/005.png", "vanished")]
    model = more.warehouse.read("latents").first()
    assert model is not None
    weights = warehouse / "models" / model.model_id
    fresh = run_pipeline(images, tmp_path / "fresh", f"train.model={weights}")
    for table in RESULTS:
        assert rows_of(more, table) == rows_of(fresh, table), table


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("publish.rule=fixed:0.5", r"not among the computed rules \(fixed:0.999"),
        ('prune.order=["lost"]', "has no column lost"),
    ],
)
def test_a_rule_or_column_that_does_not_exist_is_refused(
    run_pipeline: Runner, pictures: Path, copied: Path, wrong: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run_pipeline(pictures, copied, wrong)


def test_one_message_holds_all_mistakes_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_for(tmp_path, tmp_path, "prune.thresholds=[1.5]", "ingest.tyle=64", "trane.seed=1")
    message = str(caught.value)
    assert "is no cosine" in message
    assert "did you mean tile" in message
    assert "did you mean train" in message
