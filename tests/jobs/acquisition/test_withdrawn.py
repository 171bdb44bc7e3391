"""Images that others take out of `images` or `latents` stay out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.errors import JobError
from jobs.runtime.run import Run
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import FORCED
from tests.support.hostile_files import write
from tests.support.pictures import encoded, picture
from tests.support.session import settings_for

pytestmark = pytest.mark.spark

NAMES = ("cat/1.png", "cat/2.png", "dog/3.png")
OUT = NAMES[1]
Ingest = Callable[..., Run]


@pytest.fixture(params=["local", pytest.param("spark", marks=pytest.mark.whole)])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(FORCED, request.param)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in range(len(NAMES))]
    return write(tmp_path / "images", dict(zip(NAMES, data, strict=True)))


def ids(run: Run, table: str = "images") -> list[str]:
    return sorted(row.image_id for row in run.warehouse.read(table).collect())


def codes(run: Run) -> dict[str, str]:
    rows = run.warehouse.query("rejects")
    return {row["image_id"]: row["error_code"] for row in rows}


def delete(run: Run, table: str, *names: str) -> None:
    listed = ", ".join(f"'{name}'" for name in names)
    DeltaTable(Path(run.warehouse.path(table)).as_uri()).delete(f"image_id IN ({listed})")


def write_latents(run: Run, *more: str) -> None:
    """A latent for each image, and for some that are no longer there."""
    names = [*ids(run), *more]
    rows = [(name, "a", None, "s", "m", "here", [1.0]) for name in names]
    commit = CommitInfo("run", "encode", "mark")
    run.warehouse.write(tables.rows("latents", rows), "latents", commit)


def output_id(run: Run) -> str:
    commit = run.warehouse.newest("images", "ingest")
    assert commit is not None
    return commit.output_id


@pytest.mark.usefixtures("kind")
def test_a_deleted_image_stays_out(run_ingest: Ingest, root: Path, spark: SparkSession) -> None:
    first = run_ingest(root)
    delete(first, "images", OUT)
    run = run_ingest(root)
    rest = sorted({*NAMES} - {OUT})
    assert (ids(run), codes(run)) == (rest, {OUT: "withdrawn"})
    assert output_id(run) != output_id(first)
    (row,) = run.warehouse.query("rejects")
    assert row["path"].endswith(OUT)
    assert "took it out of the table images" in row["error_message"]
    # It is not read again: not with another file beside it, another content, other settings, or
    # --overwrite, and not when its file is gone for a while.
    write(root, {"dog/4.png": encoded(Image.fromarray(picture(9)), "PNG")})
    write(root, {OUT: encoded(Image.fromarray(picture(10)), "PNG")})
    assert ids(run_ingest(root)) == [*rest, "dog/4.png"]
    assert ids(run_ingest(root, "ingest.max_pixels=1000000")) == [*rest, "dog/4.png"]
    settings = settings_for(
        root, Path(first.warehouse.root), overwrite=("ingest",), stages=("ingest",)
    )
    again = Run(spark, settings, "ingest")
    again.execute(ingest.STAGE)
    assert (ids(again), codes(again)) == ([*rest, "dog/4.png"], {OUT: "withdrawn"})
    assert run_ingest(root, "ingest.max_pixels=1000000").warehouse.version("images") > 0
    # Whoever deletes its reject lets it in again.
    delete(again, "rejects", OUT)
    assert ids(run_ingest(root)) == sorted([*NAMES, "dog/4.png"])


@pytest.mark.usefixtures("kind")
def test_an_image_whose_latent_is_deleted_leaves(run_ingest: Ingest, root: Path) -> None:
    run = run_ingest(root)
    names = ("image_id", "label", "split", "sha256")
    latents = (
        run.warehouse.read("images")
        .select(*names)
        .selectExpr("*", "'m' AS model_id", "'here' AS encoded_on", "array(float(1)) AS latent")
    )
    run.warehouse.write(latents, "latents", CommitInfo("run", "encode", "mark"))
    settled = run_ingest(root)
    delete(run, "latents", OUT)
    run = run_ingest(root)
    assert (ids(run), codes(run)) == (sorted({*NAMES} - {OUT}), {OUT: "withdrawn"})
    assert output_id(run) != output_id(settled)
    version = run.warehouse.version("images")
    assert run_ingest(root).warehouse.version("images") == version, "there was nothing to do"


def test_a_vacuum_right_after_the_deletion_hides_nothing(run_ingest: Ingest, root: Path) -> None:
    """Old versions are gone; what was made of `images` still tells. Without it, the run stops."""
    run = run_ingest(root)
    table = DeltaTable(Path(run.warehouse.path("images")).as_uri())
    table.delete(f"image_id = '{OUT}'")
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(JobError, match="which images they took out cannot be told any more"):
        run_ingest(root)
    names = ("image_id", "label", "split", "sha256")
    latents = (
        run.warehouse.read("images")
        .select(*names)
        .selectExpr("*", "'m' AS model_id", "'here' AS encoded_on", "array(float(1)) AS latent")
    )
    out = (
        latents.limit(1)
        .withColumnsRenamed({})
        .selectExpr(f"'{OUT}' AS image_id", "* EXCEPT(image_id)")
    )
    run.warehouse.write(latents.unionByName(out), "latents", CommitInfo("run", "encode", "mark"))
    assert codes(run_ingest(root)) == {OUT: "withdrawn"}


def test_what_others_add_change_or_restore_withdraws_nothing(
    run_ingest: Ingest, root: Path
) -> None:
    first = run_ingest(root)
    folder = Path(first.warehouse.path("images")).as_uri()
    DeltaTable(folder).update(predicate=f"image_id = '{OUT}'", updates={"split": "'changed'"})
    changed = run_ingest(root)
    assert (ids(changed), codes(changed)) == ([*NAMES], {})
    assert output_id(changed) != output_id(first), "whoever reads it must see the change"
    assert changed.warehouse.count("images", "split = 'changed'") == 1
    delete(changed, "images", OUT)
    DeltaTable(folder).restore(0)
    restored = run_ingest(root)
    assert (ids(restored), codes(restored)) == ([*NAMES], {})


def test_what_is_restored_of_an_earlier_state_of_a_table_is_read_anew(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    """Its rows have the ids of the rows of now, and nothing else that tells them apart."""
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    (tmp_path / "table").mkdir()
    levels = []
    for seed in (1, 2):
        data = encoded(Image.fromarray(picture(seed)), "PNG")
        rows = {"id": ["one"], "label": ["cat"], "image": [data]}
        pq.write_table(pa.table(rows), tmp_path / "table/a.parquet")
        os.utime(tmp_path / "table/a.parquet", (seed, seed))  # whatever the clock says
        run = run_ingest(tmp_path / "table", *flags)
        levels.append(run.warehouse.query("images")[0]["pixels"])
    assert levels[0] != levels[1]
    DeltaTable(Path(run.warehouse.path("images")).as_uri()).restore(0)
    again = run_ingest(tmp_path / "table", *flags, "ingest.max_seconds=50")
    assert [row["pixels"] for row in again.warehouse.query("images")] == [levels[1]]


def test_a_withdrawn_image_that_is_put_back_may_stay(run_ingest: Ingest, root: Path) -> None:
    first = run_ingest(root)
    delete(first, "images", OUT)
    assert codes(run_ingest(root)) == {OUT: "withdrawn"}
    DeltaTable(Path(first.warehouse.path("images")).as_uri()).restore(0)
    run = run_ingest(root)
    assert (ids(run), codes(run)) == ([*NAMES], {})


@pytest.mark.whole
def test_tiles_are_withdrawn_one_by_one(run_ingest: Ingest, tmp_path: Path) -> None:
    data = [encoded(Image.fromarray(picture(seed, 128)), "PNG") for seed in (1, 2)]
    root = write(tmp_path / "images", {"a/1.png": data[0], "a/2.png": data[1]})
    flags = ("ingest.tile=64", "ingest.stride=64")
    run = run_ingest(root, *flags)
    every = ids(run)
    assert len(every) == 8
    out = [name for name in every if name.startswith("a/2.png")]
    delete(run, "images", "a/1.png#0,0", *out)
    rest = [name for name in every if name.startswith("a/1.png") and name != "a/1.png#0,0"]
    assert ids(run_ingest(root, *flags)) == rest
    again = run_ingest(root, *flags, "ingest.max_pixels=1000000")
    assert ids(again) == rest
    assert set(codes(again).values()) == {"withdrawn"}
