"""./spark-submit.sh and the jobs behind it as programs: how they start, answer and end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.main import STAGES
from jobs.runtime import fork_server
from tests.support.commands import COMMAND_SECONDS, command_line, run_command
from tests.support.folders import ROOT
from tests.support.spark_workers import ended

CONF = str(ROOT / "conf/local.toml")


def shell(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ./spark-submit.sh with arguments that it answers by itself, without Java."""
    _, base = command_line("sample")
    return subprocess.run(
        [str(ROOT / "spark-submit.sh"), *arguments],
        cwd=cwd,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def job(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a job that needs no Spark as spark-submit would call it."""
    _, environment = command_line(name)
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs/main.py"), name, "--settings", CONF, *arguments],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_script_answers_by_itself_without_java(tmp_path: Path) -> None:
    """No job, an unknown job, help, an unknown profile and an unknown source of jars."""
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    no_java = f"{tmp_path}:{os.environ['PATH']}"
    for arguments, code in (([], 2), (["prun"], 2), (["--help"], 0), (["-h"], 0)):
        answer = shell(*arguments, PATH=no_java, JAVA_HOME="")
        assert answer.returncode == code
        said = answer.stdout + answer.stderr
        assert "usage: ./spark-submit.sh JOB" in said
        assert f"sample {' '.join(STAGES)} pipeline" in said
    assert "there is no job 'prun'" in shell("prun").stderr
    answer = shell("sample", PROFILE="desk")
    assert (answer.returncode, "use local or cluster" in answer.stderr) == (2, True)
    answer = shell("maintain", DELTA_JARS="somewhere")
    assert (answer.returncode, "use provided or packages" in answer.stderr) == (2, True)
    answer = shell("sample", PYSPARK_PYTHON="/usr/bin/false")
    assert (answer.returncode, "run make setup" in answer.stderr) == (1, True)


# Starts what Spark's launcher names by itself; of the JVM that would run the job, tells its words.
JAVA_THAT_TELLS = """#!/bin/sh
case " $* " in
  *launcher.Main* | *-version*) exec "{java}" "$@" ;;
  *) printf '%s\\n' "$@" && exit 7 ;;
