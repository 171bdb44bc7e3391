"""Stands for Spark's session where a command may come to its end without one.

What needs Spark raises NeedsSpark as soon as it asks the session for anything, and the command is
begun again with a session. To start Spark takes seconds, and to find that nothing is to be done
takes none of it where tables and images lie in mounted folders.
"""

from __future__ import annotations

from typing import Any, NoReturn


class NeedsSpark(BaseException):
    """Raised where Spark is needed, and there is none yet."""


class NoSpark:
    """In place of a `SparkSession`: every use of it raises NeedsSpark."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsSpark(name)

    def __reduce__(self) -> Any:
        raise NeedsSpark("pickle")
