"""The command line: what it takes, what it answers, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs import main as command
from jobs.errors import JobError, SettingsError
from jobs.main import STAGES
from jobs.settings.model import Settings
from tests.conftest import ROOT, command_line, run_command

CONF = str(ROOT / "conf/local.toml")


def shell(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """./spark-submit.sh where it answers by itself, without Java."""
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
    """A job as spark-submit calls it, without spark-submit: for what needs no Spark."""
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


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my settings.toml"
    file.write_text("[train]\nepochs = 3\nseed = 4\n[ingest]\ntile = 64\n")
    given = [
        "--settings",
        str(file),
        "--set",
        "train.epochs=5",
        "--set",
        "ingest.layout=split/label",
    ]
    settings = command.parse("ingest", [*given, "--images", "a b", "--overwrite", "encode"])
    assert (settings.train.epochs, settings.train.seed) == (5, 4)
    assert (settings.ingest.tile, settings.ingest.layout) == (64, "split/label")
    assert (settings.images, settings.overwrite) == ("a b", ("encode",))
    seeded = command.parse("encode", [*given, "--seed", "9"])
    assert (seeded.train.seed, seeded.sample.seed) == (9, 9)


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[trane]\nepochs = 3\n[prune]\nthresholds = [1.5]\nblok = 3\n")
    wrong = {
        "[trane]": "did you mean train",
        "prune.thresholds = [1.5]": "is no cosine",
        "prune.blok": "did you mean block",
        "--set nonsense": "section.key=value",
        "--set there.is=none": "there is no such section",
        "train.epochs = 'many'": "must be a whole number",
        "encode.exchange = 'csv'": "must be one of pandas, arrow",
        "ingest.stride": "needs ingest.tile",
        "--overwrite everything": "there is no such stage",
    }
    arguments = ["--settings", str(file), "--overwrite", "everything", "--images", "x"]
    for flag in (
        "nonsense",
        "there.is=none",
        "train.epochs=many",
        "encode.exchange=csv",
        "ingest.stride=8",
    ):
        arguments += ["--set", flag]
    with pytest.raises(SettingsError) as caught:
        command.parse("pipeline", arguments)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(wrong)
    for start, reason in wrong.items():
        (line,) = [line for line in lines if line.startswith(start)]
        assert reason in line


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "there is no such file"), ("[train\n", "line 1")]
)
def test_a_settings_file_that_cannot_be_read(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "given.toml").write_text(content)
    with pytest.raises(SettingsError, match=rf"--settings .*given.toml: .*{reason}"):
        command.parse("train", ["--settings", str(tmp_path / "given.toml")])


@pytest.mark.parametrize("wrong", [["--warehous", "x"], ["--seed", "one"], ["more"]])
def test_unknown_or_cut_flags_are_wrong_usage(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut `--setting FILE` must not pass: spark-submit.sh would give its own file after it."""
    with pytest.raises(SystemExit) as ended:
        command.parse("train", ["--settings", CONF, *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_help_tells_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.parse("encode", ["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: ./spark-submit.sh encode")
    for flag in ("--images", "--warehouse", "--settings", "--set", "--seed", "--overwrite"):
        assert flag in said


def ended(failure: BaseException, capsys: pytest.CaptureFixture[str], **more: Any) -> Any:
    def run(*_: Any) -> None:
        raise failure

    return command._guarded("train", run, Settings(**more)), capsys.readouterr().out


def test_a_failure_is_one_line_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(JobError("do this"), capsys) == (1, "train failed: do this\n")
    assert ended(SettingsError("write that"), capsys) == (2, "train: write that\n")
    code, said = ended(KeyboardInterrupt(), capsys)
    assert code == 130
    assert "goes on where this one stopped" in said
    code, said = ended(RuntimeError("first\n\n  at java\nValueError: the reason\n"), capsys)
    assert code == 1
    assert said.startswith("train failed: ValueError: the reason (--verbose shows")
    assert len(said.splitlines()) == 1
    code, said = ended(OSError(28, "No space left on device"), capsys)
    assert code == 1
    assert said.startswith("train failed: the disk is full; make room")


def test_a_failure_is_an_object_where_json_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = ended(JobError("do this"), capsys, log_format="json", quiet=True)
    entry = json.loads(said)
    assert (code, entry["code"], entry["level"]) == (1, 1, "error")
    assert entry["text"] == "train failed: do this"
    assert "stack" not in entry
    _, said = ended(JobError("do this"), capsys, log_format="json", verbose=True)
    assert json.loads(said)["stack"].startswith("Traceback")
    code = command.main(["train", "--set", "a.b=1", "--log-format", "json"])
    assert code == json.loads(capsys.readouterr().out)["code"] == 2


def test_the_script_without_java(tmp_path: Path) -> None:
    """No job, an unknown one, help, a profile and a place of jars that there are not."""
    for arguments, code in (([], 2), (["prun"], 2), (["--help"], 0), (["-h"], 0)):
        answer = shell(*arguments)
        assert answer.returncode == code
        said = answer.stdout + answer.stderr
        assert "usage: ./spark-submit.sh JOB" in said
        assert f"sample {' '.join(STAGES)} pipeline" in said
    assert "there is no job 'prun'" in shell("prun").stdout
    answer = shell("sample", PROFILE="desk")
    assert (answer.returncode, "use local or cluster" in answer.stderr) == (2, True)
    answer = shell("sample", DELTA_JARS="somewhere")
    assert (answer.returncode, "use provided or packages" in answer.stderr) == (2, True)
    answer = shell("sample", PYSPARK_PYTHON="/usr/bin/false")
    assert (answer.returncode, "run make setup" in answer.stderr) == (1, True)


# Starts what Spark's launcher names by itself; of the JVM that would run the job, tells its words.
JAVA_THAT_TELLS = """#!/bin/sh
case " $* " in
  *launcher.Main* | *-version*) exec "{java}" "$@" ;;
  *) printf '%s\\n' "$@" ;;
esac
"""


def test_a_start_takes_the_archive_of_classes_where_there_is_one(tmp_path: Path) -> None:
    """In a folder with a space in its name, the user's own options last."""
    root, java = tmp_path / "a project", tmp_path / "java home/bin/java"
    for folder in ("conf", "jobs", "udfs"):
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
            [str(root / "spark-submit.sh"), "sample"],
            env=base | given | {"DELTA_JARS": "provided"} | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

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
    # Java takes no archive where a folder with files is among what classes come from.
    (empty,) = (Path(entry) for entry in classpath(said) if Path(entry).is_dir())
    assert not list(empty.iterdir())
    said = words(LATENT_DEDUP_ARCHIVE=f"{tmp_path}/new.jsa")
    assert f"-XX:ArchiveClassesAtExit={tmp_path}/new.jsa" in said
    assert not any("SharedArchiveFile" in word for word in said)
    assert str(ROOT / "conf") in " ".join(classpath(words(SPARK_CONF_DIR=str(ROOT / "conf"))))


def test_a_job_ends_by_0_1_and_2(tmp_path: Path) -> None:
    """`sample`, as a program: done, again, failed in one line, the stack, wrong settings."""
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
def test_a_pipeline_called_elsewhere(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Relative paths with spaces hold; a clean console; everything lies where it says."""
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
    assert "1 files could not be used: unreadable 1 (table rejects)" in done.stdout
    assert f"report    {warehouse / 'report/report.html'}" in done.stdout
    assert f"curated   {warehouse / 'curated'}" in done.stdout
    assert f"publish --warehouse '{warehouse.name}' --set publish.rule=fixed:0.97" in done.stdout


@pytest.mark.spark
def test_a_job_that_fails_in_spark(tmp_path: Path) -> None:
    """One line on stdout through spark-submit, its exit code, and no stack anywhere."""
    answer = run_command("encode", "--warehouse", "not yet", "--images", "x", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (1, "")
    (line,) = answer.stdout.splitlines()
    assert line.startswith("encode failed: no model was trained with these settings")
    assert "./spark-submit.sh train" in line
