"""The stage: who asks for it, what it reads, and what a dry run says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from jobs import pipeline
from jobs.dry_run.plan import Plan
from jobs.duplicates import export, publish
from jobs.errors import SettingsError
from jobs.runtime.run import Run
from tests.support.exports import Published, hashes, index, samples
from tests.support.session import settings_for

pytestmark = pytest.mark.spark


def test_the_stage_is_for_those_who_ask(own: Published) -> None:
    with pytest.raises(SettingsError, match=r"export: set publish\.export: webdataset, imagefo"):
        own.export()
    assert not (own.warehouse / "export").exists()
    own.export("publish.export=['webdataset', 'imagefolder']")
    own.export("publish.export=['webdataset', 'imagefolder']")
    assert own.states() == ["done", "skipped"]
    folder = own.warehouse / "export"
    assert sorted(path.name for path in folder.iterdir()) == ["imagefolder", "webdataset"]
    # One of them alone is up to date by itself only if it was made by the same settings.
    shutil.rmtree(folder / "imagefolder")
    own.export("publish.export=['webdataset', 'imagefolder']")
    assert own.states()[-1] == "done"
    assert (folder / "imagefolder/index.json").exists()


def test_what_a_real_pipeline_published_is_exported_by_its_splits(
    finished: Run, tmp_path: Path
) -> None:
    """Images of `curated` alone, with their weights; the splits are those of `splits`."""
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    settings = settings_for(
        Path(finished.settings.images), tmp_path / "w", "publish.export=webdataset"
    )
    run = Run(finished.spark, settings, "export", pipeline.STAGES)
    plan = Plan(run)
    for stage in (publish.STAGE, export.STAGE):
        plan.add(stage)
    assert [(step.stage, step.would_run) for step in plan.steps][1] == ("export", True)
    run.execute(export.STAGE)
    run.close()
    curated = pl.read_delta(str(tmp_path / "w/curated"))
    splits = dict(pl.read_delta(str(tmp_path / "w/splits")).select("image_id", "split").rows())
    folder = tmp_path / "w/export/webdataset"
    told = {
        sample.told["image_id"]: sample.told
        for name in hashes(folder)
        for sample in samples(folder / name).values()
    }
    assert told.keys() == set(curated["image_id"])
    assert {name: of["split"] for name, of in told.items()} == {name: splits[name] for name in told}
    for name, size, weight in curated.select("image_id", "group_size", "weight").rows():
        assert (told[name]["group_size"], told[name]["weight"]) == (size, weight)
    provenance = index(folder)
    assert provenance["rule"] == "fixed:0.97"
    assert provenance["curated"] == run.warehouse.version("curated")
    plan = Plan(Run(finished.spark, settings, "export", pipeline.STAGES))
    plan.add(export.STAGE)
    assert [(step.stage, step.would_run) for step in plan.steps] == [("export", False)]
