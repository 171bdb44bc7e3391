"""The job `pipeline`: runs every stage that the settings enable, and prints a summary at the end.

`STAGES` lists all stages in their order. A new stage is added here; its own file declares
everything else about it (see `jobs/runtime/stage.py`).
"""

from __future__ import annotations

from jobs.acquisition import ingest
from jobs.autoencoder import describe, encode, train, whiten
from jobs.density import anomalies, generate, modes, project
from jobs.duplicates import conflicts, export, leaks, prune, publish
from jobs.errors import SettingsError
from jobs.evaluation import calibrate, estimate, similarities
from jobs.paths import absolute
from jobs.report import console_summary, report
from jobs.runtime.console import Console
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage
from jobs.settings.model import Settings

STAGES: tuple[Stage, ...] = (
    ingest.STAGE,
    train.STAGE,
    encode.STAGE,
    project.STAGE,
    modes.STAGE,
    whiten.STAGE,
    describe.STAGE,
    leaks.STAGE,
    conflicts.STAGE,
    anomalies.STAGE,
    generate.STAGE,
    prune.STAGE,
    publish.STAGE,
    export.STAGE,
    estimate.STAGE,
    similarities.STAGE,
    calibrate.STAGE,
    report.STAGE,
)


def stages_of(settings: Settings) -> list[Stage]:
    """Return the stages that a pipeline with these settings runs, in their order."""
    return [stage for stage in STAGES if stage.in_pipeline and stage.enabled(settings)]


def main(run: Run) -> None:
    """Source files → every table that the settings ask for, the report, and a summary."""
    check_stages(run)
    for stage in stages_of(run.settings):
        run.execute(stage)
        if stage is ingest.STAGE:  # what is wrong is reported before hours of training
            check_images(run)
    console_summary.summarise(run)


def announce(settings: Settings) -> None:
    """Say what becomes of which images."""
    Console.of(settings).line(f"  {settings.images} → {absolute(settings.warehouse)}")


def check_stages(run: Run) -> None:
    """Raise the error of a stage that could not do its work at the end of the pipeline."""
    for stage in stages_of(run.settings):
        stage.before(run)


def check_images(run: Run) -> None:
    """Raise SettingsError with what of all stages' settings does not fit the table `images`."""
    if not run.warehouse.exists("images"):  # a dry run may come before the first ingest
        return
    mistakes = [mistake for stage in stages_of(run.settings) for mistake in stage.mistakes(run)]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
