"""Settings: a TOML file and flags become frozen dataclasses; every mistake is told in one message.

Each section is a dataclass whose fields are the keys; `conf/local.toml` comments every one of them.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from jobs.errors import SettingsError
from udfs.density import histogram, modes

SOURCES = ("folder", "parquet", "delta")
LAYOUTS = ("label", "split/label")
EXCHANGES = ("pandas", "arrow")
MODES = ("all", "append")
SCOPES = ("all", "label")
FORMATS = ("text", "json")  # of what is said on stdout
RECONSTRUCTION, INSTANCE = "reconstruction", "reconstruction+instance"  # what training minimises
OBJECTIVES = (RECONSTRUCTION, INSTANCE)
BFLOAT16 = "bfloat16"
PRECISIONS = ("auto", "float32", BFLOAT16)
RAW, WHITENED = "raw", "whitened"  # Sim of the latents; of whitened ones
# Raw ones are the paper's; the middle whitened one is chosen by benchmarks/defaults.py.
THRESHOLDS = {RAW: (0.97, 0.95, 0.93), WHITENED: (0.9, 0.85, 0.8)}
SPACES = (RAW, WHITENED)
FIXED, SHARE, SHARE_OF_ALL, RATE = "fixed", "keep_share", "keep_share_all", "pair_rate"
MOST_RULES = 60  # an image's state at each is a bit of a number
LARGEST_SEED = 2**31 - 1
SUBLABEL = "sublabel"  # a name among prune's groups for what `modes` found, no column of images
# In their order; those that are asked for run where they are.
BEFORE = ("modes", "whiten", "leaks", "conflicts", "anomalies", "generate")
ASKED = (*BEFORE, "calibrate")
STAGES = (
    *("ingest", "train", "encode", "project", *BEFORE, "prune", "publish", "estimate"),
    *("similarities", "calibrate", "report"),
)


NO_LABELS = (
    "calibrate.labels is missing: a CSV of labelled pairs as the report saves it, with the columns "
    "pair_id and same (1 or 0)"
)


def _one_of(*allowed: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def _between(low: float, high: float, unit: str = "") -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        inside = low <= value <= high
        return None if inside else f"must lie between {low:g} and {high:g}{unit}"

    return check


def _key(
    default: Any, check: Callable[[Any], str | None] | None = None, numbers: bool = False
) -> Any:
    """numbers: whether a list may hold such."""
    metadata = {"check": check, "numbers": numbers}
    if isinstance(default, tuple):
        return field(default=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Rule:
    """How a threshold comes about: given, or found for each class, or for all (spec §7)."""

    kind: str
    asked: float

    @classmethod
    def of(cls, value: float | str) -> Rule:
        """From a number, or `kind:number`; raises ValueError where it is neither."""
        if not isinstance(value, str):
            return cls(FIXED, float(value))
        kind, _, number = value.partition(":")
        if kind not in (FIXED, SHARE, SHARE_OF_ALL, RATE):
            raise ValueError(kind)
        return cls(kind, float(number))

    @property
    def name(self) -> str:
        """In the tables: `fixed:0.95`, `keep_share:0.5`."""
        return f"{self.kind}:{self.asked!r}"

    @property
    def title(self) -> str:
        """For people: `T = 0.95`, `keep_share 0.5`."""
        return f"T = {self.asked:g}" if self.kind == FIXED else f"{self.kind} {self.asked:g}"

    @property
    def threshold(self) -> float | None:
        """T where it is given."""
        return self.asked if self.kind == FIXED else None


def _threshold(value: Any) -> str | None:
    try:
        rule = Rule.of(value)
    except ValueError:
        return (
            f"{value!r} is no rule: give numbers such as 0.95, or {SHARE}:0.5 (the share of each "
            f"class that stays), {SHARE_OF_ALL}:0.5 (of all images), {RATE}:0.001 (the share of a "
            "class's pairs above T)"
        )
    if rule.kind == FIXED and not -1 <= rule.asked <= 1:
        return f"{value!r} is no cosine: give numbers between -1 and 1"
    if rule.kind in (SHARE, SHARE_OF_ALL) and not 0 < rule.asked <= 1:
        return f"{value!r}: the share to keep must be above 0 and at most 1"
    if rule.kind == RATE and not 0 < rule.asked < 1:
        return f"{value!r}: the share of pairs must lie between 0 and 1"
    return None


def _thresholds(values: Sequence[Any]) -> str | None:
    wrong = [mistake for value in values if (mistake := _threshold(value))]
    if wrong:
        return "; ".join(wrong)
    if len({Rule.of(value) for value in values}) < len(values):
        return "holds a rule twice"
    if len(values) > MOST_RULES:
        return f"holds {len(values)} rules; at most {MOST_RULES} are allowed"
    return None


def _spaces(values: Sequence[str]) -> str | None:
    unknown = [value for value in values if value not in SPACES]
    if unknown or not values:
        return f"must be {', '.join(SPACES)}, or a list of both"
    return "names a space twice" if len(set(values)) < len(values) else None


def _step(value: Any) -> str | None:
    cells = isinstance(value, int) and not isinstance(value, bool)
    if value in histogram.RULES or (cells and 1 <= value <= histogram.SMALLEST_STEP):
        return None
    known, most = ", ".join(histogram.RULES), histogram.SMALLEST_STEP
    return f"must be {known} or a number of cells, a whole one up to {most}"


def _order(values: Sequence[str]) -> str | None:
    return _columns([value.removeprefix("-") for value in values])


def _columns(values: Sequence[str]) -> str | None:
    if not all(values):
        return "a column has no name"
    return "names a column twice" if len(set(values)) < len(values) else None


def _labels(values: Sequence[str]) -> str | None:
    return "names a class twice" if len(set(values)) < len(values) else None


def _share(entry: str) -> tuple[str, float]:
    """Name and share of an entry `name:share`; NaN where that is no number."""
    name, _, share = entry.rpartition(":")
    try:
        return name.strip(), float(share)
    except ValueError:
        return name.strip(), math.nan


def _split(values: Sequence[str]) -> str | None:
    """Every mistake in a list of `name:share`."""
    entries = [_share(value) for value in values]
    names = [name for name, _ in entries]
    wrong = [
        f"{value!r} must be name:share, such as train:0.8, with a share above 0 and at most 1"
        for value, (name, share) in zip(values, entries, strict=True)
        if not name or not 0 < share <= 1
    ]
    wrong += [
        f"names {name} twice" for name in dict.fromkeys(names) if name and names.count(name) > 1
    ]
    total = math.fsum(share for _, share in entries)
    if entries and abs(total - 1) > 1e-9:
        wrong.append(f"the shares sum to {total!r}, they must sum to 1")
    return "; ".join(wrong) or None


def _named(value: str) -> str | None:
    return None if value else "must not be empty"


def _orientations(value: int) -> str | None:
    return None if value in (1, 8) else "must be 1, or 8: all turns by 90° and their mirror images"


def _device(value: str) -> str | None:
    known = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if known else "must be auto, cpu, cuda or cuda:N"


@dataclass(frozen=True)
class Ingest:
    """Where images come from and how they are cut (spec §1)."""

    source: str = _key("folder", _one_of(*SOURCES))
    layout: str = _key("label", _one_of(*LAYOUTS))
    image_column: str = _key("image")
    label_column: str = _key("label")
    id_column: str = _key("")
    split_column: str = _key("")
    vector_column: str = _key("")
    vector_name: str = _key("vectors", _named)
    tile: int = _key(0, _between(0, 65536, " px"))
    stride: int = _key(0, _between(0, 65536, " px"))
    max_pixels: int = _key(89_478_485, _between(1, 2**31))
    tasks: int = _key(0, _between(0, 1_000_000))

    @property
    def tiling(self) -> tuple[int, int] | None:
        """Side of the tiles and their distance in pixels; None: whole frames."""
        return (self.tile, self.stride or self.tile) if self.tile else None

    @property
    def decoding(self) -> dict[str, Any]:
        """The settings that decide what a source file turns into."""
        return {"tiling": self.tiling, "max_pixels": self.max_pixels}


@dataclass(frozen=True)
class Train:
    """The autoencoder's training (spec §2)."""

    model: str = _key("")
    objective: str = _key(INSTANCE, _one_of(*OBJECTIVES))
    temperature: float = _key(0.1, _between(1e-3, 100))
    instance_weight: float = _key(1.0, _between(1e-6, 1e6))
    normalise: bool = _key(True)
    sample: int = _key(50_000, _between(1, 10_000_000))
    epochs: int = _key(8, _between(1, 100_000))
    batch_size: int = _key(128, _between(1, 65536))
    learning_rate: float = _key(1e-3, _between(1e-9, 10))
    held_out: float = _key(0.05, _between(0, 0.9))
    seed: int = _key(0, _between(0, LARGEST_SEED))
    precision: str = _key("auto", _one_of(*PRECISIONS))
    device: str = _key("auto", _device)

    @property
    def recognises(self) -> bool:
        """Whether views of an image must recognise each other, beside the reconstruction."""
        return self.objective == INSTANCE

    @property
    def learning(self) -> dict[str, Any]:
        """The settings that decide the weights.

        Without those that only the second term reads, where there is none; and without those that
        are as in the paper, so that a model from before there was a choice is still the wanted one.
        """
        unread = () if self.recognises else ("objective", "temperature", "instance_weight")
        unread = unread if self.normalise else (*unread, "normalise")
        if not self.recognises and self.precision != BFLOAT16:
            unread = (*unread, "precision")
        return {key: value for key, value in asdict(self).items() if key not in unread}


