"""Makes visible what a terminal would obey: control characters in names, labels and errors.

Files and labels are named by whoever made them. Printed as they are, such names could set a
terminal's title, move its cursor, or pretend to be other lines of the output.
"""

from __future__ import annotations

import re

# The controls of C0 and C1 but the tab and the line's end, the marks that turn the direction of
# text, further ends of lines, and halves of characters, which cannot be printed at all.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_IN_A_NAME = re.compile(_CONTROLS.pattern[:-1] + "\t\n]")


def visible(text: str) -> str:
    r"""Return a text whose control characters are written as in Python, such as \x1b."""
    return _CONTROLS.sub(_escaped, text)


def visible_name(name: str) -> str:
    """Return a name as `visible` does, with the ends of lines in it written out as well."""
    return _IN_A_NAME.sub(_escaped, name)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
