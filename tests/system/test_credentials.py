"""No credential that a command was given stands in what it prints, records or logs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import polars as pl
import pytest
from pyspark.sql import SparkSession

from jobs.acquisition.sources import recorded_root
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.spark_store import SparkStore
from tests.support.commands import LOCAL, flags, run_command
from tests.support.session import PAPER

PASSWORD, SIGNATURE, KEY, ADDED = "Qx71zJ/pass+1", "Qx72zJsignature", "Qx73zJkey", "Qx74zJset"
SECRETS = (PASSWORD, SIGNATURE, KEY, ADDED)
OTHER = f"s3a://AKIAQX:{PASSWORD}@bucket/warehouse?sig={SIGNATURE}"


def run(
    job: str, images: Path | str, warehouse: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return run_command(
        job,
        *("--images", str(images), "--warehouse", str(warehouse), *arguments),
        cwd=warehouse.parent,
        submit=(*LOCAL, f"--conf=spark.hadoop.fs.s3a.secret.key={KEY}"),
    )


def assert_silent(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, text


def assert_no_file_has_them(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, path


@pytest.mark.whole
@pytest.mark.spark
def test_runs_record_and_print_no_credential(survey: Path, tmp_path: Path) -> None:
    """A run that succeeds, one that fails in Hadoop, and what they leave in the warehouse."""
    warehouse = tmp_path / "warehouse"
    settings = flags(*PAPER, f"leaks.warehouse={OTHER}", "prune.thresholds=[0.99]")
    answers = []
    for job, code, *more in (
        ("ingest", 0, "--verbose"),
        ("ingest", 0, "--dry-run"),
        ("leaks", 1, "--dry-run", "--verbose"),
        ("leaks", 1, "--verbose", "--log-format", "json"),
    ):
        answer = run(job, survey, warehouse, *settings, *more)
        assert answer.returncode == code, answer.stdout + answer.stderr
        assert_silent(answer.stdout + answer.stderr)
        answers.append(answer)
    (entry,) = map(json.loads, answers[-1].stdout.splitlines())
    assert "Traceback" in entry["stack"]
    assert_no_file_has_them(warehouse)
    rows = pl.read_delta(str(warehouse / "runs")).to_dicts()
    recorded = {json.loads(row["settings"])["leaks"]["warehouse"] for row in rows}
    assert recorded == {"s3a://***@bucket/warehouse?sig=***"}


@pytest.mark.spark
def test_a_commit_holds_no_credential(spark: SparkSession, tmp_path: Path) -> None:
    """Nor does a new password make a new source of the same folder."""
    commit = CommitInfo("run", "ingest", "mark", {"root": OTHER})
    for kind in (LocalStore, SparkStore):
        store = kind(spark, str(tmp_path / kind.__name__))
        store.write(tables.rows("rejects", []), "rejects", commit)
        assert_no_file_has_them(tmp_path / kind.__name__)
        newest = kind(spark, store.root).newest("rejects")
        assert newest is not None
        assert newest.metadata["root"] == recorded_root(OTHER.replace(PASSWORD, "another"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", f"s3.secret_key={ADDED}"), "s3.secret_key=***"),
        (("--set", f"ingest.password={ADDED}"), "ingest.password: *** is no such key"),
        ((f"--password={ADDED}",), "--password=***"),
    ],
)
def test_wrong_usage_repeats_no_credential(
    arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    answer = run("ingest", tmp_path, tmp_path / "warehouse", *arguments)
    assert answer.returncode == 2
    assert_silent(answer.stdout + answer.stderr)
    assert expected in answer.stdout + answer.stderr


@pytest.mark.spark
def test_an_error_of_hadoop_repeats_no_credential(tmp_path: Path) -> None:
    """The file system is not there: Hadoop's message names the URI."""
    source = ("--set", "ingest.source=parquet", "--verbose")
    answer = run("ingest", OTHER, tmp_path / "warehouse", *source)
    assert answer.returncode == 1
    assert_silent(answer.stdout + answer.stderr)
    assert "s3a://***@bucket/warehouse" in answer.stdout


@pytest.mark.spark
def test_a_key_of_the_configuration_is_hidden_wherever_it_stands(tmp_path: Path) -> None:
    """Even as the name of a folder: nothing around it says that it is a key."""
    answer = run("ingest", tmp_path / KEY, tmp_path / "warehouse")
    assert answer.returncode == 1
    assert_silent(answer.stdout + answer.stderr)
    assert f"--images {tmp_path}/***: No such file" in answer.stdout
