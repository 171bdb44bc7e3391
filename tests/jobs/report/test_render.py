"""The page's text: embedded data, no request to elsewhere, a bound on its size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.report import render
from tests.support import example_report


def test_a_page_that_is_too_large_loses_its_last_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = example_report.report()
    size = len(whole.text.encode())
    monkeypatch.setattr(render, "MOST_BYTES", size - 100_000)
    cut = example_report.report()
    assert len(cut.text.encode()) <= size - 100_000
    left = json.loads(cut.text.split('id="data">')[1].split("</script>")[0])["pictures"]
    kept = sum(map(bool, left))
    assert left[:kept] == whole.data["pictures"][:kept]
    assert kept < len(left)


def test_embedded_json_is_the_value() -> None:
    value = {"</script>": ["<!--", "&amp;", "\u2028", "ä", 'quo"te', 1.5, None]}
    text = render.embedded(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028") & set(text)


def test_the_page_loads_nothing_and_its_policy_forbids_it(full: Path) -> None:
    text = full.read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text) == []
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]
