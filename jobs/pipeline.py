"""pipeline: every job after the other, and what came of it."""

from __future__ import annotations

from jobs import encode, estimate, ingest, project, prune, publish, report, train
from jobs.common import command
from jobs.common.run import Run
from jobs.common.settings import check_published


def main(run: Run) -> None:
    """Source files → every table, the report, and a summary on the console."""
    check_published(run.settings, run.settings.prune.rules)
    run.console.line(f"  {run.settings.images} → {run.warehouse.root}")
    for job in (ingest, train, encode, project, prune, publish, estimate, report):
        job.main(run)
    report.summarise(run)


if __name__ == "__main__":
    command.run("pipeline", main)
