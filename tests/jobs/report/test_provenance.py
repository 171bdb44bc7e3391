"""What a report says of the runs that it was made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.report import provenance
from jobs.settings.load import build

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(stage: str, state: str, newest: bool = True, **settings: Any) -> dict[str, Any]:
    """A row as provenance.last_runs reads it; it took 1.25 seconds."""
    return {
        "stage": stage,
        "state": state,
        "started": START,
        "finished": None if state == "failed" else START + timedelta(seconds=1.25),
        "settings": json.dumps(settings),
        "newest": 1 if newest else 2,
        "newest_of_state": 1,
    }


ROWS = [
    row("train", "done", train={"epochs": 7}),
    row("estimate", "done", newest=False, estimate={"control": 33}),
    row("estimate", "failed"),
]


def test_a_stage_stands_as_it_last_ended() -> None:
    assert provenance.stages(ROWS) == [
        {"stage": "train", "state": "done", "seconds": "1.2", "finished": "2026-01-02 03:04:06"},
        {"stage": "estimate", "state": "failed", "seconds": "", "finished": ""},
    ]
    assert provenance.last_done(ROWS) == {"train": ROWS[0], "estimate": ROWS[1]}


def test_settings_are_those_of_the_run_that_did_each_stage() -> None:
    settings = build({}, ["train.epochs=2", "prune.seed=5", "estimate.control=11"])
    lines = provenance.settings_used(ROWS, settings).splitlines()
    assert "epochs = 7" in lines
    assert "epochs = 2" not in lines
    assert "seed = 5" in lines[lines.index("[prune]") :]
    assert "[sample]" not in lines
    assert provenance.draws(ROWS, settings) == 33
    assert provenance.draws(ROWS[:1], settings) == 11


def test_latents_come_of_a_model_or_were_given() -> None:
    assert provenance.origin("clip", "given") == "vectors brought along: clip"
    assert provenance.origin("0123", "cpu") == "model 0123, encoded on cpu"
    assert provenance.origin(None, None) == "no model"


def test_versions_name_packages_and_tables() -> None:
    text = provenance.versions({"images": 3, "axes": 1}, "no model").splitlines()
    assert text[1:] == ["no model", "tables read at version: axes 1, images 3"]
    assert all(f"{name} " in text[0] for name in provenance.PACKAGES)
