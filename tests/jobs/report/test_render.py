"""The page's text: embedded data, no request to elsewhere, a bound on its size."""

from __future__ import annotations

import json
import re
from dataclasses import replace
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


def test_the_page_says_by_what_an_image_is_removed() -> None:
    summary, optional = example_report.summary(), example_report.optional_tables()
    data = example_report.report().data
    for rule, said in (("fixed:0.95", "strictly above"), ("overlap:0.7", "proved by registration")):
        shown = replace(summary, published=rule)
        text = render.render(shown, optional, data, [], None, "0" * 64)
        lead = text.split('<p class="lead">')[1].split("</p>")[0]
        assert [words in lead for words in ("strictly above", "proved by registration")] == [
            words == said for words in ("strictly above", "proved by registration")
        ]


def test_the_page_warns_of_a_model_of_few_images() -> None:
    summary, optional = example_report.summary(), example_report.optional_tables()
    data = example_report.report().data
    warned = replace(summary, few_images="the model was trained on 57 images only")
    for shown, said in ((summary, False), (warned, True)):
        text = render.render(shown, optional, data, [], None, "0" * 64)
        assert ("Careful: the model was trained on 57 images only." in text) == said


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
