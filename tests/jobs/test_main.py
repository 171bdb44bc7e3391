"""Flags, help, and how a failure ends a command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from jobs import main as command
from jobs.errors import JobError, SettingsError
from jobs.runtime import session
from jobs.settings.model import Settings
from tests.support.folders import ROOT

CONF = str(ROOT / "conf/local.toml")


def test_flags_override_the_settings_file(tmp_path: Path) -> None:
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
def test_unknown_or_abbreviated_flags_are_wrong_usage(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An abbreviated `--setting FILE` must not pass: spark-submit.sh would add its own file."""
    with pytest.raises(SystemExit) as ended:
        command.parse("train", ["--settings", CONF, *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
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

    return command.guarded("train", run, Settings(**more)), capsys.readouterr().out


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


STARTED = -1


class Started(BaseException):
    """Raised in place of starting Spark."""


def no_session() -> NoReturn:
    raise PySparkRuntimeError(errorClass="NO_ACTIVE_OR_DEFAULT_SESSION", messageParameters={})


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the pipeline as on one machine; the code is STARTED where it comes to start Spark."""

    def start(name: str) -> NoReturn:
        raise Started(name)

    def run(images: Path, warehouse: Path, *flags: str) -> int:
        where = ("--images", str(images), "--warehouse", str(warehouse), "--settings", CONF)
        settings = command.parse("pipeline", [*where, *flags])
        try:
            return command.guarded("pipeline", command.run, settings)
        except Started:
            return STARTED

    monkeypatch.setattr(session, "is_running", lambda: False)
    monkeypatch.setattr(session, "running", start)
    monkeypatch.setattr(SparkSession, "active", no_session)
    return run


def test_what_needs_spark_says_what_it_is_about_and_changes_nothing(
    begun: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, warehouse = tmp_path / "images", tmp_path / "warehouse"
    assert begun(images, warehouse) == STARTED
    assert capsys.readouterr().out == f"  {images} → {warehouse}\n"
    assert [path.name for path in warehouse.iterdir()] == [".lock"]
    for flags in (("--overwrite", "prune"), ("--warehouse", "s3a://there/w")):
        assert begun(images, warehouse, *flags) == STARTED
        assert capsys.readouterr().out.startswith(f"  {images} → ")


def test_a_dry_run_of_a_folder_needs_no_spark(
    begun: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, warehouse = tmp_path / "images", tmp_path / "warehouse"
    assert begun(images, warehouse, "--dry-run") == 1
    assert f"--images {images}: No such file or directory" in capsys.readouterr().out
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 64)).save(path)
    assert begun(images, warehouse, "--dry-run", "--set", "ingest.tile=64") == 0
    said = capsys.readouterr().out
    assert "  3 files (3 new)\n  6 images; 10 of 10 stages would be done" in said
    assert not warehouse.exists()


def test_a_model_that_only_spark_can_read_needs_spark(
    begun: Callable[..., int], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    (images / "a").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(images / "a/1.png")
    given = ("--set", "train.model=hdfs://there/model")
    assert begun(images, tmp_path / "warehouse", "--dry-run", *given) == STARTED


@pytest.mark.parametrize(
    ("job", "name", "told"),
    [
        ("prune", "mistyped", "there is no such folder; name the one of a pipeline"),
        ("maintain", "mistyped", "there is no such folder; name the one of a pipeline"),
        ("pipeline", "W100%", "its path may hold none of"),
    ],
)
def test_a_warehouse_is_refused_before_it_is_made(
    job: str, name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--settings", CONF, "--images", str(tmp_path), "--warehouse", str(tmp_path / name)]
    assert command.main([job, *given]) == 1
    assert told in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_command_begins_without_the_large_packages() -> None:
    """What needs them loads them while Spark starts; a dry run or a wrong setting needs none."""
    large = ("deltalake", "matplotlib", "pandas", "scipy.linalg", "scipy.ndimage", "scipy.special")
    program = f"import sys, jobs.main\nprint([name for name in {large} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
