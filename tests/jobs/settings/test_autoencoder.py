"""Sections [train] and [encode], and which model is used."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.settings.autoencoder import SHIPPED
from jobs.settings.load import build

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.parametrize("flags", [(), ("train.device=cpu",), ("train.seed=7",)])
def test_nothing_is_trained_unless_something_is_set_for_it(flags: tuple[str, ...]) -> None:
    assert build({}, flags).train.model == SHIPPED
    assert build({}, flags, seed=3).train.model == SHIPPED


@pytest.mark.parametrize(
    "flags",
    [
        ("train.epochs=24",),
        ("train.epochs=8",),  # the default, but who names it wants a training
        ("train.objective=reconstruction",),
        ("train.model=trained",),
    ],
)
def test_a_setting_of_a_training_asks_for_one(flags: tuple[str, ...]) -> None:
    assert build({}, flags).train.model == ""


def test_the_papers_setting_trains() -> None:
    paper = tomllib.loads((ROOT / "conf/paper.toml").read_text())
    assert build(paper).train.model == ""


def test_what_is_trained_with_the_defaults_is_up_to_date_as_before() -> None:
    """The model of a warehouse is found by a hash of this."""
    assert build({}, ["train.model=trained"]).train.learning == {
        "model": "",
        "objective": "reconstruction+instance",
        "temperature": 0.1,
        "instance_weight": 1.0,
        "normalise": True,
        "sample": 50_000,
        "epochs": 8,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "held_out": 0.05,
        "seed": 0,
        "precision": "auto",
        "device": "auto",
    }


def test_the_shipped_model_and_a_training_exclude_each_other() -> None:
    flags = ["train.model=shipped", "train.epochs=24", "train.sample=9"]
    with pytest.raises(SettingsError) as caught:
        build({}, flags)
    sample, epochs = sorted(str(caught.value).splitlines(), reverse=True)
    assert sample.startswith("train.sample: is of a training, and the model that comes along")
    assert "leave it out, or --set train.model=trained" in epochs


def test_a_settings_file_asks_for_a_training_by_what_it_changes() -> None:
    """conf/local.toml names all keys with their defaults."""
    assert build({"train": {"epochs": 8}}).train.model == SHIPPED
    assert build({"train": {"epochs": 9}}).train.model == ""


def test_a_folder_of_that_name_is_given_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    assert build({}, [f"train.model={tmp_path}/shipped"], job="train").train.model != SHIPPED


def test_vectors_need_no_model_and_none_is_refused() -> None:
    vectors = ["ingest.source=parquet", "ingest.id_column=i", "ingest.vector_column=v"]
    build({}, vectors)
    build({"train": {"epochs": 24}}, [*vectors, "train.model=shipped"])
