"""From a settings file and the command line to `Settings`; one message tells every mistake.

`read_file` parses the TOML file, `build` puts flags over it, validates and completes it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jobs.errors import SettingsError
from jobs.settings import checks
from jobs.settings.duplicates import THRESHOLDS
from jobs.settings.model import SECTIONS, Sections, Settings
from jobs.settings.validators import LARGEST_SEED

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

# Our words for pydantic's types of error; the other errors are those of our own checks.
WRONG_TYPE = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
}


def read_file(path: str) -> dict[str, Any]:
    """The settings file as nested dictionaries; raises SettingsError where it is no TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise SettingsError(f"--settings {path}: there is no such file") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as broken:
        raise SettingsError(f"--settings {path}: {broken}") from broken


def read_flag(flag: str) -> tuple[str, str, Any]:
    """Section, key and value of `section.key=value`; a value is TOML, else a plain string."""
    name, equals, text = flag.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot:
        raise SettingsError(f"--set {flag}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return section, key, value


def build(
    raw: Mapping[str, Any],
    flags: Iterable[str] = (),
    seed: int | None = None,
    job: str = "",
    stages: Sequence[str] = (),
    **given: Any,
) -> Settings:
    """Settings of a job.

    Args:
        raw: the settings file's content.
        flags: `section.key=value`, over the file.
        seed: over every seed of the file and the flags.
        job: the job to run; what would stop it later is a mistake now.
        stages: those that `overwrite` may name.
        given: the fields that `Settings` adds to the file's sections.

    Raises:
        SettingsError: with every mistake, one a line.

    """
    mistakes: list[str] = []
    sections = _validated(_merged(raw, flags, mistakes), mistakes)
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        mistakes.append(f"--seed {seed}: must lie between 0 and {LARGEST_SEED}")
    elif seed is not None:
        sections = _seeded(sections, seed)
    settings = _completed(Settings(**vars(sections), **given))
    mistakes += checks.contradictions(settings)
    mistakes += [
        f"--overwrite {stage}: {_unknown('stage', stage, stages)}"
        for stage in settings.overwrite
        if stage not in stages
    ]
    mistakes += checks.obstacles(settings, job)
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _merged(
    raw: Mapping[str, Any], flags: Iterable[str], mistakes: list[str]
) -> dict[str, dict[str, Any]]:
    """The keys of each known section, flags over the file."""
    merged: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, content in raw.items():
        if name not in SECTIONS:
            mistakes.append(f"[{name}]: {_unknown('section', name, SECTIONS)}")
        elif not isinstance(content, dict):
            mistakes.append(f"{name}: is a section; write [{name}] and its keys below")
        else:
            merged[name].update(content)
    for flag in flags:
        try:
            section, key, value = read_flag(flag)
        except SettingsError as wrong:
            mistakes.append(str(wrong))
            continue
        if section not in SECTIONS:
            mistakes.append(f"--set {flag}: {_unknown('section', section, SECTIONS)}")
        else:
            merged[section][key] = value
    return merged


def _validated(content: dict[str, dict[str, Any]], mistakes: list[str]) -> Sections:
    """The sections; a key with a mistake keeps its default, so that the others are checked too."""
    try:
        return _adapter().validate_python(content)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            section, key = str(error["loc"][0]), str(error["loc"][1])
            mistakes.append(_explained(error, section, key, content[section].pop(key)))
    return _adapter().validate_python(content)


@cache
def _adapter() -> TypeAdapter[Sections]:
    """The validator; it takes 0.1 s to make, which only those who read settings wait for."""
    from pydantic import TypeAdapter

    return TypeAdapter(Sections)


def _explained(error: ErrorDetails, section: str, key: str, value: Any) -> str:
    """One line for a key that pydantic refused."""
    if error["type"] == "unexpected_keyword_argument":
        return f"{section}.{key}: {_unknown('key', key, _keys(SECTIONS[section]))}"
    reason = WRONG_TYPE.get(error["type"]) or error["ctx"]["error"]
    return f"{section}.{key} = {value!r}: {reason}"


def _keys(section: type) -> list[str]:
    return [field.name for field in fields(section)]


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    return f"there is no such {kind}{hint}"


def _seeded(sections: Sections, seed: int) -> Sections:
    """With this seed in every section that has one."""
    seeded = {
        name: replace(getattr(sections, name), seed=seed)
        for name, kind in SECTIONS.items()
        if "seed" in _keys(kind)
    }
    return replace(sections, **seeded)


def _completed(settings: Settings) -> Settings:
    """With the thresholds that are usual in the space, and the middle one published."""
    prune, publish = settings.prune, settings.publish
    if not prune.thresholds and len(prune.space) == 1:
        prune = replace(prune, thresholds=THRESHOLDS[prune.space[0]])
    if not publish.rule and prune.thresholds:
        rules = list(prune.rules)
        publish = replace(publish, rule=rules[len(rules) // 2])
    return replace(settings, prune=prune, publish=publish)