@dataclass(frozen=True)
class Encode:
    """How latents are computed on the executors."""

    orientations: int = _key(1, _orientations)
    batch: int = _key(32, _between(8, 4096))
    exchange: str = _key("arrow", _one_of(*EXCHANGES))
    device: str = _key("auto", _device)


@dataclass(frozen=True)
class Prune:
    """Which images count as duplicates and which of them stays (spec §3)."""

    thresholds: tuple[float | str, ...] = _key((), _thresholds, numbers=True)
    space: tuple[str, ...] = _key((WHITENED,), _spaces)
    axes: int = _key(256, _between(1, 4096))
    seed: int = _key(0, _between(0, LARGEST_SEED))
    order: tuple[str, ...] = _key((), _order)
    group_by: tuple[str, ...] = _key(("label",), _columns)
    never_across: tuple[str, ...] = _key((), _columns)
    protect: str = _key("")
    mode: str = _key("all", _one_of(*MODES))
    largest_class: int = _key(250_000, _between(1, 10_000_000))
    window: int = _key(32_768, _between(1, 1_000_000))
    block: int = _key(1024, _between(1, 65536))
    device: str = _key("cpu", _device)
    audit: int = _key(500, _between(1, 100_000))

    @property
    def rules(self) -> dict[str, Rule]:
        """Each rule by its name in the tables, in the order given."""
        rules = [Rule.of(value) for value in self.thresholds]
        return {rule.name: rule for rule in rules}

    @property
    def fixed(self) -> dict[str, float]:
        """The thresholds that are given, by the name of their rule."""
        return {name: rule.asked for name, rule in self.rules.items() if rule.kind == FIXED}

    @property
    def by_sublabel(self) -> bool:
        """Whether images are compared within sub-labels."""
        return SUBLABEL in (*self.group_by, *self.never_across)


