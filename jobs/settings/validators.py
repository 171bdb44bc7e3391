"""Types and checks of single keys, as annotations that pydantic reads (jobs/settings/load.py).

A check raises ValueError with what is allowed; the loader puts the key and the value before it.
Checks are called `check_…`: where pydantic reads a section's annotations, a field `order` would
hide a function `order`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Strict

from udfs.acquisition.ranges import AUTO, FULL, PERCENTILE, percentiles

LARGEST_SEED = 2**31 - 1


class Section:
    """The base class of the sections: pydantic refuses a key that is not a field."""

    __pydantic_config__ = ConfigDict(extra="forbid")


def _whole(value: Any) -> Any:
    """Return a float without a fraction as an int: some programs write 8 as `8.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def listed(*allowed: type, called: str = "strings") -> BeforeValidator:
    """Allow a list of items of these types, or a single item; the value becomes a tuple."""

    def convert(value: Any) -> tuple[Any, ...]:
        items = tuple(value) if isinstance(value, list | tuple) else (value,)
        if any(isinstance(item, bool) or not isinstance(item, allowed) for item in items):
            example = "[0.9, 0.8]" if called == "numbers" else '["a", "b"]'
            raise ValueError(f"must be a list of {called}, such as {example}")
        return items

    return BeforeValidator(convert)


def between(low: float, high: float, unit: str = "") -> AfterValidator:
    """Allow a number in [low, high]; the unit is for the message."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must lie between {low:g} and {high:g}{unit}")
        return value

    return AfterValidator(check)


def one_of(*allowed: str) -> AfterValidator:
    """Allow one of these strings."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(map(_quoted, allowed))}")
        return value

    return AfterValidator(check)


def _quoted(value: str) -> str:
    return value or '""'


def distinct(items: str) -> Callable[[Sequence[str]], Sequence[str]]:
    """Allow no item twice; `items` names one in the message."""

    def check(values: Sequence[str]) -> Sequence[str]:
        if len(set(values)) < len(values):
            raise ValueError(f"names {items} twice")
        return values

    return check


def check_columns(values: Sequence[str]) -> Sequence[str]:
    """Allow names of columns, none of them empty or twice."""
    if not all(values):
        raise ValueError("a column has no name")
    return distinct("a column")(values)


def not_empty(value: str) -> str:
    """Allow any string but the empty one."""
    if not value:
        raise ValueError("must not be empty")
    return value


def check_range(value: Any) -> Any:
    """Allow a rule for the values that become black and white, or the two values."""
    if isinstance(value, list | tuple):
        numbers = [number for number in value if type(number) in (int, float)]
        if len(numbers) == len(value) == 2 and -math.inf < numbers[0] < numbers[1] < math.inf:
            return tuple(map(float, numbers))
    elif value in (AUTO, FULL):
        return value
    elif isinstance(value, str):
        with suppress(ValueError):
            low, high = percentiles(value)
            return f"{PERCENTILE}:{low:g},{high:g}"
    raise ValueError(
        f"must be {AUTO}, {FULL}, {PERCENTILE}:2,98 or two numbers in rising order, such as "
        "[0, 4095]"
    )


def check_bands(values: Sequence[int]) -> Sequence[int]:
    """Allow no number, one or three, from 1."""
    if len(values) not in (0, 1, 3) or any(value < 1 for value in values):
        raise ValueError("must hold three numbers from 1 (red, green, blue), one (grey), or none")
    return values


def check_folders(values: Sequence[str]) -> Sequence[str]:
    """Allow absolute paths and URIs of folders."""
    for value in values:
        if not re.match(r"/|[A-Za-z][A-Za-z0-9+.-]+:/", value):
            raise ValueError(f"{value!r} is no absolute path and no URI")
    return values


def check_table(value: str) -> str:
    """Allow the name of a table in a catalog, as SQL writes it without quotes; or none."""
    if value and not re.fullmatch(r"([A-Za-z_]\w{0,99}\.){1,2}[A-Za-z_]\w{0,99}", value, re.A):
        raise ValueError(
            "must be schema.table or catalog.schema.table, of letters, digits and underscores"
        )
    return value


def check_orientations(value: int) -> int:
    """Allow 1, or 8: the elements of the square's symmetry group."""
    if value not in (1, 8):
        raise ValueError("must be 1, or 8: all turns by 90° and their mirror images")
    return value


def check_device(value: str) -> str:
    """Allow a device of torch: `auto`, `cpu`, `cuda`, or `cuda:N` for one of several GPUs."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("must be auto, cpu, cuda or cuda:N")
    return value


# Strict: pydantic would otherwise take true for 1 and "8" for 8.
Text = Annotated[str, Strict()]
Switch = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
Texts = Annotated[tuple[str, ...], listed(str)]

Seed = Annotated[Whole, between(0, LARGEST_SEED)]
Device = Annotated[Text, AfterValidator(check_device)]
Columns = Annotated[Texts, AfterValidator(check_columns)]