esac
"""


@pytest.mark.whole
def test_a_start_uses_the_archive_of_classes_if_there_is_one(tmp_path: Path) -> None:
    """Also in a folder with a space in its name; the user's own options come last."""
    root, java = tmp_path / "a project", tmp_path / "java home/bin/java"
    for folder in ("conf", "deploy", "jobs", "udfs"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "spark-submit.sh", root)
    real = shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin:{os.environ['PATH']}")
    java.parent.mkdir(parents=True)
    java.write_text(JAVA_THAT_TELLS.format(java=real))
    java.chmod(0o755)

    def words(**more: str) -> list[str]:
        _, base = command_line("sample")
        given = {"JAVA_HOME": str(java.parent.parent), "PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(
            [str(root / "spark-submit.sh"), "ingest", "--images", ".", "--warehouse", "its own"],
            cwd=tmp_path,
            env=base | given | {"DELTA_JARS": "provided"} | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        *said, last = done.stdout.splitlines()
        assert last.startswith("ingest failed: Java ended while Spark started")
        return said

    def classpath(said: list[str]) -> list[str]:
        return said[said.index("-cp") + 1].split(":")

    archive = root / "build/classes.jsa"
    assert not any("Archive" in word for word in words())
    archive.write_bytes(b"")  # none could be made
    assert not any("Archive" in word for word in words())
    archive.write_bytes(b"classes")
    said = words(SPARK_SUBMIT_OPTS="-Xss4m")
    assert said.index(f"-XX:SharedArchiveFile={archive}") < said.index("-Xss4m")
    assert f"-Dlog4j2.configurationFile=file:{root}/conf/log4j2.properties" in said
    # Workers are forked with their modules, and reached by sockets where their paths fit.
    assert "spark.python.daemon.module=jobs.runtime.worker_daemon" in said
    sockets, folder = (f"spark.python.unix.domain.socket.{name}=" for name in ("enabled", "dir"))
    said = words(TMPDIR="/tmp")
    assert f"{sockets}true" in said
    (place,) = (word.removeprefix(folder) for word in said if word.startswith(folder))
    assert place.startswith("/tmp/")
    assert not Path(place).exists()  # it is removed at the end
    (tmp_path / ("long" * 15)).mkdir()
    assert not any(word.startswith(sockets) for word in words(TMPDIR=f"{tmp_path}/{'long' * 15}"))
    # Java takes no archive where a folder with files is among what classes come from.
    (empty,) = (Path(entry) for entry in classpath(said) if Path(entry).is_dir())
    assert not list(empty.iterdir())
    said = words(LATENT_DEDUP_ARCHIVE=f"{tmp_path}/new.jsa")
    assert f"-XX:ArchiveClassesAtExit={tmp_path}/new.jsa" in said
    assert not any("SharedArchiveFile" in word for word in said)
    assert str(ROOT / "conf") in " ".join(classpath(words(SPARK_CONF_DIR=str(ROOT / "conf"))))


def test_a_job_exits_with_0_1_or_2(tmp_path: Path) -> None:
    """`sample` succeeds twice, fails in one line or with a stack, and refuses settings."""
    small = ["--set", "sample.labels=1", "--set", "sample.scenes=1", "--images", "to here"]
    done = job("sample", *small, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "truth.csv").exists()
    assert list((tmp_path / "to here").glob("*/*"))
    again = job("sample", *small, cwd=tmp_path)
    assert again.returncode == 0
    assert "; 0 files written anew" in again.stdout
    (tmp_path / "to here/mine.jpg").write_bytes(b"")
    failed = job("sample", *small, cwd=tmp_path)
    assert (failed.returncode, failed.stderr) == (1, "")
    assert len(failed.stdout.splitlines()) == 1
    assert failed.stdout.startswith("sample failed: --images")
    assert "mine.jpg" in failed.stdout
    verbose = job("sample", *small, "--verbose", cwd=tmp_path)
    assert verbose.returncode == 1
    assert "Traceback" in verbose.stdout
    assert "in check_free" in verbose.stdout
    assert failed.stdout in verbose.stdout
    wrong = job("sample", *small, "--set", "sample.labels=99", "--set", "a.b=1", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "")
    assert wrong.stdout.startswith("sample: the settings need a change:\n")
    assert len(wrong.stdout.splitlines()) == 3


@pytest.mark.spark
def test_a_pipeline_runs_from_another_folder_with_relative_paths(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Relative paths with spaces work, and all results lie where the console says."""
    warehouse, done = undisturbed
    assert done.stderr == ""
    assert {path.name for path in warehouse.parent.iterdir()} == {warehouse.name}
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f" → {warehouse}")
    stages = [line.split()[0] for line in lines if line.endswith(" s") and line[:2] == "  "]
    assert stages == [
        "ingest",
        "train",
        "encode",
        "project",
        "prune",
        "publish",
        "estimate",
        "similarities",
        "report",
    ]
    assert "1 file could not be used: not_an_image 1 (table rejects)" in done.stdout
    assert f"report    {warehouse / 'report/report.html'}" in done.stdout
    assert f"curated   {warehouse / 'curated'}" in done.stdout
    assert f"publish --warehouse '{warehouse.name}' --set publish.rule=fixed:0.97" in done.stdout


@pytest.mark.spark
def test_workers_are_forked_from_what_imported_while_spark_started(
    pictures: Path, tmp_path: Path
) -> None:
    """A variable that a newer Spark gives its daemon would end that without a word."""

    def is_of_the_server(process: int) -> bool:
        # Java may keep an ended child of the script that became it, until its own end.
        with contextlib.suppress(psutil.Error):
            return any(fork_server.__name__ in word for word in psutil.Process(process).cmdline())
        return False

    line, environment = command_line(
        "ingest", "--images", str(pictures), "--warehouse", str(tmp_path / "warehouse")
    )
    daemons: set[int] = set()
    with subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL) as command:
        while command.poll() is None and not daemons:
            with contextlib.suppress(psutil.Error):  # the command has ended, or one just now
                for process in psutil.Process(command.pid).children(recursive=True):
                    if is_of_the_server(process.pid) and is_of_the_server(process.ppid()):
                        daemons.add(process.pid)
            time.sleep(0.02)
        assert command.wait(COMMAND_SECONDS) == 0
    assert daemons
    assert all(ended(daemon) for daemon in daemons)


@pytest.mark.whole
@pytest.mark.spark
def test_the_driver_of_a_pipeline_does_without_torch(pictures: Path, tmp_path: Path) -> None:
    """To import it takes seconds; with the model that comes along only tasks use it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, pathlib, sys\n"
        "def tell():\n"
        "    if sys.argv[0].endswith('jobs/main.py'):\n"
        "        loaded = sorted({'torch', 'numba'} & sys.modules.keys())\n"
        "        pathlib.Path(__file__).with_name('told').write_text(' '.join(loaded))\n"
        "atexit.register(tell)\n"
    )
    arguments = ("--images", str(pictures), "--warehouse", "warehouse")
    done = run_command("pipeline", *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "told").read_text() == "numba"  # as it audits proofs


@pytest.mark.spark
def test_a_job_that_fails_in_spark_says_why_in_one_line(tmp_path: Path) -> None:
    """One line on stdout through spark-submit, its exit code, and no stack anywhere."""
    (tmp_path / "empty").mkdir()
    answer = run_command("encode", "--warehouse", "empty", "--images", "x", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (1, "")
    (line,) = answer.stdout.splitlines()
    assert line.startswith("encode failed: no model of these settings")
    assert "./spark-submit.sh train" in line
