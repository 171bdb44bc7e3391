"""Which faults a pipeline survived at which stage, as `make test-faults` has found it.

    .venv/bin/python -m benchmarks.fault_table [--folder build/faults]

A number is that of the moments at which a run of its own was struck. Only those kinds of faults
are told after whose last one the same command ended with the tables of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from benchmarks.results import recorded
from benchmarks.session import ROOT
from tests.support.faults import ALIKE
from tests.support.tables import STAGES

COLUMNS = {
    "test_the_drivers_python_is_killed_at_every_moment-all": "Python killed",
    "test_the_drivers_jvm_is_killed_in_every_stage-all": "JVM killed",
    "test_ctrl_c_in_every_stage_ends_in_one_line-all": "Ctrl-C",
    "test_a_full_disk_in_every_stage_ends_in_one_line-all": "disk full",
}


def struck(folder: Path) -> Counter[str]:
    """How many moments of each stage were struck by one kind of fault."""
    outcomes = json.loads((folder / "outcomes.json").read_text(encoding="utf-8"))
    return Counter(moment.split()[0] for moment in outcomes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build/faults")
    (home,) = parser.parse_args().folder.iterdir()
    columns = {
        title: struck(home / name)
        for name, title in COLUMNS.items()
        if (home / name / ALIKE).exists()
    }
    print(f"| stage | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    for stage in STAGES:
        print(f"| `{stage}` | {' | '.join(str(found[stage]) for found in columns.values())} |")
    print(f"| all | {' | '.join(str(found.total()) for found in columns.values())} |")


if __name__ == "__main__":
    recorded(main)
