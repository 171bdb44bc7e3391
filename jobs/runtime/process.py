"""The process that a job runs in: how it ends with the JVM, and what Ctrl-C does to it."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys

DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def die_with_parent() -> None:
    """End with the JVM that started us: a SIGKILL of it would leave this process running."""
    if sys.platform == "linux" and os.environ.get("PYSPARK_GATEWAY_PORT"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)


def interrupted(number: int, frame: object) -> None:
    """Ctrl-C, which the JVM gets as well.

    Spark's own handler asks the JVM, which is ending, to cancel its jobs, in the middle of another
    question to it; what comes of that is logged with its stacks.
    """
    logging.disable(logging.CRITICAL)
    raise KeyboardInterrupt
