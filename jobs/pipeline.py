"""pipeline: every job after the other, and what came of it; vectors brought along need no train."""

from __future__ import annotations

from jobs.common import candidates
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
    run.perform(ingest)
    if run.warehouse.exists("images"):  # not before a dry run of the first
        candidates.check(run.warehouse.read("images"), run.settings.prune)
    if not run.settings.ingest.vector_column:
        run.perform(train)
    for job in (encode, project):
        run.perform(job)
    if run.settings.modes.draws:
        run.perform(modes)
    if WHITENED in run.settings.prune.space:
        run.perform(whiten)
    if run.settings.leaks.asked:
        run.perform(leaks)
    if run.settings.conflicts.threshold:
        run.perform(conflicts)
    if run.settings.anomalies.quantile:
        run.perform(anomalies)
    if run.settings.generate.count:
        run.perform(generate)
    for job in (prune, publish, estimate, similarities, report):
        run.perform(job)
    if not run.settings.dry_run:
        report.summarise(run)
