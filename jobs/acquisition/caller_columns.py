"""The callers' own columns, renamed and cast so that every reader of Delta tables can read them.

`sources` uses it for a source that is a table: columns that no setting names go along unchanged,
except for names and types that some reader of Delta tables does not support.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

# The characters that Delta refuses in a name, and the two (. and `) that have to be escaped
# wherever such a column is named.
INVALID = re.compile(r"[ ,;{}()\n\t=.`]")


@dataclass(frozen=True)
class CallerColumns:
    """The callers' columns as they enter the warehouse.

    columns and types are keyed by the name in the warehouse. renamed: that name for each of the
    caller's names that could not stay. dropped: the names of columns of type void.
    """

    columns: dict[str, Column]
    types: dict[str, T.DataType]
    renamed: dict[str, str]
    dropped: tuple[str, ...]


def caller_columns(
    schema: T.StructType, used: set[str], reserved: tuple[str, ...]
) -> CallerColumns:
    """Rename and cast the columns of a table that no setting names.

    Args:
        schema: the table's columns.
        used: names of columns that a setting names.
        reserved: names that a caller's column cannot have in the warehouse.
    """
    columns: dict[str, Column] = {}
    types: dict[str, T.DataType] = {}
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
        name = _free_name(column.name, clash, taken)
        taken.add(name.lower())
        if name != column.name:
            renamed[column.name] = name
        source = F.col("`" + column.name.replace("`", "``") + "`")
        columns[name], types[name] = _portable_column(source, column.dataType)
    return CallerColumns(columns, types, renamed, tuple(dropped))


def _free_name(name: str, clash: bool, taken: set[str]) -> str:
    """Return the name if it is valid and free, else `source_<name>` with a number if needed."""
    if name and not clash and not INVALID.search(name):
        return name
    base = "source_" + INVALID.sub("_", name)
    free, number = base, 2
    while free.lower() in taken:
        free, number = f"{base}_{number}", number + 1
    return free


def _portable_column(source: Column, data_type: T.DataType) -> tuple[Column, T.DataType]:
    if _contains(data_type, T.VariantType):
        return F.to_json(source), T.StringType()
    portable = _portable(data_type)
    return (source if portable == data_type else source.cast(portable)), portable


def _contains(data_type: T.DataType, part_type: type[T.DataType]) -> bool:
    """Whether a type is, or is made of, a type of the class `part_type`."""
    parts = {
        T.ArrayType: lambda t: [t.elementType],
        T.MapType: lambda t: [t.keyType, t.valueType],
        T.StructType: lambda t: [column.dataType for column in t],
    }.get(type(data_type), lambda _: [])(data_type)
    return isinstance(data_type, part_type) or any(_contains(part, part_type) for part in parts)


def _portable(data_type: T.DataType) -> T.DataType:
    """Return the type, or what replaces it if some reader of Delta tables does not support it."""
    match data_type:
        case T.TimestampNTZType():
            return T.TimestampType()
        case T.ArrayType():
            return T.ArrayType(_portable(data_type.elementType))
        case T.MapType():
            return T.MapType(_portable(data_type.keyType), _portable(data_type.valueType))
        case T.StructType():
            return _portable_struct(data_type)
        case T.NullType() | T.DayTimeIntervalType() | T.YearMonthIntervalType():
            return T.StringType()
        case T.CharType() | T.VarcharType() | T.CalendarIntervalType():
            return T.StringType()
        case _:
            return data_type if type(data_type).__name__ != "TimeType" else T.StringType()


def _portable_struct(struct: T.StructType) -> T.StructType:
    taken: set[str] = set()
    fields = []
    for column in struct:
        name = _free_name(column.name, column.name.lower() in taken, taken)
        taken.add(name.lower())
        fields.append(T.StructField(name, _portable(column.dataType)))
    return T.StructType(fields)
