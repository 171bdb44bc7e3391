"""Sections [train] and [encode]."""

from __future__ import annotations

import pytest

from jobs.errors import SettingsError
from jobs.settings.load import build


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("train.device=cuda:x", "cuda:N"),
        ("train.sample=" + "9" * 400, "must lie between"),
        ("train.epochs=1.5", "whole number"),
        ("train.objective=instance", "must be one of reconstruction, reconstruction"),
        ("train.temperature=0", "between 0.001 and 100"),
        ("train.temperature=" + "9" * 400, "must be a number"),
        ("train.normalise=1", "must be true or false"),
        ("encode.orientations=4", "must be 1, or 8"),
        ("encode.exchange=csv", "must be one of pandas, arrow"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])


def test_what_decides_the_weights() -> None:
    """What is not read, or is as before there was a choice, leaves a trained model as it is."""
    before = {"model", "sample", "epochs", "batch_size", "learning_rate", "held_out", "seed"}
    plain = ("train.objective=reconstruction", "train.normalise=false")
    normalised = "train.normalise=true"
    assert set(build({}, plain).train.learning) == before | {"device"}
    unread = ("train.temperature=0.2", "train.instance_weight=2", "train.precision=float32")
    assert build({}, (*plain, *unread)).train.learning == build({}, plain).train.learning
    second = "train.objective=reconstruction+instance"
    seen = [
        build({}, (*plain, *flags)).train.learning
        for flags in (
            [],
            [normalised],
            ["train.precision=bfloat16"],
            [second],
            [second, normalised],
            [second, "train.temperature=0.2"],
            [second, "train.instance_weight=2"],
            [second, "train.precision=float32"],
        )
    ]
    assert all(one != other for k, one in enumerate(seen) for other in seen[:k])
