"""All settings of a run: the sections of the settings file, and what the command line adds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

from jobs.settings.acquisition import Ingest, Sample
from jobs.settings.autoencoder import Encode, Train
from jobs.settings.density import Anomalies, Generate, Modes
from jobs.settings.duplicates import Conflicts, Leaks, Prune, Publish
from jobs.settings.evaluation import Calibrate, Estimate
from jobs.settings.report import Report
from jobs.settings.validators import Section

FORMATS = ("text", "json")  # of the lines that a run prints


@dataclass(frozen=True)
class Sections(Section):
    """The sections of a settings file; `conf/local.toml` comments every key."""

    ingest: Ingest = field(default_factory=Ingest)
    train: Train = field(default_factory=Train)
    encode: Encode = field(default_factory=Encode)
    prune: Prune = field(default_factory=Prune)
    modes: Modes = field(default_factory=Modes)
    leaks: Leaks = field(default_factory=Leaks)
    conflicts: Conflicts = field(default_factory=Conflicts)
    anomalies: Anomalies = field(default_factory=Anomalies)
    generate: Generate = field(default_factory=Generate)
    publish: Publish = field(default_factory=Publish)
    estimate: Estimate = field(default_factory=Estimate)
    calibrate: Calibrate = field(default_factory=Calibrate)
    report: Report = field(default_factory=Report)
    sample: Sample = field(default_factory=Sample)


SECTIONS: dict[str, type] = get_type_hints(Sections)


@dataclass(frozen=True)
class Settings(Sections):
    """Everything one run depends on."""

    images: str = ""
    warehouse: str = "build/warehouse"
    overwrite: tuple[str, ...] = ()
    quiet: bool = False
    verbose: bool = False
    log_format: str = FORMATS[0]
    dry_run: bool = False
    report_folder: str = ""  # on the driver's disk, for a copy of the report

    def sections(self) -> dict[str, dict[str, Any]]:
        """The keys and values of every section, as a settings file would give them."""
        return {name: asdict(getattr(self, name)) for name in SECTIONS}


def published_space(settings: Settings) -> str:
    """Return the space whose selection is published: publish.space, else the first computed one."""
    return settings.publish.space or settings.prune.space[0]
