"""The command line of every job: flags, settings, session, lock, exit codes.

0 done; 2 wrong usage or settings, all mistakes in one message; 1 the job failed, in one line that
says what to do (the stack with --verbose).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from jobs.common import session
from jobs.common.console import Console
from jobs.common.lock import lock
from jobs.common.plan import Plan
from jobs.common.run import Run
from jobs.common.settings import FORMATS, STAGES, Settings, SettingsError, build, read_file
from jobs.common.storage import JobError

SETTINGS = "LATENT_DEDUP_SETTINGS"  # the project's own settings file, from spark-submit.sh
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


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
        images=given.images,
        warehouse=given.warehouse,
        overwrite=tuple(given.overwrite),
        quiet=given.quiet,
        verbose=given.verbose,
        log_format=given.log_format,
        dry_run=given.dry_run,
    )


def run(job: str, main: Callable[[Run], None], meanwhile: Sequence[str] = ()) -> None:
    """Run a job as a program and exit; `meanwhile`: modules to import while Spark starts."""

    def with_session(settings: Settings) -> None:
        if settings.dry_run:
            spark = session.start(job)
            plan = Plan(spark, settings, job)
            main(plan)
            plan.say()
            spark.stop()
            return
        with lock(settings.warehouse):
            loading = threading.Thread(target=_import, args=(meanwhile,), daemon=True)
            loading.start()
            spark = session.start(job)
            signal.signal(signal.SIGINT, interrupted)
            loading.join()
            current = Run(spark, settings, job)
            try:
                current.close_stale()
                main(current)
            finally:
                current.close()
            current.console.results(current.results(), current.seconds)
            spark.stop()

    run_plain(job, with_session)


def interrupted(number: int, frame: object) -> None:
    """Ctrl-C, which the JVM gets as well.

    Spark's own handler asks the JVM, which is ending, to cancel its jobs, in the middle of another
    question to it; what comes of that is logged with its stacks.
    """
    logging.disable(logging.CRITICAL)
    raise KeyboardInterrupt


def _import(modules: Sequence[str]) -> None:
    """Import modules ahead of their use, where an error in one is raised again."""
    with contextlib.suppress(Exception):
        for module in modules:
            importlib.import_module(module)


def run_plain(job: str, main: Callable[[Settings], None]) -> None:
    """Run a job that needs neither Spark nor a warehouse as a program and exit."""
    die_with_parent()
    try:
        settings = parse(job, sys.argv[1:])
    except SettingsError as wrong:
        mistakes = str(wrong).replace("\n", "\n  ")
        said = f"{job}: the settings need a change:\n  {mistakes}"
        Console(log_format=log_format(sys.argv[1:])).error(said, code=2)
        sys.exit(2)
    sys.exit(_guarded(job, main, settings))


def log_format(arguments: Sequence[str]) -> str:
    """How to speak where the command line as a whole makes no settings."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--log-format", default=FORMATS[0])
    return str(parser.parse_known_args(arguments)[0].log_format)


def _guarded(job: str, main: Callable[[Settings], None], settings: Settings) -> int:
    console = Console.of(settings)
    try:
        main(settings)
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


def die_with_parent() -> None:
    """End with the JVM that started us: a SIGKILL of it would leave this process running."""
    if sys.platform == "linux" and os.environ.get("PYSPARK_GATEWAY_PORT"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
