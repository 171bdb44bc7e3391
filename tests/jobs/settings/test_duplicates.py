"""Sections [prune], [leaks], [conflicts] and [publish]."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import SettingsError
from jobs.settings.duplicates import (
    CANDIDATES,
    FIXED,
    GRADIENTS,
    MOST_RULES,
    OVERLAP,
    RATE,
    RAW,
    SEARCHED,
    SHARE,
    SHARE_OF_ALL,
    WHITENED,
    Rule,
)
from jobs.settings.load import build


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("prune.thresholds=[nan]", "no cosine"),
        ("prune.thresholds=[1.5]", "1.5 is no cosine"),
        ("prune.thresholds=[0.97, 0.970]", "twice"),
        ("prune.thresholds=" + "9" * 400, "is no rule"),
        ("prune.thresholds=[true]", "must be a list of numbers"),
        ('prune.thresholds=["keep:0.5"]', "is no rule: give numbers such as 0.95, or overlap"),
        ('prune.thresholds=["keep_share:x"]', "is no rule"),
        ('prune.thresholds=["keep_share:0"]', "above 0 and at most 1"),
        ('prune.thresholds=["keep_share_all:1.5"]', "above 0 and at most 1"),
        ('prune.thresholds=["pair_rate:1"]', "between 0 and 1"),
        ('prune.thresholds=["overlap:0"]', "both images show must be above 0 and at most 1"),
        ('prune.thresholds=["overlap:1.01"]', "both images show must be above 0 and at most 1"),
        ('prune.thresholds=["overlap:0.5", "overlap:0.50"]', "twice"),
        ("publish.export=tar", 'must be webdataset, imagefolder or ""'),
        ("publish.export=['webdataset', 'webdataset']", "names a format twice"),
        ("publish.shard_bytes=1000", "must lie between 65536 and"),
        ("prune.candidates=[1.5]", "must be numbers between -1 and 1"),
        ("prune.candidates=[nan]", "must be numbers between -1 and 1"),
        ("prune.candidates=half", "must be a list of numbers"),
        ("prune.proof=0.3", "between 0.4 and 1"),
        ("prune.agreement=-0.1", "between 0 and 1"),
        ("prune.tries=0", "between 1 and 16384"),
        ("prune.orientations=4", "must be 1, or 8"),
        ('prune.thresholds=["pair_rate:0.1", "pair_rate:1e-1"]', "twice"),
        (f"prune.thresholds={[k / 100 for k in range(MOST_RULES + 1)]}", "at most 60 are allowed"),
        ("prune.space=white", "must be raw, whitened"),
        ('prune.space=["raw", "raw"]', "names a space twice"),
        ('prune.order=["score", "-score"]', "twice"),
        ('prune.order=["-"]', "no name"),
        ("prune.thresholds=0.9,0.8", r"write it in quotes, as 'prune.thresholds=\[0.9, 0.8\]'"),
        ("publish.rule=overlap", "or fixed:0.85 for the number 0.85"),
        ("publish.rule=[0.85]", "or fixed:0.85 for the number 0.85"),
        ("publish.rule=true", "or fixed:0.85 for the number 0.85"),
        ("leaks.scope=class", "must be one of all, label"),
        ("conflicts.threshold=2", "between 0 and 1"),
        ("conflicts.threshold=overlap:0", "must be a number, or overlap:0.7"),
        ("conflicts.threshold=pair_rate:0.1", "must be a number, or overlap:0.7"),
        ("conflicts.threshold=true", "must be a number, or overlap:0.7"),
        ("publish.space=white", 'must be one of raw, whitened, gradients, ""'),
        ("publish.minimum_kept=-1", "must lie between"),
        ("publish.most_removed=1.5", "between 0 and 1"),
        ("publish.most_removed_of_class=nan", "between 0 and 1"),
        ('publish.split=["train:0.8", "test:0.3"]', "sum to 1.1, they must sum to 1"),
        ('publish.split=["train"]', "such as train:0.8"),
        ('publish.split=["train:1", "test:0"]', "'test:0' must be name:share"),
        ('publish.split=[":1"]', "':1' must be name:share"),
        ('publish.split=["a:0.5", "a:0.5"]', "names a twice"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])


def test_every_wrong_rule_is_told() -> None:
    with pytest.raises(SettingsError, match=r"2 is no cosine.*; 'pair_rate:2': the share of pairs"):
        build({}, ['prune.thresholds=[2, 0.9, "pair_rate:2"]'])


def test_a_number_is_a_list_of_one_and_names_its_rule() -> None:
    settings = build({}, ["prune.thresholds=0.9500"])
    assert settings.prune.fixed == {"fixed:0.95": 0.95}
    assert list(settings.prune.rules) == ["fixed:0.95"]


@given(st.sampled_from((FIXED, SHARE, SHARE_OF_ALL, RATE, OVERLAP)), st.floats(allow_nan=False))
def test_a_rule_is_read_back_from_its_name(kind: str, number: float) -> None:
    rule = Rule(kind, number)
    assert Rule.of(rule.name) == rule
    assert rule.threshold == (number if kind == FIXED else None)
    assert rule.is_searched == (kind in SEARCHED)


def test_a_rule_is_titled_for_people() -> None:
    titles = [Rule.of(rule).title for rule in (0.95, "keep_share:0.50", "overlap:0.70")]
    assert titles == ["T = 0.95", "keep_share 0.5", "overlap ≥ 0.7"]
    short = [Rule.of(rule).short for rule in (0.95, "keep_share:0.50", "overlap:0.70")]
    assert short == ["0.95", "keep_share:0.5", "overlap ≥ 0.7"]


def test_each_kind_of_rule_is_listed_apart() -> None:
    flag = 'prune.thresholds=[0.9, "overlap:0.7", "pair_rate:0.001", "overlap:1"]'
    prune = build({}, [flag]).prune
    assert prune.fixed == {"fixed:0.9": 0.9}
    assert prune.overlaps == {"overlap:0.7": 0.7, "overlap:1.0": 1.0}
    assert list(prune.searched) == ["pair_rate:0.001"]


def test_conflicts_ask_for_a_number_or_an_overlap() -> None:
    alike = build({}, ["conflicts.threshold=1"]).conflicts
    assert (alike.threshold, alike.overlap, alike.rule.threshold) == (1.0, None, 1.0)
    proved = build({}, ["conflicts.threshold=overlap:0.70"]).conflicts
    assert (proved.overlap, proved.rule.name, proved.rule.threshold) == (0.7, "overlap:0.7", None)


def test_candidates_have_a_default_for_each_space() -> None:
    both = ['prune.space=["raw", "whitened"]', 'prune.thresholds="overlap:0.7"']
    assert build({}).prune.candidate_thresholds == {GRADIENTS: CANDIDATES[GRADIENTS]}
    found = build({}, both).prune.candidate_thresholds
    assert found == {space: CANDIDATES[space] for space in (RAW, WHITENED)}
    one = build({}, ["prune.space=raw", "prune.candidates=0.5"])
    assert one.prune.candidate_thresholds == {RAW: 0.5}
    given_ = build({}, [*both, "prune.candidates=[0.7, 0.4]"])
    assert given_.prune.candidate_thresholds == {RAW: 0.7, WHITENED: 0.4}


def test_sub_labels_are_a_name_among_the_groups() -> None:
    assert not build({}).prune.by_sublabel
    for key in ("group_by", "never_across"):
        assert build({}, [f'prune.{key}=["date", "sublabel"]']).prune.by_sublabel


def test_all_mistakes_of_a_split_come_in_one_message() -> None:
    with pytest.raises(SettingsError) as caught:
        build({}, ['publish.split=["a:0.5", "a:0.7", ":0.1", "b:-1", "c:1.5"]'])
    for part in ("names a twice", "':0.1'", "'b:-1'", "'c:1.5'", "sum to 1.8"):
        assert part in str(caught.value)


def test_shares_may_miss_1_by_rounding() -> None:
    shares = build({}, ['publish.split=["a:0.7", "b: 0.2", "c:0.1"]']).publish.shares
    assert list(shares.items()) == [("a", 0.7), ("b", 0.2), ("c", 0.1)]
    build({}, ['publish.split=["a:0.3333333333", "b:0.3333333333", "c:0.3333333334"]'])


@pytest.mark.parametrize(
    ("flag", "rule"),
    [("0.85", "fixed:0.85"), ("fixed:0.850", "fixed:0.85"), ("overlap:.7", "overlap:0.7")],
)
def test_the_published_rule_may_be_given_as_a_threshold_is(flag: str, rule: str) -> None:
    assert build({}, (f"publish.rule={flag}",)).publish.rule == rule


def test_an_export_is_none_one_or_several() -> None:
    for text, exports in {
        "": (),
        "webdataset": ("webdataset",),
        "['webdataset', 'imagefolder']": ("webdataset", "imagefolder"),
    }.items():
        assert build({}, (f"publish.export={text}",)).publish.export == exports