@dataclass(frozen=True)
class Modes:
    """Which classes are called heterogeneous (spec §5)."""

    draws: int = _key(0, _between(0, 1_000_000))
    level: float = _key(0.05, _between(1e-4, 0.5))
    seed: int = _key(0, _between(0, LARGEST_SEED))


@dataclass(frozen=True)
class Leaks:
    """Which images no training image may resemble."""

    split: tuple[str, ...] = _key((), _columns)
    warehouse: str = _key("")
    scope: str = _key("all", _one_of(*SCOPES))
    remove: bool = _key(False)

    @property
    def asked(self) -> bool:
        """Whether there is a reference to compare with."""
        return bool(self.split or self.warehouse)


@dataclass(frozen=True)
class Conflicts:
    """Which pairs of unlike labels are listed."""

    threshold: float = _key(0.0, _between(0, 1))
    most: int = _key(1_000_000, _between(1, 1_000_000_000))


@dataclass(frozen=True)
class Anomalies:
    """Which images lie where their class is thinnest, and whether they are published (spec §5)."""

    quantile: float = _key(0.0, _between(0, 0.5))
    remove: bool = _key(False)


@dataclass(frozen=True)
class Generate:
    """New images of each class, drawn from its density (spec §5)."""

    count: int = _key(0, _between(0, 1000))
    labels: tuple[str, ...] = _key((), _labels)
    components: int = _key(0, _between(0, 64))
    seed: int = _key(0, _between(0, LARGEST_SEED))


