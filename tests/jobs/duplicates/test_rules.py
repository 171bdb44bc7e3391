"""The rules of a run: which bit is whose, and which threshold a group has."""

from __future__ import annotations

import numpy as np

from jobs.duplicates.rules import Rules
from jobs.settings.load import build


def test_given_thresholds_are_common_to_all_groups() -> None:
    settings = build({}, ["prune.thresholds=[0.97, 0.9]", "prune.space=raw", "prune.block=16"])
    rules = Rules.given(settings.prune)
    assert rules.names == ("fixed:0.97", "fixed:0.9")
    assert rules.values() == rules.values("raw/any") == (0.97, 0.9)
    assert rules.block == 16
    assert rules.task_device() == rules.driver_device() == "cpu"


def test_a_group_may_have_thresholds_of_its_own() -> None:
    rules = Rules(("keep_share:0.5",), (0.8,), {"raw/a": (0.7,)}, 16)
    assert [rules.values(group) for group in ("raw/a", "raw/b")] == [(0.7,), (0.8,)]


def test_a_mask_has_a_bit_for_each_rule_in_their_order() -> None:
    rules = Rules(("one", "two", "three"), (0.9, 0.8, 0.7), {}, 16)
    flags = rules.flags(np.array([0b000, 0b001, 0b110, 0b111]))
    assert flags.dtype == np.bool_
    assert flags.astype(int).tolist() == [[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
