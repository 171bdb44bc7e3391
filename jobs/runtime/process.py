"""The process that a job runs in: its terminal, its end with the JVM, what Ctrl-C does to it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys

DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
TERMINAL = "LATENT_DEDUP_TERMINAL"  # path of the terminal on spark-submit.sh's stdout, else empty
STDOUT = 1  # its file descriptor


def attach_terminal() -> None:
    """Make the terminal that the command was given this process's stdout.

    spark-submit starts us with a pipe and copies what comes through it to its own stdout, so a
    terminal's width is not known here, nor that there is one. Without one the pipe stays.
    """
    with contextlib.suppress(OSError):  # a container may lack the path
        terminal = os.open(os.environ.get(TERMINAL, ""), os.O_WRONLY | os.O_NOCTTY)
        if os.isatty(terminal):
            sys.stdout.flush()
            os.dup2(terminal, STDOUT)
        os.close(terminal)


def die_with_parent() -> None:
    """End with the JVM that started us: a SIGKILL of it would leave this process running."""
    if sys.platform == "linux" and os.environ.get("PYSPARK_GATEWAY_PORT"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)


def interrupted(number: int, frame: object) -> None:
    """Ctrl-C, which the JVM gets as well.

    Spark's own handler asks the JVM, which is ending, to cancel its jobs, in the middle of another
    question to it; what comes of that is logged with its stacks.
    """
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # above all levels
    raise KeyboardInterrupt
