"""pipeline: every job after the other, and what came of it; vectors brought along need no train."""

from __future__ import annotations

from jobs.duplicates import groups
from jobs.runtime.run import Run
from jobs.settings.duplicates import WHITENED


def main(run: Run) -> None:
    """Source files → every table, the report, and a summary on the console."""
    from jobs.acquisition import ingest
    from jobs.autoencoder import encode, train, whiten
    from jobs.density import anomalies, generate, modes, project
    from jobs.duplicates import conflicts, leaks, prune, publish
    from jobs.evaluation import estimate, similarities
    from jobs.report import console_summary, report

    run.console.line(f"  {run.settings.images} → {run.warehouse.root}")
    run.perform(ingest)
    if run.warehouse.exists("images"):  # not before a dry run of the first
        groups.check(run.warehouse.read("images"), run.settings.prune)
    if not run.settings.ingest.vector_column:
        run.perform(train)
    for job in (encode, project):
        run.perform(job)
    if run.settings.modes.draws:
        run.perform(modes)
    if WHITENED in run.settings.prune.space:
        run.perform(whiten)
    if run.settings.leaks.enabled:
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
        console_summary.summarise(run)
