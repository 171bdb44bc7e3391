"""From a file and flags to settings: every mistake is told, all in one message."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import SettingsError
from jobs.settings.load import build, read_flag
from jobs.settings.model import SECTIONS

KEYS = [(name, key.name) for name, kind in SECTIONS.items() for key in fields(kind)]
SEEDED = [name for name, key in KEYS if key == "seed"]


@pytest.mark.parametrize(
    ("flag", "read"),
    [
        ("train.epochs=4", ("train", "epochs", 4)),
        ("train.epochs = 4", ("train", "epochs", 4)),
        ("train.normalise=true", ("train", "normalise", True)),
        ('prune.order=["a", "-b"]', ("prune", "order", ["a", "-b"])),
        ("ingest.layout=split/label", ("ingest", "layout", "split/label")),
        ("report.truth=a=b.csv", ("report", "truth", "a=b.csv")),
        ("report.truth=", ("report", "truth", "")),
    ],
)
def test_a_flags_value_is_toml_or_else_a_plain_string(
    flag: str, read: tuple[str, str, Any]
) -> None:
    assert read_flag(flag) == read


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("tile=64", "--set tile=64: write it as section.key=value"),
        ("ingest.tile", "--set ingest.tile: write it as section.key=value"),
        ("ingst.tile=64", "--set ingst.tile=64: there is no such section; did you mean ingest?"),
        ("ingest.tyle=64", "ingest.tyle: there is no such key; did you mean tile?"),
        ("report.xyz=1", "report.xyz: there is no such key; there are truth, pictures"),
        ("train.epochs=many", "train.epochs = 'many': must be a whole number"),
    ],
)
def test_the_whole_line_of_a_mistake(flag: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build({}, [flag])
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"trane": {}}, "[trane]: there is no such section; did you mean train?"),
        ({"images": "x"}, "[images]: there is no such section; did you mean ingest?"),
        ({"train": 3}, "train: is a section; write [train] and its keys below"),
    ],
)
def test_a_file_has_known_sections_alone(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(raw)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("seed", [-5, 2**40])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(SettingsError, match="--seed"):
        build({}, (), seed)


def test_only_stages_can_be_overwritten() -> None:
    stages = ("ingest", "prune")
    assert build({}, stages=stages, overwrite=("prune",)).overwrite == ("prune",)
    with pytest.raises(SettingsError, match="--overwrite prun: there is no such stage; did you"):
        build({}, stages=stages, overwrite=("prun",))


def test_all_mistakes_of_a_pipeline_come_in_one_message() -> None:
    flags = ["train.model=nowhere", "report.truth=lost.csv", "publish.rule=fixed:0.5", "a.b=1"]
    with pytest.raises(SettingsError) as caught:
        build({}, flags, job="pipeline")
    told = str(caught.value)
    for part in ("--images", "train.model", "report.truth", "publish.rule", "--set a.b=1"):
        assert part in told
    assert len(told.splitlines()) == 5


# Whatever a TOML file can hold.
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=8))
def test_whatever_a_file_holds_is_taken_or_told_in_our_words(
    content: dict[tuple[str, str], Any],
) -> None:
    """A line begins with the key and ends with our words, none of pydantic's."""
    raw: dict[str, dict[str, Any]] = {}
    for (section, key), value in content.items():
        raw.setdefault(section, {})[key] = value
    try:
        build(raw)
    except SettingsError as wrong:
        for line in str(wrong).splitlines():
            start = re.match(r"(\w+)(\.\w+)?", line)
            assert start is not None
            assert start[1] in SECTIONS
            assert not re.search(r"Input should|Value error|validation error|pydantic", line)


VECTORS = ("ingest.source=parquet", "ingest.id_column=i", "ingest.vector_column=v")
PROOFS = ["overlap:0.9", "overlap:0.7", "overlap:0.5"]
NUMBERS = ["fixed:0.9", "fixed:0.85", "fixed:0.8"]


@pytest.mark.parametrize(
    ("flags", "rules", "published"),
    [
        ([], PROOFS, "overlap:0.7"),
        (["prune.space=raw"], PROOFS, "overlap:0.7"),
        (['prune.space=["raw", "whitened"]'], PROOFS, "overlap:0.7"),
        (["publish.rule=overlap:0.5"], PROOFS, "overlap:0.5"),
        (["prune.space=raw", "prune.thresholds=[0.9]"], ["fixed:0.9"], "fixed:0.9"),
        (VECTORS, NUMBERS, "fixed:0.85"),
        ([*VECTORS, "prune.space=raw"], ["fixed:0.97", "fixed:0.95", "fixed:0.93"], "fixed:0.95"),
        ([*VECTORS, "publish.rule=fixed:0.8"], NUMBERS, "fixed:0.8"),
    ],
)
def test_the_default_rules_ask_for_a_proof_where_there_are_pixels(
    flags: list[str], rules: list[str], published: str
) -> None:
    settings = build({}, flags)
    assert list(settings.prune.rules) == rules
    assert settings.publish.rule == published
    assert build({}, flags, 3).publish.rule == settings.publish.rule


def test_flags_go_over_the_file_and_seed_over_both() -> None:
    raw = {"train": {"epochs": 3, "seed": 1}}
    settings = build(raw, ["train.epochs=4"], 7)
    assert settings.train.epochs == 4
    assert {getattr(settings, name).seed for name in SEEDED} == {7}
    assert raw == {"train": {"epochs": 3, "seed": 1}}


def test_a_mistake_hides_no_other() -> None:
    """Keys beside a wrong one are still looked at together."""
    flags = ["ingest.tile=-1", "ingest.stride=8", "leaks.remove=true", "leaks.scope=x"]
    with pytest.raises(SettingsError) as caught:
        build({}, flags)
    keys = [re.split(" =|:", line)[0] for line in str(caught.value).splitlines()]
    assert sorted(keys) == ["ingest.stride", "ingest.tile", "leaks.remove", "leaks.scope"]


def test_the_space_follows_the_rules() -> None:
    """Gradients propose where every rule asks for a proof; numbers are of latents."""
    space = {
        (): "gradients",
        ('prune.thresholds="overlap:0.8"', "conflicts.threshold=overlap:0.7"): "gradients",
        ("prune.thresholds=[0.9]",): "whitened",
        ('prune.thresholds=[0.9, "overlap:0.8"]',): "whitened",
        ("conflicts.threshold=0.9",): "whitened",
        ("publish.rule=fixed:0.9",): "whitened",
        ("publish.rule=overlap:0.5",): "gradients",
        ("encode.orientations=8",): "whitened",
        VECTORS: "whitened",
        (*VECTORS, "ingest.image_column=picture"): "gradients",
        ("prune.space=raw",): "raw",
    }
    for flags, expected in space.items():
        assert build({}, flags).prune.space == (expected,), flags
