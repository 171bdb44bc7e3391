"""Broken installations and surroundings: the script says what is wrong, or does without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.commands import COMMAND_SECONDS, command_line
from tests.support.folders import ROOT
from tests.support.standalone import can_hide_folders


def script(
    *words: str, script: Path = ROOT / "spark-submit.sh", wrap: tuple[str, ...] = (), **more: str
) -> subprocess.CompletedProcess[str]:
    _, base = command_line("sample")
    return subprocess.run(
        [*wrap, str(script), *words],
        env={name: value for name, value in (base | more).items() if value},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """The project in another folder, with this Python, and without Delta's jars."""
    root = tmp_path / "a clone"
    for folder in ("conf", "deploy", "jobs", "udfs"):
        shutil.copytree(ROOT / folder, root / folder)
    for name in ("spark-submit.sh", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    yield root
    root.chmod(0o755)


def lines(said: str) -> dict[str, str]:
    """The lines of the doctor by what they are about, with their state."""
    found = {}
    for line in said.splitlines():
        state, _, rest = line.partition(" ")
        what, _, text = rest.strip().partition(": ")
        found[what] = f"{state}: {text}"
    return found


def test_a_good_installation_is_called_good(tmp_path: Path) -> None:
    done = script("doctor", "--warehouse", str(tmp_path), PYSPARK_PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\njobs can run here\n")
    assert "wrong" not in done.stdout
    assert lines(done.stdout)["set for jobs"].startswith("ok: PROFILE=local, master local[")


def test_what_is_missing_is_named_by_the_doctor_and_by_a_job(clone: Path, tmp_path: Path) -> None:
    ingest = ("ingest", "--images", str(tmp_path), "--warehouse", str(tmp_path / "warehouse"))
    python = Path(sys.base_prefix) / f"bin/python3.{sys.version_info[1]}"
    bare = str(python if python.exists() else sys.executable)
    done = script("doctor", script=clone / "spark-submit.sh", PYSPARK_PYTHON=bare)
    found = lines(done.stdout)
    assert done.returncode == 1
    assert re.search(r"\n\d to mend before a job can run\n$", done.stdout)
    assert "would run" not in done.stdout  # no other line says that it could
    assert found["Delta's jars"].startswith("wrong: none in ")
    assert "run make setup" in found["Delta's jars"]
    if bare != sys.executable:
        assert found["packages"].startswith("wrong: missing: pyspark, delta-spark")
        job = script(*ingest, script=clone / "spark-submit.sh", PYSPARK_PYTHON=bare)
        assert (job.returncode, "torch" in job.stderr) == (1, True)
    job = script(*ingest, script=clone / "spark-submit.sh", PYSPARK_PYTHON=sys.executable)
    assert (job.returncode, "Delta's jars are missing: run make setup" in job.stderr) == (1, True)


def test_a_stale_java_home_is_left_out(tmp_path: Path) -> None:
    done = script("doctor", JAVA_HOME="/opt/gone", PYSPARK_PYTHON=sys.executable)
    assert lines(done.stdout)["Java"].startswith("warning")
    assert "JAVA_HOME=/opt/gone has no bin/java" in done.stdout
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"25.0.1\"' >&2\n")
    (tmp_path / "java").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = script("doctor", JAVA_HOME="", PATH=path, PYSPARK_PYTHON=sys.executable)
    assert done.returncode == 1
    assert "install Java 17 or 21" in lines(done.stdout)["Java"]
    ingest = ("ingest", "--images", str(tmp_path), "--warehouse", str(tmp_path / "warehouse"))
    job = script(*ingest, JAVA_HOME="", PATH=path, PYSPARK_PYTHON=sys.executable)
    assert (job.returncode, "Spark needs Java 17 or 21, here is 25" in job.stdout) == (1, True)


def test_what_cannot_be_written_or_reached_is_told(tmp_path: Path) -> None:
    done = script(
        "doctor", "--images", "hdfs://127.0.0.1:9/x", "--warehouse=/proc/w", "--",
        "--master", "spark://127.0.0.1:9", PYSPARK_PYTHON=sys.executable,
    )  # fmt: skip
    found = lines(done.stdout)
    assert done.returncode == 1
    assert found["images"].startswith("wrong: 127.0.0.1:9 does not answer")
    assert found["master"].startswith("wrong: 127.0.0.1:9 does not answer")
    if os.geteuid():
        assert found["warehouse"].startswith("wrong: /proc/w")


@pytest.mark.slow
def test_the_script_asks_for_every_package_that_is_required() -> None:
    """By the names of their modules, which are others than those of the packages."""
    (line,) = re.findall(
        r"^absent=\$\(missing (.*)\)$", (ROOT / "spark-submit.sh").read_text(), re.M
    )
    asked = {name for module in line.split() for name in packages_distributions()[module]}
    text = (ROOT / "requirements.txt").read_text()
    required = {re.split(r"[^\w.-]", row)[0] for row in text.splitlines() if row[:1].isalpha()}
    assert {name.lower().replace("_", "-") for name in asked} == required


@pytest.mark.spark
@pytest.mark.whole
@pytest.mark.parametrize(
    "place", ["link", "read-only", "another Spark", "no locale", "stale JAVA_HOME", "noexec"]
)
def test_a_job_runs_all_the_same(place: str, survey: Path, tmp_path: Path) -> None:
    """The first stage, with names that no letter of plain English spells."""
    images = tmp_path / "фото"
    shutil.copytree(survey, images)
    path, more = ROOT / "spark-submit.sh", dict[str, str]()
    wrap: tuple[str, ...] = ()
    if place == "link":
        path = tmp_path / "latent-dedup"
        path.symlink_to(ROOT / "spark-submit.sh")
    elif place == "another Spark":
        (tmp_path / "python/pyspark").mkdir(parents=True)
        (tmp_path / "python/pyspark/__init__.py").write_text("__version__ = '3.5.1'\n")
        more = {"PYTHONPATH": str(tmp_path / "python")}
    elif place == "no locale":
        more = {"LANG": "", "LC_ALL": "", "LC_CTYPE": ""}
    elif place == "stale JAVA_HOME":
        more = {"JAVA_HOME": "/opt/gone"}
    else:
        if not can_hide_folders():
            pytest.skip("no process here may have mounts of its own (unshare -m)")
        mount = f"mount --bind {ROOT} {ROOT} && mount -o remount,bind,ro {ROOT}"
        if place == "noexec":
            mount = "mkdir -p $0/tmp && mount --bind -o noexec $0/tmp $0/tmp"
            mount += " && mount -o remount,bind,noexec $0/tmp"
            more = {"TMPDIR": str(tmp_path / "tmp")}
            more["JAVA_TOOL_OPTIONS"] = f"-Djava.io.tmpdir={tmp_path}/tmp"  # as /tmp would be
        wrap = ("unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', str(tmp_path))
    warehouse = tmp_path / "наборы"
    done = script(
        "ingest", "--images", str(images), "--warehouse", str(warehouse),
        script=path, wrap=wrap, PYSPARK_PYTHON=sys.executable, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "99 images" in done.stdout
    assert (warehouse / "images").is_dir()
    assert ("holds another Spark, and is left out" in done.stderr) == (place == "another Spark")
