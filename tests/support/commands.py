"""Jobs that tests run by the command line, ./spark-submit.sh, as users do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.folders import ROOT, Once
from tests.support.session import JAVA, PAPER, SPLIT

# Spark for a handful of pictures by ./spark-submit.sh: half the processor time of the usual
# settings, most of which goes into compiling what runs once.
SMALL = (
    "--driver-memory=1g",
    f"--driver-java-options={JAVA}",
    f"--conf=spark.executor.extraJavaOptions={JAVA}",
    "--conf=spark.sql.shuffle.partitions=2",
    "--conf=spark.sql.codegen.wholeStage=false",
    "--conf=spark.sql.adaptive.enabled=false",
    "--conf=spark.sql.codegen.factoryMode=NO_CODEGEN",
    "--conf=spark.databricks.delta.snapshotPartitions=1",
)


LOCAL = ("--master=local[2,4]",)
COMMAND_SECONDS = 600  # two cores that others use as well


def command_line(
    job: str, *arguments: str, submit: Sequence[str] = LOCAL
) -> tuple[list[str], dict[str, str]]:
    """A call of ./spark-submit.sh and its environment: the user's, without what tests add to it.

    PYTHONPATH above all: with it executors would find modules that were never sent to them.
    """
    ours = ("SPARK_", "PYSPARK_", "PYTHONPATH", "OMP_NUM_THREADS", "PROFILE", "DELTA_JARS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return [str(ROOT / "spark-submit.sh"), job, *arguments, "--", *SMALL, *submit], environment


def run_command(
    job: str, *arguments: str, cwd: Path, submit: Sequence[str] = LOCAL, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a job by ./spark-submit.sh to its end."""
    line, base = command_line(job, *arguments, submit=submit)
    return subprocess.run(
        line,
        cwd=cwd,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


QUICK = (
    *PAPER,
    "train.epochs=1",
    "prune.thresholds=[0.999, 0.97]",
    "publish.rule=fixed:0.999",
    SPLIT,
    "estimate.components=2",
)


# The defaults, with a training that is short.
REAL = ("train.epochs=1", "train.sample=256", SPLIT)
ROUNDS = ("prune.largest_class=30", "prune.window=25")  # the classes of 33 in two rounds


def flags(*settings: str) -> list[str]:
    """Command-line arguments that set each of `settings`."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def undisturbed(survey: Path, once: Once) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Warehouse and output of a pipeline that ran in another folder, with relative paths."""

    def make(folder: Path) -> None:
        (folder / "elsewhere").mkdir(parents=True)
        images = os.path.relpath(survey, folder / "elsewhere")
        arguments = ["--images", images, "--warehouse", "a ware house", *flags(*QUICK)]
        done = run_command("pipeline", *arguments, cwd=folder / "elsewhere")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "output.json").write_text(json.dumps(vars(done)))

    folder = once("undisturbed", make)
    done = subprocess.CompletedProcess(**json.loads((folder / "output.json").read_text()))
    return folder / "elsewhere/a ware house", done
