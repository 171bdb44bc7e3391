"""All settings of a run, as values: compared, copied, hashed, sent to executors, written down."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from jobs.settings.duplicates import OVERLAPS
from jobs.settings.load import build
from jobs.settings.model import SECTIONS, published_space

CHANGED = ("prune.thresholds=[1, 0.9]", "prune.order=-score", "estimate.step=7", "leaks.split=test")


def test_settings_arrive_at_an_executor_as_they_were_sent() -> None:
    settings = build({}, CHANGED, images="a b", overwrite=("prune",), stages=("prune",))
    arrived = pickle.loads(pickle.dumps(settings))
    assert (arrived, hash(arrived)) == (settings, hash(settings))
    for name, kind in SECTIONS.items():
        section = getattr(settings, name)
        assert isinstance(section, kind)
        assert pickle.loads(pickle.dumps(section)) == section


def test_settings_are_changed_by_copies_alone() -> None:
    settings = build({})
    fewer = replace(settings, prune=replace(settings.prune, thresholds=(0.9,)))
    assert (fewer.prune.thresholds, settings.prune.thresholds) == ((0.9,), OVERLAPS)
    with pytest.raises(FrozenInstanceError):
        settings.images = "other"  # type: ignore[misc]


def test_sections_as_json_are_a_settings_file_of_the_same_settings() -> None:
    """So they stand in the table `runs`."""
    settings = build({}, CHANGED)
    content = json.loads(json.dumps(settings.sections()))
    assert list(content) == list(SECTIONS)
    assert content["prune"]["thresholds"] == [1, 0.9]
    assert build(content) == settings


def test_the_first_space_is_published_unless_one_is_named() -> None:
    both = ('prune.space=["whitened", "raw"]', "prune.thresholds=[0.9]")
    assert published_space(build({}, both)) == "whitened"
    assert published_space(build({}, (*both, "publish.space=raw"))) == "raw"
    assert published_space(build({})) == "gradients"
    assert published_space(build({}, ("prune.thresholds=[0.9]",))) == "whitened"
