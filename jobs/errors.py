"""The errors that end a command: one message that says what to do, and an exit code."""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile
from operator import not_

# The line of a cause in a printed stack of Java, of which the last is the innermost; and what py4j
# puts before the stack of an exception that has no cause.
LISTED = 4  # lines that a colon announces, of which more would hide the message
_CAUSE = re.compile(r"^Caused by: (.+)$", re.MULTILINE)
_THROWN = re.compile(r"^An error occurred while calling .+\n: (.+)$", re.MULTILINE)
_PACKAGE = re.compile(r"^(?:[a-z_][\w]*\.)+(?=[A-Z])")  # of a class of Java


class SettingsError(ValueError):
    """Wrong usage or settings: exit 2. The message lists all mistakes."""


class JobError(RuntimeError):
    """The job cannot go on: exit 1. One line that says what is wrong and what to do."""


class MissingError(JobError):
    """What an earlier stage makes is not there."""


class SchemaError(JobError):
    """Rows do not have the columns that their table declares; the message lists all differences."""


def reason(failure: Exception) -> str:
    """Return one line that says why something failed, without a full stop.

    Of an exception of Java it is the innermost cause, of any other one its first line; with the
    lines that a colon at its end announces.
    """
    text = str(failure).strip()
    found = _CAUSE.findall(text) or _THROWN.findall(text)
    if found:
        return _PACKAGE.sub("", found[-1].strip()).rstrip(".")
    first, *rest = text.splitlines() or [type(failure).__name__]
    if first.endswith(":"):
        listed = list(takewhile(bool, dropwhile(not_, map(str.strip, rest))))
        return f"{first} {'; '.join(listed[:LISTED])}".strip()
    return first.rstrip(".")
