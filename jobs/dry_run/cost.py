"""What the stages of a plan would take: images, pairs, seconds, bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.acquisition.sources import Source
from jobs.dry_run import rates, workload
from jobs.dry_run.rates import Rates
from jobs.dry_run.workload import Files
from jobs.settings.load import RECONSTRUCTION, Settings
from jobs.warehouse.store import Store

MODEL = 7.8e6  # bytes of its weights
COMPARING = ("prune", "leaks", "conflicts")
A_ROW_A_RULE = ("selection",)


@dataclass(frozen=True)
class Estimate:
    """What one stage would take."""

    images: float
    pairs: float
    seconds: float
    bytes: float


@dataclass(frozen=True)
class Volume:
    """What there would be once ingest is done: images in their groups; and how many are new.

    fresh: images that would be decoded. anew: all of them, as if nothing had been there.
    """

    groups: tuple[float, ...]
    fresh: float
    anew: bool

    @property
    def images(self) -> float:
        """All of them."""
        return sum(self.groups)

    @property
    def pairs(self) -> float:
        """Σ n(n − 1)/2 over the groups."""
        return workload.pairs(self.groups)


def volume(
    warehouse: Store, settings: Settings, source: Source | None, files: Files | None
) -> Volume:
    """files: what ingest would find; None where it has nothing to do, or is not asked."""
    there = warehouse.exists("images")
    if files is None or source is None:
        sizes = workload.groups(warehouse.read("images"), settings.prune) if there else []
        return Volume(tuple(map(float, sizes)), 0.0, anew=False)
    anew = files.fresh == files.count
    each = workload.tiles_a_file(source, settings.ingest)
    if there and not anew:
        known = warehouse.read("images").select("path")
        each = known.count() / max(1, known.distinct().count())
    sizes_now = [count * each for count in files.by_label.values()]
    if not (settings.prune.group_by or settings.prune.never_across):
        sizes_now = [sum(sizes_now)]
    return Volume(tuple(sizes_now), files.fresh * each, anew)


def measured(
    history: Iterable[Mapping[str, Any]], now: Volume, warehouse: Store, cores: int
) -> Rates:
    """The rates, scaled to what this warehouse's runs took: of each stage the longest run."""
    rows = [row for row in history if row["state"] == "done" and row["finished"]]
    images = {
        row["run_id"]: counts["images"]
        for row in history
        if row["stage"] == "ingest" and (counts := dict(row["row_counts"] or {})).get("images")
    }
    longest: dict[str, tuple[float, float]] = {}
    for row in rows:
        took = (row["finished"] - row["started"]).total_seconds()
        stage, then = row["stage"], float(images.get(row["run_id"], now.images))
        through = passed(stage, then, json.loads(row["settings"]))
        pairs = now.pairs * (then / now.images) ** 2 if now.images else 0.0
        said = rates.SECONDS.get(stage, rates.OTHERS).seconds(through, pairs, cores)
        if took > longest.get(stage, (0.0, 1.0))[0]:
            longest[stage] = took, took / said
    sizes = {table: warehouse.size(table) for table in rates.BYTES if warehouse.exists(table)}
    return Rates(
        {stage: factor for stage, (_, factor) in longest.items()},
        {table: size[1] / size[0] for table, size in sizes.items() if size and size[0]},
    )


def passed(stage: str, images: float, settings: Mapping[str, Any]) -> float:
    """Images as a stage's rate counts them: in every epoch, from every side.

    settings: by sections, perhaps of a version that had fewer keys.
    """
    if stage == "train":
        slower = settings["train"].get("objective", RECONSTRUCTION) != RECONSTRUCTION
        return trained(images, settings["train"]) * (rates.RECOGNISING if slower else 1)
    if stage == "encode":
        return images * int(settings.get("encode", {}).get("orientations", 1))
    return images


def trained(images: float, train: Mapping[str, Any]) -> float:
    """Images that training goes through, epochs counted."""
    if train["model"]:
        return 0.0
    passes = (1 - float(train["held_out"])) * int(train["epochs"])
    return min(images, float(train["sample"])) * passes


def estimate(
    stage: str,
    writes: Sequence[str],
    now: Volume,
    to_encode: float,
    settings: Settings,
    found: Rates,
    cores: int,
) -> Estimate:
    """What a stage would take that is done."""
    images = {
        "ingest": now.fresh,
        "train": trained(now.images, settings.sections()["train"]),
        "encode": to_encode,
    }.get(stage, now.images)
    pairs = 0.0
    if stage == "prune":
        pairs = now.pairs * len(settings.prune.space)
    elif stage in COMPARING:  # across all labels
        pairs = workload.pairs([now.images])
    decisions = len(settings.prune.rules) * len(settings.prune.space)
    size = sum(
        found.bytes(table) * images * (decisions if table in A_ROW_A_RULE else 1)
        for table in writes
    )
    size += MODEL if stage == "train" else 0
    through = passed(stage, now.images if stage == "train" else images, settings.sections())
    return Estimate(images, pairs, found.seconds(stage, through, pairs, cores), size)
