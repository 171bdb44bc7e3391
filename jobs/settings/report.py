"""The section [report]: what the page shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from jobs.settings.validators import Section, Text, Whole, between


@dataclass(frozen=True)
class Report(Section):
    """The page and its figures."""

    truth: Text = ""
    pictures: Annotated[Whole, between(0, 8000)] = 5000