@dataclass(frozen=True)
class Publish:
    """Which rule's selection the training teams read, and what must hold before they do."""

    rule: str = _key("")
    space: str = _key("", _one_of("", *SPACES))
    minimum_kept: int = _key(0, _between(0, 10_000_000))
    most_removed: float = _key(1.0, _between(0, 1))
    most_removed_of_class: float = _key(1.0, _between(0, 1))
    split: tuple[str, ...] = _key((), _split)
    seed: int = _key(0, _between(0, LARGEST_SEED))

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split, in the order given; empty: no splits."""
        return dict(_share(entry) for entry in self.split)


@dataclass(frozen=True)
class Estimate:
    """The density model and the measures of what removal did (spec §4-§6)."""

    basis: str = _key("before", _one_of("before"))
    step: str | int = _key("scott", _step)
    components: int = _key(3, _between(1, 64))
    control: int = _key(100, _between(0, 100_000))
    seed: int = _key(0, _between(0, LARGEST_SEED))


@dataclass(frozen=True)
class Calibrate:
    """Pairs that people label, and the precision that follows from their labels."""

    pairs: int = _key(200, _between(1, 1000))
    seed: int = _key(0, _between(0, LARGEST_SEED))
    labels: str = _key("")
    precision: float = _key(0.99, _between(0.5, 1))


@dataclass(frozen=True)
class Report:
    """The page and its figures."""

    truth: str = _key("")
    pictures: int = _key(5000, _between(0, 8000))


@dataclass(frozen=True)
class Sample:
    """The synthetic survey that `sample` renders."""

    labels: int = _key(8, _between(1, 8))
    scenes: int = _key(260, _between(1, 100_000))
    side: int = _key(96, _between(64, 1024, " px"))
    seed: int = _key(0, _between(0, LARGEST_SEED))
    processes: int = _key(0, _between(0, 1024))


@dataclass(frozen=True)
class Settings:
    """Everything one run depends on."""

    ingest: Ingest = Ingest()
    train: Train = Train()
    encode: Encode = Encode()
    prune: Prune = Prune()
    modes: Modes = Modes()
    leaks: Leaks = Leaks()
    conflicts: Conflicts = Conflicts()
    anomalies: Anomalies = Anomalies()
    generate: Generate = Generate()
    publish: Publish = Publish()
    estimate: Estimate = Estimate()
    calibrate: Calibrate = Calibrate()
    report: Report = Report()
    sample: Sample = Sample()
    images: str = ""
    warehouse: str = "build/warehouse"
    overwrite: tuple[str, ...] = ()
    quiet: bool = False
    verbose: bool = False
    log_format: str = FORMATS[0]
    dry_run: bool = False

    def sections(self) -> dict[str, dict[str, Any]]:
        """The keys and values of every section, as a settings file would give them."""
        return {name: asdict(getattr(self, name)) for name in SECTIONS}


SECTIONS: dict[str, type] = {
    "ingest": Ingest,
    "train": Train,
    "encode": Encode,
    "prune": Prune,
    "modes": Modes,
    "leaks": Leaks,
    "conflicts": Conflicts,
    "anomalies": Anomalies,
    "generate": Generate,
    "publish": Publish,
    "estimate": Estimate,
    "calibrate": Calibrate,
    "report": Report,
    "sample": Sample,
}


def read_file(path: str) -> dict[str, Any]:
    """The settings file as nested dictionaries."""
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
    **given: Any,
) -> Settings:
    """Settings of a job from a file's content, flags over it, and the command line's paths.

    Raises SettingsError with every mistake, one a line.
    """
    mistakes: list[str] = []
    merged = _sections(raw, mistakes)
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
    values = {name: _section(name, merged[name], mistakes) for name in SECTIONS}
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        mistakes.append(f"--seed {seed}: must lie between 0 and {LARGEST_SEED}")
    elif seed is not None:
        values |= _seeded(values, seed)
    settings = _completed(Settings(**values, **given))
    mistakes += _across(settings) + _of_job(settings, job)
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _completed(settings: Settings) -> Settings:
    """With the thresholds that are usual in the space, and the middle one published."""
    prune, publish = settings.prune, settings.publish
    if not prune.thresholds and len(prune.space) == 1:
        prune = replace(prune, thresholds=THRESHOLDS[prune.space[0]])
    if not publish.rule and prune.thresholds:
        rules = list(prune.rules)
        publish = replace(publish, rule=rules[len(rules) // 2])
    return replace(settings, prune=prune, publish=publish)


def _seeded(values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The sections that have a seed, with this one."""
    return {
        name: replace(values[name], seed=seed)
        for name, kind in SECTIONS.items()
        if "seed" in {key.name for key in fields(kind)}
    }


