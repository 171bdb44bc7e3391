"""The callers' own columns, renamed and cast so that every reader of Delta tables copes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

# What Delta refuses in a name, and the two that everyone who names such a column has to escape.
INVALID = re.compile(r"[ ,;{}()\n\t=.`]")


@dataclass(frozen=True)
class Carried:
    """The callers' columns as they enter the warehouse."""

    columns: dict[str, Column]
    types: dict[str, T.DataType]
    renamed: dict[str, str]  # the caller's name → ours
    dropped: tuple[str, ...]  # columns of type void


def carried(schema: T.StructType, used: set[str], reserved: tuple[str, ...]) -> Carried:
    """What becomes of a table's columns that no setting names."""
    columns: dict[str, Column] = {}
    kinds: dict[str, T.DataType] = {}
    renamed: dict[str, str] = {}
    dropped = []
    taken = set(reserved)
    rest = [column for column in schema if column.name not in used]
    lower = [column.name.lower() for column in rest]
    for column in rest:
        if isinstance(column.dataType, T.NullType):
            dropped.append(column.name)
            continue
        clash = column.name.lower() in taken or lower.count(column.name.lower()) > 1
        name = _free(column.name, clash, taken)
        taken.add(name.lower())
        if name != column.name:
            renamed[column.name] = name
        source = F.col("`" + column.name.replace("`", "``") + "`")
        columns[name], kinds[name] = _portable_column(source, column.dataType)
    return Carried(columns, kinds, renamed, tuple(dropped))


def _free(name: str, clash: bool, taken: set[str]) -> str:
    if name and not clash and not INVALID.search(name):
        return name
    base = "source_" + INVALID.sub("_", name)
    free, number = base, 2
    while free.lower() in taken:
        free, number = f"{base}_{number}", number + 1
    return free


def _portable_column(source: Column, kind: T.DataType) -> tuple[Column, T.DataType]:
    if _holds(kind, T.VariantType):
        return F.to_json(source), T.StringType()
    wanted = _portable(kind)
    return (source if wanted == kind else source.cast(wanted)), wanted


def _holds(kind: T.DataType, wanted: type[T.DataType]) -> bool:
    inner = {
        T.ArrayType: lambda t: [t.elementType],
        T.MapType: lambda t: [t.keyType, t.valueType],
        T.StructType: lambda t: [column.dataType for column in t],
    }.get(type(kind), lambda _: [])(kind)
    return isinstance(kind, wanted) or any(_holds(part, wanted) for part in inner)


def _portable(kind: T.DataType) -> T.DataType:
    """The type that stands in for one that some reader of Delta tables does not know."""
    match kind:
        case T.TimestampNTZType():
            return T.TimestampType()
        case T.ArrayType():
            return T.ArrayType(_portable(kind.elementType))
        case T.MapType():
            return T.MapType(_portable(kind.keyType), _portable(kind.valueType))
        case T.StructType():
            return _portable_struct(kind)
        case T.NullType() | T.DayTimeIntervalType() | T.YearMonthIntervalType():
            return T.StringType()
        case T.CharType() | T.VarcharType() | T.CalendarIntervalType():
            return T.StringType()
        case _:
            return kind if type(kind).__name__ != "TimeType" else T.StringType()


def _portable_struct(kind: T.StructType) -> T.StructType:
    taken: set[str] = set()
    fields = []
    for column in kind:
        name = _free(column.name, column.name.lower() in taken, taken)
        taken.add(name.lower())
        fields.append(T.StructField(name, _portable(column.dataType)))
    return T.StructType(fields)
