"""The one entry: `main.py JOB [options]` under spark-submit runs a job and exits.

Exit code 0: done. 2: wrong usage or settings, all mistakes in one message. 1: the job failed, said
in one line that tells what to do (with --verbose the whole stack). 130: interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from jobs import pipeline
from jobs.acquisition import sample
from jobs.dry_run import plan
from jobs.errors import JobError, SettingsError
from jobs.runtime import session
from jobs.runtime.console import Console
from jobs.runtime.lock import lock
from jobs.runtime.process import attach_terminal, die_with_parent, interrupted
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage
from jobs.settings.load import build, read_file
from jobs.settings.model import FORMATS, Settings

SETTINGS = "LATENT_DEDUP_SETTINGS"  # the project's own settings file, from spark-submit.sh
# `sample` needs neither Spark nor a warehouse; each stage is also a job of its own.
SAMPLE, PIPELINE = "sample", "pipeline"
STAGES = {stage.name: stage for stage in pipeline.STAGES}
JOBS = (SAMPLE, *STAGES, PIPELINE)
USAGE = f"""\
usage: ./spark-submit.sh JOB [--images PATH] [--warehouse DIR] [--settings FILE]
                         [--set section.key=value ...] [--seed N] [--overwrite STAGE]
                         [--quiet] [--verbose] [--log-format text|json] [--dry-run]
                         [-- options of spark-submit]
jobs: {" ".join(JOBS)}
./spark-submit.sh JOB --help tells the options of a job"""


def parse(job: str, arguments: Sequence[str]) -> Settings:
    """Settings from a job's command line; raises SettingsError with all mistakes."""
    parser = argparse.ArgumentParser(
        prog=f"./spark-submit.sh {job}",
        description="Options of spark-submit itself come after `--`.",
        allow_abbrev=False,
    )
    settings = os.environ.get(SETTINGS, f"conf/{os.environ.get('PROFILE', 'local')}.toml")
    parser.add_argument("--images", default="", metavar="PATH", help="folder or table to read")
    parser.add_argument("--warehouse", default="build/warehouse", metavar="DIR")
    parser.add_argument("--settings", default=settings, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--seed", type=int, metavar="N", help="sets every seed")
    parser.add_argument(
        "--overwrite",
        action="append",
        default=[],
        metavar="STAGE",
        help=f"do a stage again though nothing changed: {', '.join(STAGES)}",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="only errors, warnings and where the result lies"
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="tables and rows of each stage, Spark's warnings, the whole stack of an error",
    )
    parser.add_argument(
        "--log-format", default=FORMATS[0], choices=FORMATS, help="json: an object a line"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done and what it would take"
    )
    given = parser.parse_args(arguments)
    return build(
        read_file(given.settings),
        given.set,
        given.seed,
        job,
        tuple(STAGES),
        images=given.images,
        warehouse=given.warehouse,
        overwrite=tuple(given.overwrite),
        quiet=given.quiet,
        verbose=given.verbose,
        log_format=given.log_format,
        dry_run=given.dry_run,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the job that the first argument names; returns the exit code."""
    job = arguments[0] if arguments else ""
    if job in ("", "-h", "--help"):
        print(USAGE)
        return 0 if job else 2
    if job not in JOBS:
        print(f"there is no job '{job}'\n{USAGE}")
        return 2
    die_with_parent()
    attach_terminal()
    try:
        settings = parse(job, arguments[1:])
    except SettingsError as wrong:
        mistakes = str(wrong).replace("\n", "\n  ")
        message = f"{job}: the settings need a change:\n  {mistakes}"
        Console(log_format=log_format(arguments)).error(message, code=2)
        return 2
    return _guarded(job, run_sample if job == SAMPLE else run, settings)


def run_sample(job: str, settings: Settings) -> None:
    """Write the synthetic survey."""
    sample.main(settings)


def run(job: str, settings: Settings) -> None:
    """Run a stage, or the pipeline, with a Spark session, under the lock of its warehouse."""
    stages = stages_of(job, settings)
    if settings.dry_run:
        spark = session.start(job)
        plan.say(Run(spark, settings, job, pipeline.STAGES), stages)
        spark.stop()
        return
    with lock(settings.warehouse):
        heavy = [module for stage in stages for module in stage.imports]
        loading = threading.Thread(target=_import, args=(heavy,), daemon=True)
        loading.start()
        spark = session.start(job)
        signal.signal(signal.SIGINT, interrupted)
        loading.join()
        current = Run(spark, settings, job, pipeline.STAGES)
        try:
            current.close_stale()
            execute(current, job)
        finally:
            current.close()
        current.console.results(current.results(), current.seconds)
        spark.stop()


def stages_of(job: str, settings: Settings) -> list[Stage]:
    """The stages that a job runs with these settings."""
    if job != PIPELINE:
        return [STAGES[job]]
    return [stage for stage in pipeline.STAGES if stage.enabled(settings)]


def execute(run: Run, job: str) -> None:
    """Run a stage, or the pipeline."""
    if job == PIPELINE:
        pipeline.main(run)
    else:
        run.execute(STAGES[job])


def _import(modules: Sequence[str]) -> None:
    """Import modules ahead of their use, where an error in one is raised again."""
    with contextlib.suppress(Exception):
        for module in modules:
            importlib.import_module(module)


def log_format(arguments: Sequence[str]) -> str:
    """How to speak where the command line as a whole makes no settings."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--log-format", default=FORMATS[0])
    return str(parser.parse_known_args(arguments)[0].log_format)


def _guarded(job: str, run: Callable[[str, Settings], None], settings: Settings) -> int:
    console = Console.of(settings)
    try:
        run(job, settings)
    except KeyboardInterrupt:
        said = "interrupted; the same command goes on where this one stopped"
        console.error(f"{'' if console.json else chr(10)}{job}: {said}", code=130)
        return 130
    except SettingsError as wrong:
        console.error(f"{job}: {wrong}", code=2)
        return 2
    except Exception as failure:
        said = f"{job} failed: {explain(failure)}"
        stack = traceback.format_exc() if settings.verbose else ""
        if console.json:
            console.error(said, code=1, **({"stack": stack} if stack else {}))
        else:
            console.error(stack + said)
        return 1
    return 0


def explain(failure: Exception) -> str:
    """One line of a failure: its own words, or the last words of the Python that failed."""
    if isinstance(failure, JobError):
        return str(failure)
    if "No space left on device" in str(failure):
        return "the disk is full; make room and run the same command again: nothing is lost"
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    python = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    text = (python or lines or [type(failure).__name__])[-1 if python else 0]
    return f"{text} (--verbose shows the whole stack; finished stages are not done again)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
