"""Settings and flags: every mistake is told, all in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.settings.load import build
from tests.conftest import PAPER


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("estimate.step=-1", "number of cells"),
        ("estimate.step=0.25", "number of cells"),
        ("estimate.step=5000", "whole one up to 4096"),
        ("estimate.step=inf", "number of cells"),
        ("estimate.step=true", "number of cells"),
        ("estimate.step=foo", "must be scott, fd, sturges, normal or a number of cells"),
        ("prune.thresholds=[nan]", "no cosine"),
        ("prune.thresholds=[0.97, 0.970]", "twice"),
        ('prune.space=["raw", "whitened"]', "prune.thresholds: name them"),
        ('prune.order=["score", "-score"]', "twice"),
        ('prune.order=["-"]', "no name"),
        ("publish.minimum_kept=-1", "must lie between"),
        ("publish.most_removed=1.5", "between 0 and 1"),
        ("publish.most_removed_of_class=nan", "between 0 and 1"),
        ('publish.split=["train:0.8", "test:0.3"]', "sum to 1.1, they must sum to 1"),
        ('publish.split=["train"]', "such as train:0.8"),
        ('publish.split=["train:1", "test:0"]', "'test:0' must be name:share"),
        ('publish.split=[":1"]', "':1' must be name:share"),
        ('publish.split=["a:0.5", "a:0.5"]', "names a twice"),
        ("train.device=cuda:x", "cuda:N"),
        ("train.sample=" + "9" * 400, "must lie between"),
        ("train.epochs=1.5", "whole number"),
        ("ingest.stride=32", "needs ingest.tile"),
        ("prune.space=white", "must be raw, whitened"),
        ('prune.space=["raw", "raw"]', "names a space twice"),
        ('prune.thresholds=["keep:0.5"]', "is no rule: give numbers such as 0.95, or keep_share"),
        ('prune.thresholds=["keep_share:x"]', "is no rule"),
        ('prune.thresholds=["keep_share:0"]', "above 0 and at most 1"),
        ('prune.thresholds=["keep_share_all:1.5"]', "above 0 and at most 1"),
        ('prune.thresholds=["pair_rate:1"]', "between 0 and 1"),
        ('prune.thresholds=["pair_rate:0.1", "pair_rate:1e-1"]', "twice"),
        ("anomalies.remove=true", "needs anomalies.quantile, such as 0.01"),
        ("anomalies.quantile=0.7", "between 0 and 0.5"),
        ("generate.components=4", "only estimate.components = 3 axes are modelled"),
        ('generate.labels=["a", "a"]', "names a class twice"),
        ("train.objective=instance", "must be one of reconstruction, reconstruction"),
        ("train.temperature=0", "between 0.001 and 100"),
        ("train.normalise=1", "must be true or false"),
        ("encode.orientations=4", "must be 1, or 8"),
        ("ingest.tyle=64", "did you mean tile"),
        ("tile=64", "section.key=value"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])


@pytest.mark.parametrize("seed", [-5, 2**40])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match="--seed"):
        build({}, (), seed)


def test_all_mistakes_of_a_pipeline_come_in_one_message(tmp_path: Path) -> None:
    flags = ["train.model=nowhere", "report.truth=lost.csv", "publish.rule=fixed:0.5", "a.b=1"]
    with pytest.raises(SettingsError) as caught:
        build({}, flags, job="pipeline")
    told = str(caught.value)
    for part in ("--images", "train.model", "report.truth", "publish.rule", "--set a.b=1"):
        assert part in told
    assert len(told.splitlines()) == 5


def test_a_number_is_a_list_of_one_and_names_its_rule() -> None:
    settings = build({}, ["prune.thresholds=0.9500"])
    assert settings.prune.fixed == {"fixed:0.95": 0.95}
    assert list(settings.prune.rules) == ["fixed:0.95"]


def test_all_mistakes_of_a_split_come_in_one_message() -> None:
    with pytest.raises(SettingsError) as caught:
        build({}, ['publish.split=["a:0.5", "a:0.7", ":0.1", "b:-1", "c:1.5"]'])
    for part in ("names a twice", "':0.1'", "'b:-1'", "'c:1.5'", "sum to 1.8"):
        assert part in str(caught.value)


def test_shares_may_miss_1_by_rounding() -> None:
    shares = build({}, ['publish.split=["a:0.7", "b: 0.2", "c:0.1"]']).publish.shares
    assert list(shares.items()) == [("a", 0.7), ("b", 0.2), ("c", 0.1)]
    build({}, ['publish.split=["a:0.3333333333", "b:0.3333333333", "c:0.3333333334"]'])


def test_what_decides_the_weights() -> None:
    """What is not read, or is as before there was a choice, leaves a trained model as it is."""
    before = {"model", "sample", "epochs", "batch_size", "learning_rate", "held_out", "seed"}
    plain, normalised = PAPER[:2], "train.normalise=true"
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


def test_what_does_not_go_with_eight_orientations() -> None:
    many = "encode.orientations=8"
    assert build({}, [many]).encode.orientations == 8
    with pytest.raises(SettingsError, match=r"generate.count: needs encode.orientations = 1"):
        build({}, [many, "generate.count=2"])
    vectors = ["ingest.source=parquet", "ingest.id_column=i", "ingest.vector_column=v"]
    with pytest.raises(SettingsError, match=r"encode.orientations: turns pixels"):
        build({}, [many, *vectors])


@pytest.mark.parametrize(
    ("flags", "rules", "published"),
    [
        ([], [0.9, 0.85, 0.8], 0.85),
        (["prune.space=raw"], [0.97, 0.95, 0.93], 0.95),
        (["prune.space=raw", "prune.thresholds=[0.9]"], [0.9], 0.9),
        (['prune.space=["raw", "whitened"]', "prune.thresholds=[0.9, 0.8]"], [0.9, 0.8], 0.8),
        (["publish.rule=fixed:0.8"], [0.9, 0.85, 0.8], 0.8),
    ],
)
def test_thresholds_are_those_usual_in_the_space(
    flags: list[str], rules: list[float], published: float
) -> None:
    settings = build({}, flags)
    assert list(settings.prune.fixed.values()) == rules
    assert settings.publish.rule == f"fixed:{published}"
    assert build({}, flags, 3).publish.rule == settings.publish.rule


def test_flags_go_over_the_file_and_seed_over_both() -> None:
    settings = build({"train": {"epochs": 3, "seed": 1}}, ["train.epochs=4"], 7)
    assert settings.train.epochs == 4
    assert (settings.train.seed, settings.sample.seed, settings.publish.seed) == (7, 7, 7)
