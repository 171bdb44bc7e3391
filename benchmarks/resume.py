"""How much of an `ingest` or `encode` of minutes is done again after it was killed.

    .venv/bin/python -m benchmarks.resume STAGE --images DIR [--kill-at 0.9] [--by-spark]
        [--folder build/resume] [--set SECTION.KEY=VALUE ...]

It runs the stage twice, by ./spark-submit.sh, in warehouses that are alike: undisturbed, and killed
(SIGKILL to all of its processes) when so much of the undisturbed time has passed. The same command
then runs again. Printed are the rows that it goes on from, and the share of the undisturbed time
that both took together more. Times are those in the table `runs`, without the start of Spark.

--by-spark: Spark writes the tables, as on hdfs and s3a, and not the tasks themselves. --images:
enough of them that the stage takes minutes. For `encode`, say which model by --set train.model=...
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from benchmarks.results import recorded
from benchmarks.session import ROOT
from jobs.warehouse.store import FORCED

BEFORE = {"ingest": (), "encode": ("ingest", "train")}
KEPT = re.compile(r"goes on where a run was stopped: \w+ has ([\d,]+) rows")


class Warehouse:
    """A warehouse, and the command that works on it."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder = folder
        self.arguments = ["--warehouse", str(folder), *arguments]

    def begin(self, stage: str) -> subprocess.Popen[str]:
        """Start a stage in a process session of its own."""
        return subprocess.Popen(
            ["./spark-submit.sh", stage, *self.arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, stage: str) -> str:
        """Run a stage to its end; return what it said. Ends the program if it fails."""
        process = self.begin(stage)
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(said)
        return said

    def kill(self, stage: str, after: float) -> float:
        """Start a stage and kill it so many seconds after its beginning; return the true seconds.

        Ends the program if the stage was faster.
        """
        process = self.begin(stage)
        while not self.is_running(stage):
            time.sleep(0.05)
            if process.poll() is not None:
                raise SystemExit(process.communicate()[0])
        clock = time.monotonic()
        time.sleep(after)
        seconds = time.monotonic() - clock
        if process.poll() is not None:
            raise SystemExit(f"{stage} ended before it was killed")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return seconds

    def is_running(self, stage: str) -> bool:
        """Whether the newest row of `runs` is of the stage, and says that it has begun."""
        try:
            rows = DeltaTable(self.folder / "runs").to_pyarrow_table()
        except TableNotFoundError:
            return False
        newest = rows.sort_by([("started", "descending")]).slice(0, 1).to_pylist()
        return bool(newest) and (newest[0]["stage"], newest[0]["state"]) == (stage, "started")

    def seconds(self, stage: str) -> float:
        """The time that the last finished run of a stage took."""
        rows = DeltaTable(self.folder / "runs").to_pyarrow_table()
        mine = pc.and_(pc.equal(rows["stage"], stage), pc.equal(rows["state"], "done"))
        (row,) = rows.filter(mine).sort_by([("started", "descending")]).slice(0, 1).to_pylist()
        return float((row["finished"] - row["started"]).total_seconds())


def main() -> None:
    """Measure one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=sorted(BEFORE))
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--kill-at", type=float, default=0.9, help="of the undisturbed time")
    parser.add_argument("--by-spark", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/resume")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    if given.by_spark:
        os.environ[FORCED] = "spark"
    arguments = ["--images", str(given.images.resolve())]
    arguments += [word for setting in given.settings for word in ("--set", setting)]
    clean, killed = (Warehouse(given.folder / name, arguments) for name in ("clean", "killed"))
    for stage in BEFORE[given.stage]:
        clean.run(stage)
    if clean.folder.exists():
        shutil.copytree(clean.folder, killed.folder)
    clean.run(given.stage)
    whole = clean.seconds(given.stage)
    first = killed.kill(given.stage, given.kill_at * whole)
    said = killed.run(given.stage)
    rest = killed.seconds(given.stage)
    kept = KEPT.search(said)
    print(f"undisturbed: {whole:.0f} s; killed after {first:.0f} s; again: {rest:.0f} s")
    print(f"rows that were kept: {kept[1] if kept else 'none'}")
    print(f"done again: {(first + rest - whole) / whole:.0%} of the undisturbed time")


if __name__ == "__main__":
    recorded(main)