def _sections(raw: Mapping[str, Any], mistakes: list[str]) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, content in raw.items():
        if name not in SECTIONS:
            mistakes.append(f"[{name}]: {_unknown('section', name, SECTIONS)}")
        elif not isinstance(content, dict):
            mistakes.append(f"{name}: is a section; write [{name}] and its keys below")
        else:
            merged[name].update(content)
    return merged


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    return f"there is no such {kind}{hint}"


def _section(name: str, content: Mapping[str, Any], mistakes: list[str]) -> Any:
    kind = SECTIONS[name]
    known = {key.name: key for key in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            mistakes.append(f"{name}.{key}: {_unknown('key', key, known)}")
            continue
        converted, mistake = _convert(value, known[key].default, known[key].metadata["numbers"])
        check = known[key].metadata.get("check")
        mistake = mistake or (check(converted) if check else None)
        if mistake:
            mistakes.append(f"{name}.{key} = {value!r}: {mistake}")
        else:
            values[key] = converted
    return kind(**values)


def _convert(value: Any, default: Any, numbers: bool) -> tuple[Any, str | None]:
    """The value in the type of the key's default, or what is wrong with it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match default:
        case tuple():
            return _convert_list(value, numbers)
        case bool():
            return value, None if isinstance(value, bool) else "must be true or false"
        case float():
            return (float(value), None) if number else (value, "must be a number")
        case int():
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            whole = whole and number
            return (int(value), None) if whole else (value, "must be a whole number")
        case "scott":
            return value, None
        case _:
            return (value, None) if isinstance(value, str) else (value, "must be a string")


def _convert_list(value: Any, numbers: bool) -> tuple[Any, str | None]:
    items = value if isinstance(value, list | tuple) else [value]
    allowed = (int, float, str) if numbers else (str,)
    if all(isinstance(item, allowed) and not isinstance(item, bool) for item in items):
        return tuple(items), None
    return value, f"must be a list of {'numbers' if numbers else 'strings'}"


def _across(settings: Settings) -> list[str]:
    """Mistakes that only show when keys are looked at together."""
    mistakes = []
    ingest, prune = settings.ingest, settings.prune
    if ingest.stride and not ingest.tile:
        mistakes.append("ingest.stride: needs ingest.tile, the side of the tiles")
    if ingest.vector_column:
        mistakes += _of_vectors(settings)
    if not prune.thresholds:
        mistakes.append(
            "prune.thresholds: name them, for what is usual in one space is not in the other: "
            f"numbers for one, or {SHARE}:0.5 or {RATE}:0.001, which mean the same in both"
        )
    if settings.leaks.remove and (not prune.fixed or len(prune.space) > 1):
        mistakes.append("leaks.remove: needs one prune.space and a number among prune.thresholds")
    elif settings.leaks.asked and not prune.fixed:
        mistakes.append("leaks: needs a number among prune.thresholds, above which images leak")
    if settings.leaks.split and settings.leaks.warehouse:
        mistakes.append("leaks: give leaks.split or leaks.warehouse, not both")
    if settings.leaks.remove and not settings.leaks.asked:
        mistakes.append("leaks.remove: needs leaks.split or leaks.warehouse")
    if settings.anomalies.remove and not settings.anomalies.quantile:
        mistakes.append("anomalies.remove: needs anomalies.quantile, such as 0.01")
    if settings.generate.components > settings.estimate.components:
        mistakes.append(
            f"generate.components = {settings.generate.components}: only estimate.components = "
            f"{settings.estimate.components} axes are modelled; raise that, or sample fewer"
        )
    if settings.generate.count and settings.encode.orientations > 1:
        mistakes.append(
            "generate.count: needs encode.orientations = 1; the mean of eight latents is not what "
            "the decoder learnt to read"
        )
    mistakes += _too_few_draws(settings)
    for stage in settings.overwrite:
        if stage not in STAGES:
            mistakes.append(f"--overwrite {stage}: {_unknown('stage', stage, STAGES)}")
    return mistakes


def _too_few_draws(settings: Settings) -> list[str]:
    """Of a class each component is tested at its share of the level."""
    asked, components = settings.modes, settings.estimate.components
    least = modes.least_draws(asked.level / components)
    if not 0 < asked.draws < least:
        return []
    return [
        f"modes.draws = {asked.draws}: at least {least} are needed for estimate.components = "
        f"{components} at modes.level = {asked.level:g}"
    ]


def _of_vectors(settings: Settings) -> list[str]:
    """What does not go with vectors that are brought along."""
    ingest = settings.ingest
    mistakes = []
    if ingest.source == "folder":
        mistakes.append("ingest.vector_column: needs ingest.source = parquet or delta, its table")
    if not ingest.id_column:
        mistakes.append("ingest.vector_column: needs ingest.id_column, the column of stable ids")
    if ingest.tile:
        mistakes.append("ingest.tile: cuts frames, and with ingest.vector_column there are none")
    if settings.train.model:
        mistakes.append("train.model: encodes pixels, and with ingest.vector_column there are none")
    if settings.encode.orientations > 1:
        mistakes.append(
            "encode.orientations: turns pixels, and with ingest.vector_column there are none"
        )
    if settings.generate.count:
        mistakes.append(
            "generate.count: images are decoded by the model, and with ingest.vector_column there "
            "is none"
        )
    return mistakes


def _of_job(settings: Settings, job: str) -> list[str]:
    """What would stop the job only when it gets there, hours later."""
    mistakes = []
    whole = job == "pipeline"
    if job == "encode" and settings.ingest.vector_column and not settings.images:
        mistakes.append("--images PATH is missing: encode takes the vectors from the table there")
    if job == "train" and settings.ingest.vector_column:
        mistakes.append("train: nothing to train, ingest.vector_column names vectors; run encode")
    if (whole or job in ("ingest", "sample")) and not settings.images:
        mistakes.append("--images PATH is missing: the folder or table to read (sample: to write)")
    if whole or job == "train":
        mistakes += _missing_file("train.model", settings.train.model)
    if whole or job == "report":
        mistakes += _missing_file("report.truth", settings.report.truth)
    if job == "calibrate":
        labels = settings.calibrate.labels
        mistakes += _missing_file("calibrate.labels", labels)
        if not labels:
            mistakes.append(NO_LABELS)
    if whole and settings.prune.by_sublabel and not settings.modes.draws:
        mistakes.append(f"prune.group_by: {SUBLABEL} needs modes.draws, such as 200")
    if whole:
        mistakes += _unpublishable(settings, list(settings.prune.rules), settings.prune.space)
    return mistakes


def _missing_file(key: str, path: str) -> list[str]:
    return [f"{key} = {path!r}: there is no such file"] if path and not Path(path).exists() else []


def _unpublishable(settings: Settings, rules: Sequence[str], spaces: Sequence[str]) -> list[str]:
    """What of the rule and the space to publish is not computed."""
    mistakes = []
    publish = settings.publish
    if publish.rule not in rules:
        mistakes.append(
            f"publish.rule = {publish.rule!r}: not among the computed rules ({', '.join(rules)}); "
            "choose one of them, or add it to prune.thresholds"
        )
    if published_space(settings) not in spaces:
        mistakes.append(
            f"publish.space = {published_space(settings)!r}: not among the computed spaces "
            f"({', '.join(spaces)}); choose one of them, or add it to prune.space"
        )
    return mistakes


def published_space(settings: Settings) -> str:
    """The space whose selection is published: as given, else the first that is computed."""
    return settings.publish.space or settings.prune.space[0]


def check_published(settings: Settings, rules: Iterable[str], spaces: Iterable[str]) -> None:
    """Raise SettingsError where the rule or the space to publish is none of those computed."""
    mistakes = _unpublishable(settings, list(rules), list(spaces))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
