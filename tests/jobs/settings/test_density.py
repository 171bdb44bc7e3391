"""Sections [modes], [anomalies] and [generate]."""

from __future__ import annotations

import pytest

from jobs.errors import SettingsError
from jobs.settings.load import build


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("modes.level=0", "between 0.0001 and 0.5"),
        ("anomalies.quantile=0.7", "between 0 and 0.5"),
        ("generate.count=-1", "between 0 and 1000"),
        ('generate.labels=["a", "a"]', "names a class twice"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])
