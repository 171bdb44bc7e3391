"""What the documents say is what the code declares."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

from jobs.settings.load import build
from jobs.settings.model import SECTIONS
from jobs.warehouse import tables
from tests.support.folders import ROOT


def documented() -> dict[str, list[tuple[str, str]]]:
    """Columns and types of each table in docs/tables.md, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", (ROOT / "docs/tables.md").read_text(), flags=re.M)[1:]:
        name = part.splitlines()[0].strip()
        found[name] = re.findall(r"^\| (\w+) \| ([\w<>,]+) \| \S.* \|$", part, flags=re.M)
    return {name: columns[1:] for name, columns in found.items() if columns}  # without the head


def test_every_table_is_documented_as_it_is_declared() -> None:
    declared = {
        name: [(column.name, column.dataType.simpleString()) for column in table.schema]
        for name, table in tables.TABLES.items()
    }
    assert documented() == declared


def test_the_settings_file_names_every_key_with_its_default_and_a_comment() -> None:
    text = (ROOT / "conf/local.toml").read_text()
    raw = tomllib.loads(text)
    assert list(raw) == list(SECTIONS)
    for section, kind in SECTIONS.items():
        assert list(raw[section]) == [key.name for key in fields(kind)], section
        part = text.split(f"[{section}]\n")[1].split("\n[")[0]
        for key in fields(kind):
            value = raw[section][key.name]
            if isinstance(key.default, tuple):
                value = tuple(value) if isinstance(value, list) else (value,)
            assert (value, type(value)) == (key.default, type(key.default)), f"{section}.{key.name}"
            (line,) = re.findall(f"^{key.name} = .*", part, flags=re.M)
            assert re.search(r"  # \S", line), f"{line}: say what it is"


def test_a_cluster_has_the_same_defaults() -> None:
    assert build(tomllib.loads((ROOT / "conf/cluster.toml").read_text())) == build({})


def test_the_papers_setting_names_what_the_paper_fixes() -> None:
    """By name, so that other defaults do not change it; each key has a comment."""
    text = (ROOT / "conf/paper.toml").read_text()
    raw = tomllib.loads(text)
    build(raw)
    assert raw["train"] == {
        "objective": "reconstruction",
        "precision": "float32",
        "normalise": False,
        "epochs": 8,
    }
    assert raw["encode"] == {"orientations": 1}
    assert raw["prune"]["thresholds"] == [0.97, 0.95, 0.93]
    assert (raw["prune"]["space"], raw["publish"]["space"]) == ("raw", "raw")
    assert raw["estimate"] == {"components": 3}
    keys = [line for line in text.splitlines() if re.match(r"\w+ = ", line)]
    assert len(keys) == sum(map(len, raw.values()))
    assert all(re.search(r"  # \S", line) for line in keys)


def test_every_key_that_the_readme_names_exists() -> None:
    names = re.findall(r"`(\w+)\.(\w+)`", (ROOT / "README.md").read_text())
    known = {(section, key.name) for section, kind in SECTIONS.items() for key in fields(kind)}
    sections = {section for section, _ in known}
    named = {pair for pair in names if pair[0] in sections and pair[1] != "py"}
    assert named
    assert named <= known
