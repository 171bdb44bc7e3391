"""A cluster is entered with its secret alone, and a command says so before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.standalone import StartCluster

ASKED = ("--images", "x", "--warehouse", "w")


@pytest.mark.parametrize(
    ("submit", "needs_one"),
    [
        (("--master=spark://host:7077",), True),
        (("--master", "spark://host:7077"), True),
        (("--conf", "spark.master=spark://host:7077"), True),
        (("--master=local-cluster[2,1,1024]",), True),
        (("--master=local[2]",), False),
        (("--master=spark://127.0.0.1:1", "--conf=spark.authenticate=false"), False),
        (("--master=spark://127.0.0.1:1", "--conf", "spark.authenticate.secret=given"), False),
        (("--master", "yarn"), False),
        (("--master=k8s://https://host:6443",), False),
    ],
)
def test_a_master_that_makes_no_secret_needs_one(
    submit: tuple[str, ...], needs_one: bool, tmp_path: Path
) -> None:
    """What needs none gets further: to the next question, which is where Delta's jars are."""
    answer = run_command(
        "ingest", *ASKED, cwd=tmp_path, submit=submit, PROFILE="cluster", DELTA_JARS="nowhere"
    )
    assert answer.returncode == 2
    assert ("needs a secret" in answer.stderr) == needs_one
    assert ("export LATENT_DEDUP_SECRET_FILE" in answer.stderr) == needs_one
    assert ("DELTA_JARS=nowhere" in answer.stderr) != needs_one


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.spark
def test_a_standalone_cluster_takes_work_from_those_alone_who_have_its_secret(
    standalone: StartCluster, survey: Path, tmp_path: Path
) -> None:
    cluster = standalone()
    given = ("--images", str(survey), "--warehouse", str(tmp_path / "w"))
    done = run_command("ingest", *given, cwd=tmp_path, submit=cluster.submit, **cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    secret = Path(cluster.environment["LATENT_DEDUP_SECRET_FILE"])
    assert secret.read_text().strip() not in done.stdout + done.stderr
    wrong = tmp_path / "wrong"
    wrong.write_text("another secret of someone else")
    refused = run_command(
        "ingest",
        *given,
        "--overwrite",
        "ingest",
        cwd=tmp_path,
        submit=cluster.submit,
        **(cluster.environment | {"LATENT_DEDUP_SECRET_FILE": str(wrong)}),
    )
    assert refused.returncode == 1, refused.stdout + refused.stderr
