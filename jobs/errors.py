"""The errors that end a command: one message that says what to do, and an exit code."""

from __future__ import annotations


class SettingsError(ValueError):
    """Wrong usage or settings: exit 2. The message lists all mistakes."""


class JobError(RuntimeError):
    """The job cannot go on: exit 1. One line that says what is wrong and what to do."""


class MissingError(JobError):
    """What an earlier stage makes is not there."""


class SchemaError(JobError):
    """Rows do not have the columns that their table declares; the message lists all differences."""
