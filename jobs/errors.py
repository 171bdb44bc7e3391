"""The errors that end a command: one message that says what to do, and an exit code."""

from __future__ import annotations

from jobs.settings.load import SettingsError


class SchemaError(SettingsError):
    """A frame does not have the columns its table declares; the message lists all differences."""
