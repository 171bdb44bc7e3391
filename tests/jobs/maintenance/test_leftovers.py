"""What killed runs leave is deleted; what a run goes on from, and what is not ours, stays."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import models
from jobs.maintenance import leftovers
from jobs.runtime.console import Console
from jobs.warehouse import tables, unfinished
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import FORCED, Store, open_store

pytestmark = pytest.mark.spark
ROUND = {"group": "a", "round": 1, "last_rank": 3, "rule": "fixed:0.9", "rank": 0, "kept": True}


@pytest.fixture(params=("local", "spark"))
def store(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    monkeypatch.setenv(FORCED, request.param)
    return open_store(spark, str(tmp_path / "w"))


def write(store: Store, table: str, commit: CommitInfo) -> None:
    store.write(tables.rows(table, [ROUND] if table == "rounds" else []), table, commit)


def run_id(days: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%S}-abcdef"


def made_old(store: Store, folder: str, days: float) -> None:
    for path in Path(store.root, folder).rglob("*"):
        os.utime(path, (time.time() - days * leftovers.DAY,) * 2)


def test_work_tables_stay_only_while_a_prune_may_go_on_from_them(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    stopped = CommitInfo(run_id(6), "prune", "unfinished", {"for": "mark"})
    write(store, "rounds", stopped)
    write(store, "selection", CommitInfo(run_id(9), "prune", "another mark"))
    leftovers.delete_work_tables(store, console, dry_run=False)
    assert store.exists("rounds")
    assert "a prune that was stopped goes on from it" in capsys.readouterr().out
    # The prune that they are of has finished.
    write(store, "selection", CommitInfo(run_id(6), "prune", "mark"))
    leftovers.delete_work_tables(store, console, dry_run=True)
    assert store.exists("rounds")
    assert "to delete: work table rounds" in capsys.readouterr().out
    leftovers.delete_work_tables(store, console, dry_run=False)
    assert not store.exists("rounds")
    assert "its prune has finished" in capsys.readouterr().out
    assert store.exists("selection")
    # Nobody went on from them for a week.
    unfinished = CommitInfo(run_id(9), "prune", "unfinished", {"for": "third", "groups": []})
    write(store, "placed", unfinished)
    write(store, "rounds", unfinished)
    made_old(store, "placed", days=8)
    made_old(store, "rounds", days=6)  # it was begun nine days ago, and went on until then
    leftovers.delete_work_tables(store, console, dry_run=False)
    assert store.exists("placed")
    assert store.exists("rounds")
    made_old(store, "rounds", days=7)
    leftovers.delete_work_tables(store, console, dry_run=False)
    assert not store.exists("placed")
    assert not store.exists("rounds")
    assert not Path(store.path("rounds")).exists()


def test_checkpoints_stay_only_while_a_training_may_go_on_from_them(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    console, files = Console(), store.files
    waiting, stored, given_up = (models.checkpoint_name(name * 64) for name in "abc")
    for name in (waiting, stored, given_up, "checkpoints/mine.txt"):
        files.write(name, b"state")
    about = {"fingerprint": "b" * 64, "trained_at": "2026-01-01"}
    files.write(f"models/{'d' * 64}/model.json", json.dumps(about).encode())
    os.utime(Path(store.root, waiting), (time.time() - 6 * leftovers.DAY,) * 2)
    os.utime(Path(store.root, given_up), (time.time() - 7 * leftovers.DAY,) * 2)
    leftovers.delete_checkpoints(store, console, dry_run=True)
    assert len(files.list("checkpoints")) == 4
    leftovers.delete_checkpoints(store, console, dry_run=False)
    assert files.list("checkpoints") == [waiting, "checkpoints/mine.txt"]
    said = capsys.readouterr().out
    assert "deleted: checkpoint bbbbbbbbbbbb, 5 bytes (its model is stored)" in said
    assert "(its training was stopped 7 days ago)" in said
    assert "checkpoint aaaaaaaaaaaa: a training that was stopped goes on from it" in said


def test_files_without_a_table_go_but_not_those_of_others(store: Store) -> None:
    files = store.files
    part = "part-00000-d9b7c24e-0001-4c5a-8d0e-2f9a6a1f0e11.zstd.parquet"
    files.write(f"latents/{part}", b"half")
    files.write(f"images/{part}", b"half")
    files.write("images/cat.png", b"a picture: this folder is somebody's")
    files.write(f"density/_delta_log/{10:020}.checkpoint.parquet", b"a log that lost its commits")
    files.write(f"mine/{part}", b"no table of ours")
    files.write(f"pairs/{part}", b"Parquet of somebody, without a log")
    files.write("pairs/_SUCCESS", b"")
    leftovers.delete_tableless(store, Console(quiet=True), dry_run=False)
    assert files.exists("latents")  # its writer may be about to commit
    made_old(store, "", days=2)
    leftovers.delete_tableless(store, Console(quiet=True), dry_run=True)
    assert files.exists("latents")
    leftovers.delete_tableless(store, Console(quiet=True), dry_run=False)
    assert files.entries() == ["density", "images", "mine", "pairs"]
    assert len(files.infos("images")) == 2


def test_temporary_files_go_but_no_other_hidden_ones(store: Store) -> None:
    files, root = store.files, Path(store.root)
    write(store, "selection", CommitInfo("run", "prune", "mark"))
    stay = (
        ".lock",
        ".git/HEAD",
        ".hidden",
        ".backup.20240101/all",
        ".git.old/HEAD",
        "report/report.html",
        f"models/{'a' * 64}/model.json",
        "mine/.report.html.4711",
        "selection/_delta_log/.00000000000000000007.json.9.tmp",  # somebody may be writing it
    )
    go = (
        ".generated_images.new/cat/001.png",
        ".generated_images.old/cat/001.png",
        "report/.report.html.4711",
        f"models/{'a' * 64}/.weights.safetensors.12",
        f"checkpoints/.{'a' * 64}.safetensors.12",
        f"models/.{'b' * 64}.deleted/model.json",
        "selection/_delta_log/.00000000000000000008.json.9.tmp",
        "selection/_delta_log/_commit_9e9c.json.tmp",
        "selection/.part-00000-gone.parquet.crc",
    )
    for name in (*stay, *go):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
        if name.startswith("selection") and name in go:
            os.utime(root / name, (time.time() - 90_000,) * 2)
    old = [
        name for name in go if not (name.endswith(".crc") and type(files).__name__ != "LocalFiles")
    ]
    planned = leftovers.temporary(store)
    assert len(planned) == len(old)
    before = {file.name for file in files.infos("")}
    leftovers.delete_temporary(store, Console(quiet=True), dry_run=True)
    assert {file.name for file in files.infos("")} == before
    leftovers.delete_temporary(store, Console(quiet=True), dry_run=False)
    assert all((root / name).exists() for name in stay)
    assert not any((root / name).exists() for name in old)
    assert leftovers.temporary(store) == []
    assert store.exists("selection")


def test_notes_of_a_stopped_run_stay_for_a_week(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    unfinished.begin(Path(store.root), "images", "key", -1, "{}", False)
    leftovers.delete_notes(store, console, dry_run=False)
    made_old(store, unfinished.FOLDER, 8)
    leftovers.delete_notes(store, console, dry_run=True)
    assert store.files.infos(unfinished.FOLDER)
    assert "to delete: what a stopped run had completed of images" in capsys.readouterr().out
    leftovers.delete_notes(store, console, dry_run=False)
    assert not store.files.infos(unfinished.FOLDER)
