"""A standalone cluster whose worker does not see what the driver sees: one message, no stack."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import LOCAL, flags, run_command
from tests.support.session import PAPER
from tests.support.standalone import Cluster, StartCluster, can_hide_folders

pytestmark = [
    pytest.mark.whole,
    pytest.mark.long,
    pytest.mark.skipif(not can_hide_folders(), reason="no mounts of one's own (unshare -m) here"),
]

NOT_SHARED = "the executors and the driver do not share the folder"


def run(
    job: str, images: Path, warehouse: Path, cluster: Cluster | None, *settings: str
) -> subprocess.CompletedProcess[str]:
    return run_command(
        job,
        *("--images", str(images), "--warehouse", str(warehouse), *flags(*PAPER, *settings)),
        cwd=warehouse.parent,
        submit=cluster.submit if cluster else LOCAL,
        **(cluster.environment if cluster else {}),
    )


def assert_one_message(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if " failed: " in line]
    assert len(failed) == 1, done.stdout
    for word in (NOT_SHARED, *words):
        assert word in failed[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert "\tat " not in done.stdout + done.stderr


def commits(warehouse: Path) -> set[str]:
    return {path.parents[1].name for path in warehouse.glob("*/_delta_log/*.json")}


@pytest.fixture
def images(survey: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(survey, tmp_path / "images"))


def test_a_warehouse_that_the_worker_does_not_see_is_not_written(
    standalone: StartCluster, images: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    cluster = standalone(hidden=[warehouse])
    done = run("ingest", images, warehouse, cluster)
    assert_one_message(done, str(warehouse / "images"))
    assert commits(warehouse) == {"runs"}
    assert not list(warehouse.glob("images/*"))


def test_files_that_the_worker_writes_elsewhere_are_not_committed(
    standalone: StartCluster, images: Path, tmp_path: Path
) -> None:
    """The table's folder is there on both sides, as after an earlier try, but is not the same.

    Once tasks write with Arrow, and once Spark writes, because a table has a column of its own.
    """
    files, own = tmp_path / "warehouse", tmp_path / "own"
    for warehouse in (files, own):
        (warehouse / "images").mkdir(parents=True)
    table = tmp_path / "images.parquet"
    pictures = sorted(images.glob("*/*"))[:8]
    rows = [{"label": p.parent.name, "image": p.read_bytes(), "mine": 7} for p in pictures]
    pl.DataFrame(rows).write_parquet(table)
    cluster = standalone(hidden=[files / "images", own / "images"])
    for source, warehouse, settings in (
        (images, files, ()),
        (table, own, ("ingest.source=parquet",)),
    ):
        done = run("ingest", source, warehouse, cluster, *settings)
        assert_one_message(done, "files that the executors wrote", str(warehouse / "images"))
        assert commits(warehouse) == {"runs"}
        assert not list(warehouse.glob("images/*"))


def test_sources_that_the_worker_does_not_see_are_no_rejects(
    standalone: StartCluster, images: Path, tmp_path: Path
) -> None:
    done = run("ingest", images, tmp_path / "warehouse", standalone(hidden=[images]))
    assert_one_message(done, str(images))
    assert commits(tmp_path / "warehouse") == {"runs"}


def test_tables_that_the_worker_does_not_see_cannot_be_read(
    standalone: StartCluster, images: Path, tmp_path: Path
) -> None:
    """Once read by the tasks themselves (`encode`), once by Spark (`prune`)."""
    warehouse = tmp_path / "warehouse"
    for job in ("ingest", "train", "encode"):
        done = run(job, images, warehouse, None, "train.epochs=1", "train.sample=50")
        assert done.returncode == 0, done.stdout + done.stderr
    before = commits(warehouse)
    cluster = standalone(hidden=[warehouse / "images", warehouse / "latents"])
    for job, table in (("project", "latents"), ("train", "images")):
        done = run(job, images, warehouse, cluster, "train.epochs=2", "train.sample=50")
        assert_one_message(done, str(warehouse / table))
    assert commits(warehouse) == before
