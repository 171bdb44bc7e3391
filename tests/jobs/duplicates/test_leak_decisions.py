"""The settings that leaks depend on; test_leaks.py removes leaks."""

from __future__ import annotations

from jobs.duplicates.leak_decisions import leak_settings
from jobs.settings.load import build

FLAGS = ("prune.thresholds=[0.97, 0.9]", "leaks.split=['test']")


def test_the_recorded_settings_name_the_space_only_if_it_is_not_raw() -> None:
    """Tables from before there was a choice of spaces are of the raw one."""
    recorded = [[["fixed:0.97", 0.97], ["fixed:0.9", 0.9]], ["test"], "", "all"]
    assert leak_settings(build({}, (*FLAGS, "prune.space=raw"))) == recorded
    assert leak_settings(build({}, (*FLAGS, "prune.space=whitened"))) == [*recorded, "whitened"]


def test_each_setting_of_the_search_is_recorded() -> None:
    first = leak_settings(build({}, FLAGS))
    changes = (
        ["prune.thresholds=[0.97]"],
        ["leaks.split=['exam']"],
        ["leaks.split=[]", "leaks.warehouse=/other"],
        ["leaks.scope=label"],
    )
    others = [leak_settings(build({}, (*FLAGS, *change))) for change in changes]
    assert all(other != first for other in others)
    assert leak_settings(build({}, (*FLAGS, "leaks.remove=true"))) == first
