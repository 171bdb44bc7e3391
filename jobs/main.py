"""The entry point: `main.py JOB [options]` under spark-submit runs a job and exits.

Exit codes: 0 if the job is done; 2 for wrong usage or settings, with all mistakes in one message; 1
if the job failed, with one line that tells what to do (and the whole stack if --verbose is given);
130 if it was interrupted by Ctrl-C.

On one machine this process starts Java, and only where a job needs Spark: wrong settings, a dry run
of folders and a job whose stages are all up to date do not, and to start it takes seconds. On a
cluster spark-submit has started it before.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.acquisition import sample
from jobs.dry_run.plan import log_plan
from jobs.errors import JobError, MissingError, SettingsError, reason
from jobs.maintenance import maintain
from jobs.paths import is_mounted
from jobs.runtime import fork_server, session, worker_daemon
from jobs.runtime.console import Console
from jobs.runtime.process import attach_terminal, die_with_parent, silence_libraries
from jobs.runtime.run import Run, blaming_damage
from jobs.runtime.stage import Stage
from jobs.settings.load import build, read_file
from jobs.settings.model import FORMATS, Settings
from jobs.settings.redaction import hide_named, redacted
from jobs.warehouse import shared_folder
from jobs.warehouse.lock import lock
from jobs.warehouse.no_spark import NeedsSpark, NoSpark
from jobs.warehouse.store import check_root

# The environment variable in which spark-submit.sh gives the path of the project's settings file.
SETTINGS_VARIABLE = "LATENT_DEDUP_SETTINGS"
FROM_WORKER = "jobs.errors.JobError: "  # what stands before a JobError in a worker's traceback
# The jobs are `sample`, which needs neither Spark nor a warehouse, each stage, the pipeline, and
# `maintain`, which changes no row of any table.
SAMPLE, PIPELINE, MAINTAIN = "sample", "pipeline", "maintain"
STAGES = {stage.name: stage for stage in pipeline.STAGES}
JOBS = (SAMPLE, *STAGES, PIPELINE, MAINTAIN)
BEGINNING = (PIPELINE, pipeline.STAGES[0].name)  # jobs that may make a warehouse
USAGE = f"""\
usage: ./spark-submit.sh JOB [--images PATH] [--warehouse DIR] [--settings FILE]
                         [--set section.key=value ...] [--seed N] [--overwrite STAGE]
                         [--report DIR] [--quiet] [--verbose] [--log-format text|json]
                         [--dry-run]
                         [-- options of spark-submit]
jobs: {" ".join(JOBS)}
./spark-submit.sh JOB --help tells the options of a job, ./spark-submit.sh doctor what is missing"""


def parse(job: str, arguments: Sequence[str]) -> Settings:
    """Build the settings of a job from its command line. Raises SettingsError with all mistakes."""
    options = _parser(job).parse_args(arguments)
    return build(
        read_file(options.settings),
        options.set,
        options.seed,
        job,
        tuple(STAGES),
        images=options.images,
        warehouse=options.warehouse,
        overwrite=tuple(options.overwrite),
        quiet=options.quiet,
        verbose=options.verbose,
        log_format=options.log_format,
        dry_run=options.dry_run,
        report_folder=options.report,
    )


class _Parser(argparse.ArgumentParser):
    """A parser that does not repeat a credential in its message."""

    def error(self, message: str) -> NoReturn:
        super().error(redacted(message))


def _parser(job: str) -> argparse.ArgumentParser:
    """Declare the options of a job."""
    parser = _Parser(
        prog=f"./spark-submit.sh {job}",
        description="Options of spark-submit itself come after `--`.",
        allow_abbrev=False,
    )
    profile = f"conf/{os.environ.get('PROFILE', 'local')}.toml"
    settings_file = os.environ.get(SETTINGS_VARIABLE, profile)
    parser.add_argument("--images", default="", metavar="PATH", help="folder or table to read")
    parser.add_argument("--warehouse", default="build/warehouse", metavar="DIR")
    parser.add_argument(
        "--report", default="", metavar="DIR", help="a copy of the report, on the driver's disk"
    )
    parser.add_argument("--settings", default=settings_file, metavar="FILE")
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
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the job that the first argument names, and return the exit code."""
    hide_named(os.environ.items())
    job = arguments[0] if arguments else ""
    if job in ("", "-h", "--help"):
        print(USAGE)
        return 0 if job else 2
    if job not in JOBS:
        print(f"there is no job '{redacted(job)}'\n{USAGE}", file=sys.stderr)
        return 2
    die_with_parent()
    attach_terminal()
    try:
        settings = parse(job, arguments[1:])
    except SettingsError as wrong:
        mistakes = str(wrong).replace("\n", "\n  ")
        message = f"{job}: the settings need a change:\n  {mistakes}"
        Console(log_format=log_format_without_settings(arguments)).error(message, code=2)
        return 2
    actions = {SAMPLE: run_sample, MAINTAIN: run_maintain}
    return guarded(job, actions.get(job, run), settings)


def run_sample(job: str, settings: Settings) -> None:
    """Run the job `sample`, which writes the synthetic survey."""
    sample.main(settings)


def run_maintain(job: str, settings: Settings) -> None:
    """Run the job `maintain` under the lock of its warehouse. A dry run takes no lock."""
    if not settings.verbose:
        silence_libraries()
    check_root(settings.warehouse, may_be_new=False)
    held = contextlib.nullcontext() if settings.dry_run else lock(settings.warehouse)
    with held, session.running(job) as spark:
        maintain.main(spark, settings)


