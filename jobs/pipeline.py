"""pipeline: every job after the other, and what came of it; vectors brought along need no train."""

from __future__ import annotations

from jobs.common import candidates, command
from jobs.common.run import Run
from jobs.common.settings import WHITENED


def main(run: Run) -> None:
    """Source files → every table, the report, and a summary on the console."""
    from jobs import (
        anomalies,
        conflicts,
        encode,
        estimate,
        generate,
        ingest,
        leaks,
        modes,
        project,
        prune,
        publish,
        report,
        similarities,
        train,
        whiten,
    )

    run.console.line(f"  {run.settings.images} → {run.warehouse.root}")
    ingest.main(run)
    candidates.check(run.warehouse.read("images"), run.settings.prune)
    if not run.settings.ingest.vector_column:
        train.main(run)
    for job in (encode, project):
        job.main(run)
    if run.settings.modes.draws:
        modes.main(run)
    if WHITENED in run.settings.prune.space:
        whiten.main(run)
    if run.settings.leaks.asked:
        leaks.main(run)
    if run.settings.conflicts.threshold:
        conflicts.main(run)
    if run.settings.anomalies.quantile:
        anomalies.main(run)
    if run.settings.generate.count:
        generate.main(run)
    for job in (prune, publish, estimate, similarities, report):
        job.main(run)
    report.summarise(run)


if __name__ == "__main__":
    # Torch and the charts take seconds to import: while Spark starts, not before.
    command.run("pipeline", main, meanwhile=("jobs.encode", "jobs.report"))
