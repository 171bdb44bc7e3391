"""What a stage's fingerprint is made of, and what is recorded of it."""

from __future__ import annotations

import json

import pytest

from jobs.errors import JobError
from jobs.runtime.stage import NamedValues, Stage, check_consistent, hashed, recorded, written_by
from jobs.warehouse.commits import fingerprint

STAGE = Stage("prune", lambda stage_run: None, version=4)


def test_a_fingerprint_is_of_the_name_the_version_the_settings_and_the_inputs() -> None:
    mark = STAGE.fingerprint({"a": 1}, {"latents": "x"})
    same = {"stage": "prune", "version": 4, "on": {"a": 1}, "inputs": {"latents": "x"}}
    assert mark == fingerprint(same)
    others = [
        STAGE.fingerprint({"a": 2}, {"latents": "x"}),
        STAGE.fingerprint({"a": 1}, {"latents": "y"}),
        STAGE.fingerprint({"a": 1}, {"vectors": "x"}),
        Stage("prune", STAGE.main, version=5).fingerprint({"a": 1}, {"latents": "x"}),
        Stage("leaks", STAGE.main, version=4).fingerprint({"a": 1}, {"latents": "x"}),
    ]
    assert len({mark, *others}) == 6


def test_a_warehouse_of_before_there_were_declarations_is_up_to_date() -> None:
    """The hash of `whiten`'s defaults, as the versions before wrote it into their commits."""
    whiten = Stage("whiten", STAGE.main, version=3)
    assert whiten.fingerprint({"append": False, "axes": 256}, {"latents": "abc"}) == fingerprint(
        {
            "stage": "whiten",
            "version": 3,
            "on": {"append": False, "axes": 256},
            "inputs": {"latents": "abc"},
        }
    )


def test_named_values_are_recorded_by_their_names_and_hashed_in_their_other_form() -> None:
    order = NamedValues({"prune.seed": 1, "prune.order": []}, hashed=[1, []])
    depends = {"images": order, "list": [order, 2], "content": "c"}
    names = {"prune.seed": 1, "prune.order": []}
    assert recorded(depends) == {"images": names, "list": [names, 2], "content": "c"}
    assert hashed(depends) == {"images": [1, []], "list": [[1, []], 2], "content": "c"}
    assert json.loads(json.dumps(recorded(depends))) == recorded(depends)
    plain = {"thresholds": ("a", "b"), "seed": 0}
    assert fingerprint(hashed(plain)) == fingerprint(plain)  # tuples and lists hash alike


def test_tables_of_one_stage_must_be_of_one_run_of_it() -> None:
    reads = {"selection": "prune", "audit": "prune", "images": "ingest"}
    check_consistent(reads, {"selection": "a", "audit": "a", "images": "b"})
    stopped = (
        "the last run of prune stopped after it had written only some of selection, audit: run"
    )
    with pytest.raises(JobError, match=stopped):
        check_consistent(reads, {"selection": "a", "audit": "c", "images": "b"})


def test_a_table_that_several_stages_write_is_wanted_of_the_first_unless_another_is_named() -> None:
    assert written_by("latents", "density") == {"latents": "encode", "density": "project"}
    assert written_by("latents", density="estimate", rejects="encode") == {
        "latents": "encode",
        "density": "estimate",
        "rejects": "encode",
    }
