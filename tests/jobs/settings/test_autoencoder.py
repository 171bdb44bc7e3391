"""Which model is used: the one that comes along, one that is given, or one of the images' own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.settings.autoencoder import SHIPPED, Train
from jobs.settings.load import build

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("flags", [(), ("train.device=cpu",), ("train.seed=7",)])
def test_nothing_is_trained_unless_something_is_set_for_it(flags: tuple[str, ...]) -> None:
    assert build({}, flags).train.model == SHIPPED
    assert build({}, flags, seed=3).train.model == SHIPPED


@pytest.mark.parametrize(
    "flags", [("train.epochs=24",), ("train.objective=reconstruction",), ("train.model=trained",)]
)
def test_a_setting_of_a_training_asks_for_one(flags: tuple[str, ...]) -> None:
    assert build({}, flags).train.model == ""


def test_the_papers_setting_trains() -> None:
    paper = tomllib.loads((ROOT / "conf/paper.toml").read_text())
    assert build(paper).train.model == ""


def test_what_is_trained_with_the_defaults_has_the_fingerprint_of_earlier_versions() -> None:
    assert build({}, ["train.model=trained"]).train.learning == Train().learning


def test_the_shipped_model_and_a_training_exclude_each_other() -> None:
    flags = ["train.model=shipped", "train.epochs=24", "train.sample=9"]
    with pytest.raises(SettingsError) as caught:
        build({}, flags)
    sample, epochs = sorted(str(caught.value).splitlines(), reverse=True)
    assert sample.startswith("train.sample: is of a training, and the model that comes along")
    assert "--set train.model=trained trains one" in epochs


def test_a_folder_of_that_name_is_given_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    assert build({}, [f"train.model={tmp_path}/shipped"], job="train").train.model != SHIPPED


def test_vectors_need_no_model_and_none_is_refused() -> None:
    build({}, ["ingest.source=parquet", "ingest.id_column=i", "ingest.vector_column=v"])
