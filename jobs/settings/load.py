"""Makes `Settings` from a settings file and the command line; one message tells every mistake.

`read_file` parses the TOML file. `build` lets flags override it, validates and completes it.
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
from jobs.settings.autoencoder import trains
from jobs.settings.duplicates import OVERLAPS, THRESHOLDS, WHITENED, Rule, usual_space
from jobs.settings.model import SECTIONS, Sections, Settings
from jobs.settings.validators import LARGEST_SEED

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

# Our messages for the types of error that pydantic finds; our own checks raise the others.
WRONG_TYPE = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
}


def read_file(path: str) -> dict[str, Any]:
    """Return the settings file as nested dictionaries; raises SettingsError if it is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise SettingsError(f"--settings {path}: there is no such file") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as broken:
        raise SettingsError(f"--settings {path}: {broken}") from broken


def read_flag(flag: str) -> tuple[str, str, Any]:
    """Return section, key and value of `section.key=value`.

    The value is TOML; what is not TOML is a plain string.
    """
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
    **extra: Any,
) -> Settings:
    """Return the settings of a job.

    Args:
        raw: the settings file's content.
        flags: `section.key=value`; they override the file.
        seed: it overrides every seed of the file and the flags.
        job: the job to run; what would stop it later is a mistake now.
        stages: the names that `overwrite` may hold.
        extra: the fields that `Settings` adds to the sections of the file.

    Raises:
        SettingsError: with every mistake, one a line.

    """
    mistakes: list[str] = []
    flags = tuple(flags)
    sections = _validated(_merged(raw, flags, mistakes), mistakes)
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        mistakes.append(f"--seed {seed}: must lie between 0 and {LARGEST_SEED}")
    elif seed is not None:
        sections = _seeded(sections, seed)
    settings = _completed(Settings(**vars(sections), **extra), _trains(flags))
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
    """Return the keys of each section, in which flags override the file.

    Sections that do not exist are added to the mistakes.
    """
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
    """Return the sections; a key with a mistake keeps its default, so that all are checked."""
    try:
        return _adapter().validate_python(content)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            section, key = str(error["loc"][0]), str(error["loc"][1])
            mistakes.append(_explained(error, section, key, content[section].pop(key)))
    return _adapter().validate_python(content)


@cache
def _adapter() -> TypeAdapter[Sections]:
    """Return the validator; it takes 0.1 s to make, so it is made when settings are first read."""
    from pydantic import TypeAdapter

    return TypeAdapter(Sections)


def _explained(error: ErrorDetails, section: str, key: str, value: Any) -> str:
    """Return a line about a key that pydantic refused."""
    if error["type"] == "unexpected_keyword_argument":
        return f"{section}.{key}: {_unknown('key', key, _keys(SECTIONS[section]))}"
    reason = WRONG_TYPE.get(error["type"]) or error["ctx"]["error"]
    return f"{section}.{key} = {value!r}: {reason}"


def _keys(section: type) -> list[str]:
    return [field.name for field in fields(section)]


def _unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """Return that there is no such name, with the most similar one that there is, or all."""
    near = difflib.get_close_matches(name, list(names), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
    return f"there is no such {kind}{hint}"


def _seeded(sections: Sections, seed: int) -> Sections:
    """Return the sections with this seed in each that has one."""
    seeded = {
        name: replace(getattr(sections, name), seed=seed)
        for name, kind in SECTIONS.items()
        if "seed" in _keys(kind)
    }
    return replace(sections, **seeded)


def _trains(flags: Iterable[str]) -> bool:
    """Whether a flag is of a training. Wrong flags are told of elsewhere."""
    for flag in flags:
        section, dot, key = flag.partition("=")[0].strip().partition(".")
        if section == "train" and dot and trains(key):
            return True
    return False


def _completed(settings: Settings, is_training_asked_for: bool) -> Settings:
    """Return the settings with the default model and rules, and the middle rule published."""
    prune, publish = settings.prune, settings.publish
    train = settings.train.completed(is_training_asked_for)
    if not prune.space:
        prune = replace(prune, space=(_default_space(settings),))
        settings = replace(settings, prune=prune)
    if not prune.thresholds:
        prune = replace(prune, thresholds=_default_rules(settings))
    if not publish.rule and prune.thresholds:
        rules = list(prune.rules)
        publish = replace(publish, rule=rules[len(rules) // 2])
    return replace(settings, prune=prune, publish=publish, train=train)


def _default_space(settings: Settings) -> str:
    """Return the space that the rules are usually of; without pixels that of whitened latents.

    Gradients find neither mirrored nor turned copies; latents that are the mean of eight
    orientations do.
    """
    rules = [Rule.of(value) for value in settings.prune.thresholds]
    rules += [Rule.of(settings.publish.rule)] if settings.publish.rule else []
    rules += [settings.conflicts.rule] if settings.conflicts.threshold else []
    turned = settings.encode.orientations > 1
    return usual_space(rules) if settings.ingest.pictures and not turned else WHITENED


def _default_rules(settings: Settings) -> tuple[int | float | str, ...]:
    """Return overlap rules where there are pixels, else the numbers of the space.

    Of two spaces without pixels there are none that mean the same in both: the user has to name
    them (checks.contradictions).
    """
    if settings.ingest.pictures:
        return OVERLAPS
    spaces = settings.prune.space
    return THRESHOLDS[spaces[0]] if len(spaces) == 1 else ()
