"""Leaves out what libraries print to stderr that tells a user nothing: `without_noise`.

Each is printed after, or beside, a message of the job that says what happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LAUNCHER = "Using incubator modules"  # Spark's launcher names them on every start
TRACEBACK = "Traceback (most recent call last):"
DAEMON = "pyspark/daemon.py"
# delta-rs, about a file that it could not write to its end; the job says why, as of a full disk.
PANIC = re.compile(r"thread '[^']*' (?:\(\d+\) )?panicked at \S*object_store\S*$")
SHUT_DOWN = "Already shut down"
PANIC_REST = ("stack backtrace:", "note: ")


def without_noise(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of stderr but for those of three kinds.

    Spark's launcher tells which modules it uses. A process from which a Python worker was to be
    forked writes a traceback that ends in EOFError, when the task that wanted it was given up. The
    library that writes tables panics about a file whose writing has failed already.

    A traceback and the first line of a panic are held back until it is known what they are.
    """
    rest = iter(lines)
    line = next(rest, None)
    while line is not None:
        following: str | None = None
        if line.rstrip() == TRACEBACK:
            yield from _traceback(line, rest)
        elif PANIC.search(line.rstrip()):
            shown, following = _panic(line, rest)
            yield from shown
        elif LAUNCHER not in line:
            yield line
        line = next(rest, None) if following is None else following


def _traceback(first: str, rest: Iterator[str]) -> list[str]:
    """Return a traceback; nothing if it is that of a worker that nobody waits for."""
    block = [first]
    for line in rest:
        block.append(line)
        if not line.startswith(" "):
            break
    is_given_up = block[-1].rstrip() == "EOFError" and any(DAEMON in line for line in block)
    return [] if is_given_up else block


def _panic(first: str, rest: Iterator[str]) -> tuple[list[str], str | None]:
    """Return the first lines of a panic, and a line that follows it, None if none was read.

    There are no lines if it is about a file whose writing had failed before.
    """
    second = next(rest, "")
    if second.rstrip() != SHUT_DOWN:
        return [first, second], None
    return [], next((line for line in rest if not line.startswith(PANIC_REST)), None)
