"""Send an object with large arrays to all executors."""

from __future__ import annotations

import pickle
from typing import Any, Generic, TypeVar, cast

from pyspark import SparkContext
from pyspark.core.broadcast import Broadcast

Value = TypeVar("Value")


def broadcast(context: SparkContext, value: Value) -> Broadcast[Value]:
    """Broadcast an object to the executors; on the driver its `value` must not be used.

    Where Spark encrypts what it sends (spark.io.encryption.enabled), its own pickling fails on
    NumPy arrays: the encrypting stream asks a PickleBuffer for its length. So the object becomes
    bytes first, and is itself again where it is unpickled.
    """
    sent: Any = _AsBytes(value) if context._encryption_enabled else value
    return cast("Broadcast[Value]", context.broadcast(sent))


class _AsBytes(Generic[Value]):
    """Pickles as the bytes of another object, which is what unpickling gives."""

    def __init__(self, value: Value) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (pickle.dumps(self._value, pickle.HIGHEST_PROTOCOL),)
