"""The job `calibrate`: its table, its line on the console, and the commands that it proposes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.errors import SettingsError
from jobs.evaluation import calibrate
from jobs.settings.duplicates import Rule
from jobs.settings.load import build
from udfs.evaluation.precision import Interval, Pairs, Part, Threshold, curve


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "calibrate.labels is missing"),
        (["calibrate.labels=lost.csv"], "there is no such file"),
        (["calibrate.precision=1.5"], "must lie between 0.5 and 1"),
        (["calibrate.pairs=0"], "must lie between 1"),
    ],
)
def test_settings_are_checked_first(flags: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build({}, flags, job="calibrate")


RULES = {"fixed:0.9": 0.9, "keep_share_all:0.5": 0.95}


def curve_of(shares: dict[float, tuple[float, float]]) -> list[Threshold]:
    return [
        Threshold(threshold, Interval(share, low, 1.0), 10, 0.5)
        for threshold, (share, low) in shares.items()
    ]


ESTIMATES = curve_of({0.8: (0.3, 0.2), 0.9: (0.971, 0.95), 0.95: (0.99, 0.96), 0.975: (1.0, 0.99)})


def test_the_table_names_what_each_threshold_is() -> None:
    rows = {
        str(row["rule"]): row for row in calibrate.calibration_rows(ESTIMATES, RULES, "raw", 0.99)
    }
    assert {rule: row["threshold"] for rule, row in rows.items()} == {
        "fixed:0.9": 0.9,
        "keep_share_all:0.5": 0.95,
        "edge:0.8": 0.8,
        "edge:0.975": 0.975,
        "precision:0.99": 0.95,
        "precision_low:0.99": 0.975,
    }
    assert rows["fixed:0.9"]["precision_low"] == 0.95
    assert not any(
        "precision" in str(r["rule"])
        for r in calibrate.calibration_rows(ESTIMATES[:2], {}, "", 0.99)
    )


def test_the_line_says_the_precision_of_what_is_published() -> None:
    settings = build({}, ["publish.rule=fixed:0.9"])
    message = calibrate.summary(ESTIMATES, RULES, 200, settings)
    assert message == "precision 97.1 % (95.0–100.0 %) at 0.9, 200 pairs; 99 % from T = 0.95"
    other = build({}, ["publish.rule=pair_rate:0.1", "calibrate.precision=0.995"])
    message = calibrate.summary(ESTIMATES[:3], {}, 7, other)
    assert message == "precision 30.0 % (20.0–100.0 %) at 0.8, 7 pairs; 99.5 % at no T"
    nothing = [Threshold(0.9, None, 3, None)]
    assert "no precision at 0.9: strata" in calibrate.summary(nothing, {}, 3, other)


def test_the_next_commands_prune_at_the_threshold_and_publish() -> None:
    settings = build({}, [], warehouse="a b")
    rules = ["fixed:0.9", "keep_share_all:0.5"]
    whole = calibrate.next_commands(settings, ESTIMATES, rules, "whitened", ["whitened"])
    assert whole == [
        "./spark-submit.sh prune --warehouse 'a b' --set "
        "'prune.thresholds=[0.9, \"keep_share_all:0.5\", 0.95]'",
        "./spark-submit.sh publish --warehouse 'a b' --set publish.rule=fixed:0.95",
    ]
    assert calibrate.next_commands(settings, ESTIMATES, rules, "raw", ["raw"]) == [
        whole[0] + """ --set 'prune.space=["raw"]'""",
        whole[1] + " --set publish.space=raw",
    ]
    both = ["raw", "whitened"]
    assert calibrate.next_commands(settings, ESTIMATES, ["fixed:0.95"], "whitened", both) == [
        "./spark-submit.sh publish --warehouse 'a b' --set publish.rule=fixed:0.95 "
        "--set publish.space=whitened"
    ]
    assert calibrate.next_commands(settings, ESTIMATES[:1], rules, "raw", ["raw"]) == []


PROOFS = calibrate.LabelledProofs(
    "whitened",
    {"p1": True, "p2": False},
    {
        Rule.of("overlap:0.9"): Part(Interval(1.0, 0.97, 1.0), 40, 0.5),
        Rule.of("overlap:0.7"): Part(Interval(0.992, 0.95, 1.0), 60, 0.7),
        Rule.of("overlap:0.5"): Part(Interval(0.9, 0.8, 0.95), 80, 0.8),
    },
)


def test_the_line_says_how_precise_the_published_overlap_is() -> None:
    for rule, said in (
        ("overlap:0.7", "precision 99.2 % (95.0–100.0 %) at overlap ≥ 0.7, 2 pairs"),
        ("fixed:0.9", "precision 90.0 % (80.0–95.0 %) at overlap ≥ 0.5, 2 pairs"),
    ):
        settings = build({}, [f"publish.rule={rule}"])
        assert calibrate.proof_summary(PROOFS, settings) == said
    unknown = replace(PROOFS, by_rule={Rule.of("overlap:0.5"): Part(None, 0, None)})
    assert "no precision at overlap ≥ 0.5: strata" in calibrate.proof_summary(unknown, build({}))
    nothing = replace(PROOFS, by_rule={})
    assert calibrate.proof_summary(nothing, build({})) == "no rule asks for an overlap, 2 pairs"


def test_the_next_command_publishes_the_smallest_precise_overlap() -> None:
    settings = build({}, [], warehouse="w")
    publish = "./spark-submit.sh publish --warehouse w --set publish.rule="
    assert calibrate.commands_by_proof(settings, PROOFS, ["gradients"]) == [f"{publish}overlap:0.7"]
    strict = build({}, ["calibrate.precision=0.995"], warehouse="w")
    assert calibrate.commands_by_proof(strict, PROOFS, ["raw", "whitened"]) == [
        f"{publish}overlap:0.9 --set publish.space=whitened"
    ]
    worst = replace(PROOFS, by_rule=dict(list(PROOFS.by_rule.items())[2:]))
    assert calibrate.commands_by_proof(settings, worst, ["whitened"]) == []


def test_pairs_without_a_label_are_kept_apart() -> None:
    class Row(dict[str, float | str]):
        pair_id = "p1"

    names = ("similarity", "low", "high", "population", "weight")
    row = Row(zip(names, (0.95, 0.9, 1.0, 40.0, 20.0), strict=True))
    other = Row(row)
    other.pair_id = "p2"
    pairs = calibrate.pairs_of([row, other], {"p2": True})  # type: ignore[list-item]
    assert isinstance(pairs, Pairs)
    assert pairs.label.tolist() == [-1, 1]
    (one,) = curve(pairs, [])
    assert (one.threshold, one.pairs) == (0.9, 1)
    assert np.isfinite(pairs.strata()[0].effective)
