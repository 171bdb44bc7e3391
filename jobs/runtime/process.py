"""The process of a job: its terminal, its cores, its end together with the JVM, and Ctrl-C.

On a cluster spark-submit starts this process from a JVM, on one machine this process starts the
JVM. `main` calls what sets this process up before a job runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from pyspark.accumulators import AccumulatorTCPServer, AccumulatorUnixServer
from pyspark.logger import PySparkLogger

DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
TERMINAL = "LATENT_DEDUP_TERMINAL"  # path of the terminal on spark-submit.sh's stdout, else empty
STDOUT = 1  # its file descriptor
ABOVE_ALL = logging.CRITICAL + 1  # a level that no record has
# They log each error of a query as JSON, with two stacks, though the error is raised as well.
QUERY_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def attach_terminal() -> None:
    """Make the terminal of the command this process's stdout, if there is one.

    Where spark-submit starts this process, it gives it a pipe, from which it copies to its stdout.
    Behind a pipe it could not be told whether there is a terminal, and how wide it is.
    """
    with contextlib.suppress(OSError):  # a container may lack the path
        terminal = os.open(os.environ.get(TERMINAL, ""), os.O_WRONLY | os.O_NOCTTY)
        if os.isatty(terminal):
            sys.stdout.flush()
            os.dup2(terminal, STDOUT)
        os.close(terminal)


def die_with_parent() -> None:
    """Let this process end when the JVM that started it ends, even by a SIGKILL."""
    if sys.platform == "linux" and os.environ.get("PYSPARK_GATEWAY_PORT"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)


def interrupted(number: int, frame: object) -> None:
    """Handle Ctrl-C: raise KeyboardInterrupt.

    A JVM that started this process gets the signal as well and is ending; any other one ends with
    this process. Spark's own handler would ask it to cancel its jobs in the middle of another
    request.
    """
    silence_py4j()  # also with --verbose: what fails now fails because of the signal
    raise KeyboardInterrupt


def silence_libraries() -> None:
    """Keep the log lines and the warnings of libraries from the console; --verbose shows them.

    On a cluster spark-submit copies this process's stderr to its stdout, where scripts read the
    results. What a user can act on is in the command's own messages.
    """
    silence_py4j()
    silence_accumulators()
    for name in QUERY_LOGGERS:
        PySparkLogger.getLogger(name).setLevel(ABOVE_ALL)  # they have handlers of their own
    # Of a logger without any handler Python itself prints warnings and errors.
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(True)


def silence_accumulators() -> None:
    """Let PySpark's servers of accumulators print no stack when Java ends before this process does.

    At the end of a command it does, and where it ends in the middle the command tells of it itself.
    """
    for server in (AccumulatorTCPServer, AccumulatorUnixServer):
        server.handle_error = _say_nothing  # type: ignore[method-assign, assignment]


def _say_nothing(*_: object) -> None:
    """Stand for what would print."""


def silence_py4j() -> None:
    """Log no stacks of requests to the JVM that fail; the command says itself why it failed.

    When the JVM ends, each thread that waits for an answer would log one. py4j logs some to its own
    loggers and some, such as that of a request that Ctrl-C interrupts, to the root logger.
    """
    logging.getLogger("py4j").setLevel(ABOVE_ALL)
    logging.getLogger().addFilter(_is_not_of_py4j)  # a filter that is there is not added twice


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    """Tell whether a record was logged by a module outside py4j."""
    return "py4j" not in Path(record.pathname).parts
