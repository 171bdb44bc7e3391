"""Hides credentials in what is printed or recorded: `redacted` for texts and for nested values.

Hidden are the user and password of a URI, the values of a URI's query (signatures, SAS tokens),
values beside a name such as `password` or `fs.s3a.secret.key`, and all values given to `hide`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote

from jobs.settings.noise import without_noise
from jobs.settings.terminal import visible

Value = TypeVar("Value")

HIDDEN = "***"
SHORTEST = 6  # characters of a value to hide wherever it stands; shorter ones are words
# What a name contains whose value is secret. It finds the same names as spark.redaction.regex in
# conf/spark-cluster.conf, by which Spark hides values in its logs.
SECRET = (
    r"secret|password|passwd|token|credential|signature|(?:access|account|api|private)[._-]?key"
    r"|(?<![a-z])(?:sig|sas)(?![a-z])"
)
# Names that contain such a word and whose value is none: which class, which file, how long.
HARMLESS = re.compile(
    r"provider|type$|class$|impl$|path|file|interval|lifetime|regex|enabled$|dir$|home$|host$|name$",
    re.I,
)
NAME = re.compile(SECRET, re.I)
# A password without / ends at the last @ before it. One that has a / is told from a host and its
# port, after which there may be an @ in a path, since a port has digits only.
USER = re.compile(r"(://)[^\s/?#]*:[^\s/?#]*@")
USER_WITH_SLASH = re.compile(r"(://)[^\s/@:\[]*:(?!\d*(?:[/?#\s'\"]|$))[^\s'\"]*@")
QUERY = re.compile(r"([?&][\w.%~-]+=)[^&\s'\"<>#]+")
BESIDE_NAME = re.compile(
    rf"""(?<![\w.-])([\w.-]*?(?:{SECRET})[\w.-]*)   # the name
         (\\?["']?\s*[=:]\s*)                        # what stands between
         (?:\\?"[^"\\]*\\?"|\\?'[^'\\]*\\?'|[^\s"',;&)}}\]]+)""",
    re.I | re.X,
)

_values: set[str] = set()  # of this process, since a secret is one wherever it is printed


def hide(values: Iterable[str]) -> None:
    """Let `redacted` hide these values wherever they stand. Words and numbers are not hidden."""
    for value in values:
        if len(value) >= SHORTEST and not value.isdigit():
            _values.update({value, quote(value, safe="")})


def hide_named(pairs: Iterable[tuple[str, str]]) -> None:
    """Let `redacted` hide the values of names that are those of secrets, such as Spark's keys."""
    hide(value for name, value in pairs if is_secret(name))


def is_secret(name: str) -> bool:
    """Return whether the value of a setting of this name is a credential."""
    return bool(NAME.search(name)) and not HARMLESS.search(name)


def redacted(value: Value) -> Value:
    """Return a text, or a nested value of mappings and lists, without the credentials in it.

    It is idempotent, and leaves what holds no credential as it is. In a mapping the whole value of
    a secret's name is hidden.
    """
    return cast(Value, _redacted(value))


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {
            _redacted(name): HIDDEN if _holds_secret(name, part) else _redacted(part)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_redacted(part) for part in value]
    if isinstance(value, tuple):
        return tuple(_redacted(part) for part in value)
    return value


def _holds_secret(name: Any, part: Any) -> bool:
    return isinstance(name, str) and isinstance(part, str) and bool(part) and is_secret(name)


def _text(text: str) -> str:
    for value in sorted(_values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = USER.sub(rf"\1{HIDDEN}@", text)
    text = USER_WITH_SLASH.sub(rf"\1{HIDDEN}@", text)
    text = QUERY.sub(rf"\1{HIDDEN}", text)
    return BESIDE_NAME.sub(_beside_name, text)


def _beside_name(match: re.Match[str]) -> str:
    if HARMLESS.search(match[1]):
        return match[0]
    return f"{match[1]}{match[2]}{HIDDEN}"


def main(options: Sequence[str]) -> None:
    """Copy stdin to stderr without credentials, controls, and what tells a user nothing.

    spark-submit.sh sends what Spark writes to stderr through it. options: of spark-submit, whose
    values `--conf name=value` are hidden.
    """
    hide_named(os.environ.items())
    words = (option.removeprefix("--conf=") for option in options)
    hide_named((name, value) for name, equals, value in (word.partition("=") for word in words))
    lines = (line.decode("utf-8", "surrogateescape") for line in sys.stdin.buffer)
    for text in without_noise(lines):
        shown = visible(redacted(text.rstrip("\r\n"))) + "\n" * text.endswith("\n")
        sys.stderr.buffer.write(shown.encode("utf-8"))
        sys.stderr.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