def is_finished(run: Run, stages: Sequence[Stage]) -> bool:
    """Whether no stage has anything to do. The source is listed last, if all others are done."""
    if not run.warehouse.exists("runs"):
        return False
    for stage in (*stages[1:], stages[0]):
        stage.check_enabled(run.settings)
        try:
            if not run.open(stage).finished:
                return False
        except MissingError:  # an earlier one of these writes it, or it is told with Spark
            return False
    return True


def run(job: str, settings: Settings) -> None:
    """Run a stage or the pipeline, while its warehouse is held alone.

    A mounted folder is locked before Spark starts, any other warehouse by a lease afterwards; a dry
    run does neither. Modules that take long to import are loaded while Spark starts.
    """
    stages = stages_of(job, settings)
    check_root(settings.warehouse, may_be_new=job in BEGINNING)
    if not settings.verbose:
        silence_libraries()
    if settings.dry_run:
        if not without_spark(job, settings, plan):
            with session.running(job) as spark:
                plan(Run(spark, settings, job, pipeline.STAGES), job)
        return
    with lock(settings.warehouse):
        if job == PIPELINE:
            pipeline.announce(settings)
        if without_spark(job, settings, perform_if_finished):
            return
        modules = [module for stage in stages for module in stage.imports]
        importing = threading.Thread(target=_import, args=(modules,), daemon=True)
        importing.start()
        of_workers = (module for stage in stages for module in stage.worker_modules)
        server = fork_server.running(of_workers, is_needed=not session.is_running())
        with server, session.running(job) as spark:
            worker_daemon.begin(spark)
            importing.join()
            perform(Run(spark, settings, job, pipeline.STAGES), job)


def without_spark(job: str, settings: Settings, action: Callable[[Run, str], None]) -> bool:
    """Do something that may need no Spark; return False if it does, before it changed anything."""
    if session.is_running() or not is_mounted(settings.warehouse):
        return False
    try:
        action(Run(cast(SparkSession, NoSpark()), settings, job, pipeline.STAGES), job)
    except NeedsSpark:
        return False
    return True


def perform_if_finished(current: Run, job: str) -> None:
    """Run a job whose stages are all up to date. Raises NeedsSpark if there is more to do."""
    settings = current.settings
    if settings.overwrite or settings.publish.table:  # names are given to tables in any case
        raise NeedsSpark
    with blaming_damage(current.warehouse):
        if not is_finished(current, stages_of(job, settings)):
            raise NeedsSpark
        if job == PIPELINE:  # which asks both as well: here it has said nothing yet
            pipeline.check_stages(current)
            pipeline.check_images(current)
    perform(current, job)


def perform(run: Run, job: str) -> None:
    """Run the job on a warehouse that is held alone, and tell where its results lie."""
    with run.lease():
        try:
            with blaming_damage(run.warehouse):
                run.close_stale()
                execute(run, job)
        finally:
            run.close()
    run.console.results(run.results(), run.seconds)


def plan(run: Run, job: str) -> None:
    """Log what a job would do, without doing it."""
    stages = stages_of(job, run.settings)
    with blaming_damage(run.warehouse):
        for stage in stages:
            stage.before(run)
        if job == PIPELINE:
            pipeline.check_images(run)
        log_plan(run, stages)


def stages_of(job: str, settings: Settings) -> list[Stage]:
    """Return the stages that a job runs with these settings."""
    if job != PIPELINE:
        return [STAGES[job]]
    return pipeline.stages_of(settings)


def execute(current: Run, job: str) -> None:
    """Run the job: one stage, or the pipeline."""
    if job == PIPELINE:
        pipeline.main(current)
    else:
        current.execute(STAGES[job])


def _import(modules: Sequence[str]) -> None:
    """Import modules ahead of their use. An error is ignored: it will be raised again there."""
    with contextlib.suppress(Exception):
        for module in modules:
            importlib.import_module(module)


def log_format_without_settings(arguments: Sequence[str]) -> str:
    """Return --log-format, read from a command line that `parse` refused."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--log-format", default=FORMATS[0])
    return str(parser.parse_known_args(arguments)[0].log_format)


def guarded(job: str, action: Callable[[str, Settings], None], settings: Settings) -> int:
    """Call `action`, report how it fails on the console, and return the exit code."""
    console = Console.of(settings)
    try:
        action(job, settings)
    except KeyboardInterrupt:
        message = f"{job}: interrupted; the same command goes on where this one stopped"
        console.error(message if console.json else f"\n{message}", code=130)
        return 130
    except SettingsError as wrong:
        console.error(f"{job}: {wrong}", code=2)
        return 2
    except Exception as failure:
        message = f"{job} failed: {explain(failure)}"
        stack = traceback.format_exc() if settings.verbose else ""
        if console.json:
            console.error(message, code=1, **({"stack": stack} if stack else {}))
        else:
            console.error(stack + message)
        return 1
    return 0


def explain(failure: Exception) -> str:
    """Return one line that explains a failure.

    It is the message of a JobError as it stands, also of one that was raised on an executor. Of
    other errors, such as Spark's with the traceback of a worker, it is the last line that names a
    Python exception, else the innermost cause.
    """
    if isinstance(failure, JobError):
        return str(failure)
    unshared = shared_folder.explained(str(failure))
    if unshared:
        return unshared
    if "No space left on device" in str(failure):
        return "the disk is full; make room and run the same command again: nothing is lost"
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    exceptions = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    if exceptions and exceptions[-1].startswith(FROM_WORKER):
        return exceptions[-1].removeprefix(FROM_WORKER)
    text = exceptions[-1] if exceptions else reason(failure)
    return f"{text} (--verbose shows the whole stack; finished stages are not done again)"


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    gc.freeze()  # Python would look for garbage among all modules, for a third of a second
    sys.exit(exit_code)
