"""The job `modes`: its settings, its tables, and the sub-labels that it proposes."""

from __future__ import annotations

import pytest

from jobs.density import modes as job
from jobs.density import sublabels as class_parts
from jobs.errors import JobError, SettingsError
from jobs.settings.load import build
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents
from tests.support.two_kinds import ASKED, SIZES, kind
from udfs.density import histogram, modes
from udfs.density.marginal import Marginal


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["modes.draws=50"], "at least 59 are needed for estimate.components = 3"),
        (["prune.group_by=['sublabel']"], "sublabel needs modes.draws, such as 200"),
        (["modes.level=0"], "must lie between"),
    ],
)
def test_settings_of_modes_are_checked_before_a_pipeline(flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, flags, job="pipeline", images=".")


def test_a_class_of_two_kinds_is_split(clustered: GivenLatents) -> None:
    with pytest.raises(SettingsError, match=r"modes: set modes\.draws"):
        clustered.job(job.STAGE)
    with pytest.raises(JobError, match=r"table sublabels.*run \./spark-submit\.sh modes first"):
        clustered.prune(*ASKED)
    clustered.job(job.STAGE, *ASKED)
    warehouse = open_store(clustered.spark, str(clustered.folder))
    densities = warehouse.read("density").where("rule = 'none'").collect()
    cells = {
        (r.label, r.component): histogram.Histogram(r.origin, r.step, r.counts) for r in densities
    }
    rows = {(row.label, row.component): row for row in warehouse.read("modes").collect()}
    assert rows.keys() == cells.keys()
    for key, row in rows.items():
        count = sum(label == row.label for label, _ in cells)
        expected = modes.stable(cells[key], 100, 0.05 / count)
        assert (row.stable_modes, row.p_value) == (expected.stable, expected.p_value)
        assert row.positions == expected.positions.tolist()
        assert row.modes == len(Marginal(cells[key]).modes())
        assert row.heterogeneous == (row.label == "two")
    assert {key for key, row in rows.items() if row.stable_modes > 1} == {("two", 1)}

    sublabels = warehouse.read("sublabels").collect()
    assert {row.image_id for row in sublabels} == clustered.images.keys()
    names: dict[tuple[str, bool], set[str]] = {}
    for row in sublabels:
        assert row.label == clustered.images[row.image_id]["label"]
        names.setdefault(kind(clustered.images[row.image_id]), set()).add(row.sublabel)
    parts = [names.pop(("two", small)) for small in (False, True)]
    assert sorted(parts, key=min) == [{"two/1"}, {"two/2"}]
    assert names == {(label, False): {label} for label in SIZES if label != "two"}

    densities = job.densities(warehouse.read("density"))
    found = {("two", 1): modes.stable(cells["two", 1], 100, 0.05 / 3)}
    splits = job.splits(densities, {"two": {1: found["two", 1]}})
    again = class_parts.sublabels(warehouse.read("projections").repartition(7), splits).collect()
    assert sorted(again) == sorted(sublabels)
