"""Labels as people save them, and what the job `calibrate` says of them; without Spark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.errors import JobError, SettingsError
from jobs.evaluation import calibrate, pair_labels
from jobs.settings.load import build
from udfs.evaluation.precision import Interval, Pairs, Threshold, curve

KNOWN = [f"p{number}" for number in range(9)]
HEAD = "pair_id,image_id,other_id,similarity,same\n"


def saved(folder: Path, text: str, encoding: str = "utf-8") -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return str(path)


def test_labels_are_read_however_they_are_written(tmp_path: Path) -> None:
    rows = "p0,a,b,0.9,1\np1,a,c,0.9,0\np2,,,,TRUE\np3,,,,no \np4,,,,\np0,a,b,0.9,1\n\n"
    found = {"p0": True, "p1": False, "p2": True, "p3": False}
    assert pair_labels.read(saved(tmp_path, HEAD + rows), KNOWN) == found
    assert pair_labels.read(saved(tmp_path, HEAD + rows, "utf-8-sig"), KNOWN) == found
    windows = (HEAD + rows).replace(",", ";").replace("\n", "\r\n")
    assert pair_labels.read(saved(tmp_path, windows), KNOWN) == found
    quoted = 'same , note,pair_id\nyes,"two, or ""more""\nlines",p5\n0,,p6'
    assert pair_labels.read(saved(tmp_path, quoted), KNOWN) == {"p5": True, "p6": False}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"has no column pair_id, same; it has none: label the pairs in the report"),
        ("pair_id,label\np1,1\n", r"has no column same; it has pair_id, label"),
        (HEAD, r"holds no label in 0 rows: label the pairs"),
        (HEAD + "p1,,,,\np2,,,, \n", r"holds no label in 2 rows"),
        (HEAD + "p1,,,,1\nx,,,,1\n,,,,0\n", r"rows 3 \(x\), 4 \(no pair_id\) name no pair of"),
        (HEAD + "p1,,,,1\np2,,,,maybe\n", r"rows 3 \('maybe'\) have another label than 1, 0"),
        (HEAD + "p1,,,,1\np2\np1,,,,0\n", r"rows 2 and 4 \(p1\) label a pair once same and once"),
        (HEAD + "x,,,,1\n" * 8, r"2 \(x\), .*6 \(x\) and 3 more name no pair"),
    ],
)
def test_wrong_labels_are_told_with_their_rows(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(JobError, match=told):
        pair_labels.read(saved(tmp_path, text), KNOWN)


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    text = HEAD + "x,,,,1\np1,,,,?\np2,,,,1\np2,,,,0\n"
    with pytest.raises(JobError) as caught:
        pair_labels.read(saved(tmp_path, text), KNOWN)
    for part in ("rows 2 (x) name", "rows 3 ('?') have", "rows 4 and 5 (p2) label"):
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_none_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "labels.csv", tmp_path / "lost.csv"):
        with pytest.raises(JobError, match="cannot be read"):
            pair_labels.read(str(path), KNOWN)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "calibrate.labels is missing"),
        (["calibrate.labels=lost.csv"], "there is no such file"),
        (["calibrate.precision=1.5"], "must lie between 0.5 and 1"),
        (["calibrate.pairs=0"], "must lie between 1"),
    ],
)
def test_settings_are_checked_first(flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, flags, job="calibrate")


RULES = {"fixed:0.9": 0.9, "keep_share_all:0.5": 0.95}


def curve_of(shares: dict[float, tuple[float, float]]) -> list[Threshold]:
    return [
        Threshold(threshold, Interval(share, low, 1.0), 10, 0.5)
        for threshold, (share, low) in shares.items()
    ]


FOUND = curve_of({0.8: (0.3, 0.2), 0.9: (0.971, 0.95), 0.95: (0.99, 0.96), 0.975: (1.0, 0.99)})


def test_the_table_names_what_each_threshold_is() -> None:
    rows = {str(row["rule"]): row for row in calibrate.table(FOUND, RULES, "raw", 0.99)}
    assert {rule: row["threshold"] for rule, row in rows.items()} == {
        "fixed:0.9": 0.9,
        "keep_share_all:0.5": 0.95,
        "edge:0.8": 0.8,
        "edge:0.975": 0.975,
        "precision:0.99": 0.95,
        "precision_low:0.99": 0.975,
    }
    assert rows["fixed:0.9"]["precision_low"] == 0.95
    assert not any("precision" in str(r["rule"]) for r in calibrate.table(FOUND[:2], {}, "", 0.99))


def test_the_line_says_the_precision_of_what_is_published() -> None:
    settings = build({}, ["publish.rule=fixed:0.9"])
    told = calibrate.summary(FOUND, RULES, 200, settings)
    assert told == "precision 97.1 % (95.0–100.0 %) at 0.9, 200 pairs; 99 % from T = 0.95"
    other = build({}, ["publish.rule=pair_rate:0.1", "calibrate.precision=0.995"])
    told = calibrate.summary(FOUND[:3], {}, 7, other)
    assert told == "precision 30.0 % (20.0–100.0 %) at 0.8, 7 pairs; 99.5 % at no T"
    nothing = [Threshold(0.9, None, 3, None)]
    assert "no precision at 0.9: strata" in calibrate.summary(nothing, {}, 3, other)


def test_what_follows_is_to_prune_at_the_threshold_and_to_publish() -> None:
    settings = build({}, [], warehouse="a b")
    rules = ["fixed:0.9", "keep_share_all:0.5"]
    whole = calibrate.following(settings, FOUND, rules, "whitened", ["whitened"])
    assert whole == [
        "./spark-submit.sh prune --warehouse 'a b' --set "
        "'prune.thresholds=[0.9, \"keep_share_all:0.5\", 0.95]'",
        "./spark-submit.sh publish --warehouse 'a b' --set publish.rule=fixed:0.95",
    ]
    assert calibrate.following(settings, FOUND, rules, "raw", ["raw"]) == [
        whole[0] + """ --set 'prune.space=["raw"]'""",
        whole[1] + " --set publish.space=raw",
    ]
    both = ["raw", "whitened"]
    assert calibrate.following(settings, FOUND, ["fixed:0.95"], "whitened", both) == [
        "./spark-submit.sh publish --warehouse 'a b' --set publish.rule=fixed:0.95 "
        "--set publish.space=whitened"
    ]
    assert calibrate.following(settings, FOUND[:1], rules, "raw", ["raw"]) == []


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
