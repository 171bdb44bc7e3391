"""What `make package` writes runs from another folder, with its own Python on the executors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import polars as pl
import pytest

from deploy.app_zip import write_zip
from deploy.package import write_package
from deploy.pins import pinned, runtime_distributions
from tests.support.commands import SMALL, command_line
from tests.support.folders import ROOT
from tests.support.standalone import StartCluster

# An archive with them takes gigabytes. `ingest` needs none of them.
LARGE = ("torch", "numba", "scipy", "matplotlib", "deltalake")


def test_the_zip_has_the_code_and_what_it_reads(tmp_path: Path) -> None:
    write_zip(tmp_path / "app.zip")
    names = set(zipfile.ZipFile(tmp_path / "app.zip").namelist())
    files = {
        str(path.relative_to(ROOT))
        for folder in ("jobs", "udfs")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files


def test_the_pins_are_exact_and_of_the_runtime_alone() -> None:
    distributions = runtime_distributions()
    lines = pinned(distributions).splitlines()[1:]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in lines), lines
    names = {line.partition("==")[0] for line in lines}
    assert {"pyspark", "torch", "pandas", "py4j", "tzdata", "pillow"} <= names
    assert not names & {"pytest", "ruff", "mypy", "polars", "hypothesis"}
    assert f"pyspark=={metadata.version('pyspark')}" in lines
    assert "torch" not in runtime_distributions(["torch"])
    assert "numpy" in runtime_distributions(["torch"])


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.spark
def test_a_package_runs_elsewhere_with_the_environment_that_it_ships(
    standalone: StartCluster, survey: Path, tmp_path: Path
) -> None:
    """The executors decode with the archive's Python; the worker's own has no packages."""
    package, elsewhere = tmp_path / "made here", tmp_path / "else where"
    write_package(package, environment=True, leave_out=LARGE)
    package.rename(elsewhere)
    archive = elsewhere / "environment.tar.gz"
    with tarfile.open(archive) as content:
        assert not any(name.startswith(("/", "..")) for name in content.getnames())
    cluster = standalone()
    _, environment = command_line("ingest")
    warehouse = tmp_path / "warehouse"
    submit = (
        *SMALL,
        *cluster.submit,
        f"--archives={archive.as_uri()}#environment",
        "--conf=spark.pyspark.python=./environment/bin/python",
    )
    done = subprocess.run(
        [
            str(elsewhere / "spark-submit.sh"),
            "ingest",
            *("--images", str(survey), "--warehouse", str(warehouse), "--", *submit),
        ],
        cwd=tmp_path,
        env=environment | cluster.environment | {"PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert pl.read_delta(str(warehouse / "images")).height > 50
    unpacked = list((tmp_path / "cluster/work0").glob("app-*/*/environment/bin/python"))
    assert unpacked, "the executor did not get the archive"
    assert not list(elsewhere.glob("build"))


def test_the_interpreter_of_the_archive_can_be_moved(tmp_path: Path) -> None:
    """It imports its own packages, and none of the environment that packed it."""
    write_package(tmp_path / "package", environment=True, leave_out=(*LARGE, "pandas", "pyarrow"))
    with tarfile.open(tmp_path / "package/environment.tar.gz") as content:
        content.extractall(tmp_path / "an other", filter="tar")
    shutil.rmtree(tmp_path / "package")
    program = "import sys, numpy, PIL.Image, ssl; print(sys.prefix, numpy.__file__)"
    answer = subprocess.run(
        [str(tmp_path / "an other/bin/python"), "-c", program],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count(str(tmp_path / "an other")) == 2
