"""Warehouses that suffer faults: runs in which something goes wrong at a named moment.

What came of each is kept in build/faults, so that tests of hours go on where they were stopped, as
long as the code is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from tests.support.commands import COMMAND_SECONDS, QUICK, ROUNDS, command_line, flags
from tests.support.folders import ROOT
from tests.support.injection import faulty, moments
from tests.support.processes import in_session, wait_until_gone
from tests.support.tables import STAGES, assert_same_tables

KEPT = ROOT / "build/faults"
ALIKE = "ended with the same tables"  # a file that says so of a warehouse


class Done(NamedTuple):
    """A run that has ended: its exit code, what it printed, and the moments that it passed."""

    code: int
    said: str
    moments: list[str]


def digest() -> str:
    """A hash of the code and of the faults, so that no result of other code is taken."""
    files = [path for folder in ("jobs", "udfs") for path in sorted((ROOT / folder).rglob("*.py"))]
    files += [ROOT / "tests/support/injection.py", Path(__file__)]
    files += [ROOT / f"tests/system/test_{name}.py" for name in ("fault_matrix", "soak")]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


class Sufferer:
    """A warehouse that suffers faults of one kind, and what came of each, kept to go on from."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.warehouse = self.disk / "warehouse"
        self.filler = self.disk / "filler"
        self.images = images
        self.environment: dict[str, str] = {}  # of runs, beside the usual one
        self.disk.mkdir(parents=True, exist_ok=True)
        kept = folder / "outcomes.json"
        self.outcomes: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}

    def run(self, fault: str = "", *more: str) -> Done:
        """Run the pipeline with a fault; nothing of the run is left when this returns."""
        environment = faulty(fault, self.folder, self.filler)
        arguments = ["--images", str(self.images), "--warehouse", str(self.warehouse)]
        line, base = command_line("pipeline", *arguments, *flags(*QUICK, *ROUNDS), *more)
        output = self.folder / "output"
        with output.open("w") as log:
            shell = subprocess.Popen(
                line,
                cwd=self.folder,
                env=base | environment | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            shell.wait(COMMAND_SECONDS)
            wait_until_gone(shell.pid)
        finally:
            for pid in in_session(shell.pid):
                os.kill(pid, signal.SIGKILL)
            self.filler.unlink(missing_ok=True)
        return Done(shell.returncode, output.read_text(), moments(self.folder))

    def suffers(self, kind: str, moment: str, check: Callable[[Done], None]) -> None:
        """Let a run go wrong at a moment, unless that was done before, and note what came of it.

        A run that goes on from others does not pass a moment whose work is done already. It is then
        tried on an empty warehouse.
        """
        if moment in self.outcomes:
            return
        before = self.folder / "before"
        shutil.rmtree(before, ignore_errors=True)
        if self.warehouse.exists():
            shutil.copytree(self.warehouse, before)
        done = self.run(f"{kind}@{moment}")
        if moment not in done.moments:
            shutil.rmtree(self.warehouse)
            done = self.run(f"{kind}@{moment}")
            assert moment in done.moments, done.said
        check(done)
        self.outcomes[moment] = f"ended with {done.code}"
        (self.folder / "outcomes.json").write_text(json.dumps(self.outcomes, indent=1))

    def ends_like(
        self, spark: SparkSession, clean: Sufferer, names: Collection[str] | None = None
    ) -> None:
        """Run to the end; the tables must be those of an undisturbed run, and stay so.

        names: the tables that are compared, if there may be others; None: all.
        """
        done = self.run()
        assert done.code == 0, done.said
        assert_same_tables(spark, clean.warehouse, self.warehouse, names=names)
        again = self.run()
        assert again.said.count("up to date") == len(STAGES), again.said
        (self.folder / ALIKE).touch()


@pytest.fixture(scope="module")
def clean(survey: Path) -> Sufferer:
    """An undisturbed run, with its moments."""
    home = KEPT / digest()
    for other in KEPT.glob("*"):
        if other != home:
            shutil.rmtree(other)
    images = home / "images"
    if not images.exists():
        shutil.copytree(survey, home / "new")
        (home / "new").rename(images)
    made = Sufferer(home / "clean", images)
    if not made.outcomes:
        shutil.rmtree(made.warehouse, ignore_errors=True)
        done = made.run()
        assert done.code == 0, done.said
        made.outcomes = dict.fromkeys(done.moments, "passed")
        (made.folder / "outcomes.json").write_text(json.dumps(made.outcomes, indent=1))
    return made


@pytest.fixture
def sufferer(clean: Sufferer, request: pytest.FixtureRequest) -> Sufferer:
    """The warehouse of a test, which goes on where it was stopped."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    return Sufferer(clean.folder.parent / name, clean.images)
