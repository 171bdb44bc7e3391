"""No name that somebody gave to a file makes a terminal do anything."""

from __future__ import annotations

import pytest

from jobs.settings.terminal import visible, visible_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat\x1b]0;owned\x07\x1b[2K\r  publish", r"cat\x1b]0;owned\x07\x1b[2K\r  publish"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("lost half \udcff", r"lost half \udcff"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("ünïcode 図 → …", "ünïcode 図 → …"),
    ],
)
def test_controls_are_written_out_and_nothing_else(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_name_has_one_line() -> None:
    assert visible_name("cat\n  publish\t9 images") == r"cat\n  publish\t9 images"
