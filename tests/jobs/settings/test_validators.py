"""Types and checks of single keys, each as pydantic applies it."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, TypeAdapter, ValidationError

from jobs.settings import validators
from jobs.settings.validators import (
    LARGEST_SEED,
    Columns,
    Device,
    Number,
    Seed,
    Switch,
    Text,
    Texts,
    Whole,
    between,
    distinct,
    listed,
    one_of,
)


def accepted(annotation: Any, value: Any) -> Any:
    return TypeAdapter(annotation).validate_python(value)


def refused(annotation: Any, value: Any) -> str:
    """The type of the error, or the words of a check of our own."""
    with pytest.raises(ValidationError) as caught:
        accepted(annotation, value)
    error = caught.value.errors()[0]
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["type"]


@pytest.mark.parametrize(
    ("annotation", "value", "error"),
    [
        (Whole, True, "int_type"),
        (Whole, "8", "int_type"),
        (Whole, 1.5, "int_type"),
        (Whole, math.nan, "int_type"),
        (Whole, math.inf, "int_type"),
        (Number, True, "float_type"),
        (Number, "0.5", "float_type"),
        (Number, 10**400, "float_type"),
        (Switch, 1, "bool_type"),
        (Switch, "true", "bool_type"),
        (Text, 1, "string_type"),
        (Texts, 1, 'must be a list of strings, such as ["a", "b"]'),
        (Texts, ["a", 1], 'must be a list of strings, such as ["a", "b"]'),
        (Texts, {"a": 1}, 'must be a list of strings, such as ["a", "b"]'),
        (Columns, ["a", ""], "a column has no name"),
        (Columns, ["a", "a"], "names a column twice"),
        (Device, "gpu", "must be auto, cpu, cuda or cuda:N"),
        (Device, "cuda:", "must be auto, cpu, cuda or cuda:N"),
        (Seed, -1, f"must lie between 0 and {LARGEST_SEED:g}"),
        (Seed, LARGEST_SEED + 1, f"must lie between 0 and {LARGEST_SEED:g}"),
    ],
)
def test_no_value_is_taken_for_one_of_another_type_or_range(
    annotation: Any, value: Any, error: str
) -> None:
    assert refused(annotation, value) == error


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert (accepted(Whole, 8.0), type(accepted(Whole, 8.0))) == (8, int)
    assert (accepted(Number, 8), type(accepted(Number, 8))) == (8.0, float)


@given(st.lists(st.text()))
def test_a_list_becomes_a_tuple_and_a_single_item_a_list_of_one(items: list[str]) -> None:
    assert accepted(Texts, items) == tuple(items)
    for item in items:
        assert accepted(Texts, item) == (item,)


NUMBERS = Annotated[tuple[int | float | str, ...], listed(int, float, str, called="numbers")]


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.text()))
def test_items_keep_their_type(items: list[Any]) -> None:
    """1 and 1.0 are written unlike in the table `runs`."""
    found = accepted(NUMBERS, items)
    assert found == tuple(items)
    assert [type(item) for item in found] == [type(item) for item in items]


def test_a_truth_value_is_no_number_of_a_list() -> None:
    assert refused(NUMBERS, [0.5, True]) == "must be a list of numbers, such as [0.9, 0.8]"


@given(st.floats(), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_numbers_lie_between_both_bounds(value: float, low: float, extent: float) -> None:
    annotation = Annotated[Number, between(low, low + extent, " px")]
    if low <= value <= low + extent:
        assert accepted(annotation, value) == value
    else:
        assert refused(annotation, value) == f"must lie between {low:g} and {low + extent:g} px"


def test_a_choice_names_what_is_allowed() -> None:
    annotation = Annotated[Text, one_of("raw", "whitened", "")]
    assert [accepted(annotation, value) for value in ("raw", "")] == ["raw", ""]
    assert refused(annotation, "white") == 'must be one of raw, whitened, ""'


@given(st.lists(st.sampled_from("abcdef")))
def test_no_item_twice(items: list[str]) -> None:
    annotation = Annotated[Texts, AfterValidator(distinct("a class"))]
    if any(items.count(item) > 1 for item in items):
        assert refused(annotation, items) == "names a class twice"
    else:
        assert accepted(annotation, items) == tuple(items)


def test_devices() -> None:
    for device in ("auto", "cpu", "cuda", "cuda:12"):
        assert accepted(Device, device) == device


def test_a_name_may_not_be_empty() -> None:
    assert validators.not_empty(" ") == " "
    with pytest.raises(ValueError, match="must not be empty"):
        validators.not_empty("")
