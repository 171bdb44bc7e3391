"""SQL that means the same to DataFusion (LocalStore) and to Spark (SparkStore)."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAIN = re.compile(r"[\w .:/#-]*")  # a text that means itself between quotes


def quoted(texts: Iterable[str]) -> str:
    """Return texts as SQL strings between commas, for IN (…).

    Spark and DataFusion differ in what a quote and a backslash mean within a string; both know
    bytes in hexadecimal.

    >>> quoted(["field", "l'été"])
    "'field', CAST(X'6c27c3a974c3a9' AS STRING)"
    """
    return ", ".join(
        f"'{text}'" if PLAIN.fullmatch(text) else f"CAST(X'{text.encode().hex()}' AS STRING)"
        for text in texts
    )
