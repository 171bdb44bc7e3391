"""The numbers of a report: counts by rule and class, effects, rejects, settings.

The page, the figures and the console show them; the file `summary.json` holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.autoencoder import few_images
from jobs.duplicates.groups import FLAT_IMAGE
from jobs.report import effect_tables, ground_truth, provenance
from jobs.report.selections import Selection, selections
from jobs.runtime.concurrently import gather
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import Rule, asks_for_proof
from jobs.settings.model import Settings, published_space

EXAMPLES = 3  # of each error code
CODES = f"""
SELECT stage, error_code, files, coalesce(image_id, path) AS name, error_message FROM (
  SELECT *, count(*) OVER (PARTITION BY stage, error_code) AS files,
    row_number() OVER (PARTITION BY stage, error_code
      ORDER BY path NULLS LAST, image_id NULLS LAST) AS number FROM rows)
WHERE number <= {EXAMPLES} ORDER BY files DESC, error_code, stage, number
"""
COUNTS = """
SELECT label, rule, space, count(*) AS images, count(*) FILTER (WHERE kept) AS kept FROM rows
GROUP BY label, rule, space ORDER BY label
"""
THRESHOLDS = """
SELECT label, rule, space, min(threshold) AS low, max(threshold) AS high FROM rows
GROUP BY label, rule, space
"""
FLAT_IMAGES = f"""
SELECT image_id, count(*) OVER () AS images FROM rows WHERE {FLAT_IMAGE}
ORDER BY image_id LIMIT 100
"""
PUBLISHED = "SELECT min(rule) AS rule, min(space) AS space, count(*) AS images FROM rows"


@dataclass
class Summary:
    """The numbers of a report, as `summary.json` holds them; shares lie between 0 and 1.

    images, images_encoded: rows of `images`, and those of them that have a latent.
    rejected, codes: rejected files, and the same by error code with examples.
    zero_latents: images whose latent is all zero, so that they resemble nothing.
    published, published_space, published_kept: rule, space and rows of the table `curated`.
    rules, by_class: what each selection keeps of all images, and of each class.
    lines, points, entropies, dependence: what removal did (effect_tables; points: table `effect`).
    draws: random removals that the effects are compared with.
    flat, flat_ids: images that show one colour or next to nothing, and the first hundred ids.
    few_images: what is said if rules rely on a model that learnt from too few images, else empty.
    truth, kinds: precision and recall against known copies, and the kinds of change of these.
    """

    images: int
    images_encoded: int
    rejected: int
    classes: int
    zero_latents: int
    published: str
    published_space: str
    published_kept: int
    rules: list[dict[str, Any]]
    by_class: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    points: list[dict[str, Any]]
    entropies: list[dict[str, Any]]
    codes: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    dependence: dict[str, Any]
    draws: int
    settings: str
    versions: str
    truth: list[dict[str, Any]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    flat: int = 0
    flat_ids: list[str] = field(default_factory=list)
    few_images: str = ""

    @property
    def published_index(self) -> int:
        """The index of the published rule in `rules`; 0 if it is none of them."""
        indices = [index for index, row in enumerate(self.rules) if self.is_published(row)]
        return indices[0] if indices else 0

    @property
    def near_copies(self) -> int | None:
        """How many images the published rule removes; None if its decisions are not shown."""
        kept = [row["kept"] for row in self.rules if self.is_published(row)]
        return self.images_encoded - kept[0] if kept else None

    @property
    def is_proved(self) -> bool:
        """Whether the published rule removes what registration proves."""
        return asks_for_proof(self.published)

    @property
    def published_title(self) -> str:
        """The name of the published rule, for people."""
        titles = [str(row["title"]) for row in self.rules if self.is_published(row)]
        return titles[0] if titles else self.published

    def is_published(self, rule: Mapping[str, Any]) -> bool:
        """Return whether the table `curated` was made by this one of `rules`."""
        return (rule["rule"], rule["space"]) == (self.published, self.published_space)


def summarise(stage_run: StageRun, last_runs: Sequence[Mapping[str, Any]]) -> Summary:
    """Read the numbers of a report from the tables that every pipeline writes.

    last_runs: the newest rows of each stage in `runs` (provenance.last_runs).
    """
    run = stage_run.run
    selection = stage_run.read("selection")
    counts = stage_run.query("selection", COUNTS)
    shown = selections(counts)
    by_class = _by_class(counts, shown, _threshold_texts(stage_run.query("thresholds", THRESHOLDS)))
    total = sum(row["images"] for row in by_class)
    codes = rejects(stage_run.query("rejects", CODES))
    effect = stage_run.query("effect", "SELECT * FROM rows ORDER BY label, component")
    (truth, kinds), encoded = gather(
        partial(ground_truth.compare, run.settings.report.truth, selection, shown),
        partial(_encoded, stage_run.read("latents")),
    )
    latents = provenance.origin(encoded.model_id, encoded.encoded_on)
    has_levels = "levels" in stage_run.read("images").columns
    flat = stage_run.query("images", FLAT_IMAGES) if has_levels else []
    published, space, published_kept = _published(stage_run, run.settings)
    return Summary(
        images=stage_run.query("images", "SELECT count(*) AS images FROM rows")[0]["images"],
        images_encoded=total,
        rejected=sum(row["files"] for row in codes),
        classes=len(by_class),
        zero_latents=encoded.zeros,
        published=published,
        published_space=space,
        published_kept=published_kept,
        rules=_rules(counts, shown, total),
        by_class=by_class,
        lines=effect_tables.lines(stage_run.query("regression"), shown),
        points=effect,
        entropies=effect_tables.entropies(effect, shown),
        codes=codes,
        stages=provenance.stages(last_runs),
        dependence=effect_tables.dependence(stage_run.query("dependence")),
        draws=provenance.draws(last_runs, run.settings),
        settings=provenance.settings_used(last_runs, run.settings),
        versions=provenance.versions(stage_run.reads, latents),
        flat=flat[0]["images"] if flat else 0,
        flat_ids=[row["image_id"] for row in flat],
        few_images=few_images.remark(
            stage_run.warehouse.files,
            encoded.model_id,
            [Rule.of(selection.rule) for selection in shown],
            {selection.space for selection in shown},
        ),
        truth=truth,
        kinds=kinds,
    )


def _rules(
    counts: Sequence[Mapping[str, Any]], shown: Sequence[Selection], total: int
) -> list[dict[str, Any]]:
    """Return how many images each rule keeps, and their share of all."""
    rules = []
    for selection in shown:
        rule = Rule.of(selection.rule)
        kept = sum(row["kept"] for row in counts if selection.is_of(row))
        rules.append(
            {
                "rule": selection.rule,
                "space": selection.space,
                "title": selection.title,
                "finds": selection.is_searched,
                "threshold": rule.threshold,
                "overlap": rule.target if asks_for_proof(rule.name) else None,
                "kept": kept,
                "share": kept / total if total else 0.0,
            }
        )
    return rules


def _published(stage_run: StageRun, settings: Settings) -> tuple[str, str, int]:
    """Return rule, space and number of rows of `curated`.

    They are read from the table: publish may have run alone, with other settings.
    """
    row = stage_run.query("curated", PUBLISHED)[0]
    rule = row["rule"] or settings.publish.rule
    return rule, row["space"] or published_space(settings), int(row["images"])


def _threshold_texts(
    thresholds: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str, str], str]:
    """Return the T of each class, rule and space as text: `0.9512`, `0.9300 … 0.9500` or `–`."""
    return {
        (row["label"], row["rule"], row["space"]): "–"
        if row["low"] is None
        else f"{row['low']:.4f}" + (f" … {row['high']:.4f}" if row["high"] > row["low"] else "")
        for row in thresholds
    }


def _by_class(
    counts: Sequence[dict[str, Any]],
    shown: Sequence[Selection],
    thresholds: Mapping[tuple[str, str, str], str],
) -> list[dict[str, Any]]:
    """Return how many images of each class there are, and how many each selection keeps.

    A selection whose T is searched for also has the T of the class.
    """
    classes: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for row in counts:
        classes.setdefault(row["label"], {})[row["rule"], row["space"]] = row
    return [
        {
            "label": label,
            "images": next(iter(rows.values()))["images"],
            "cells": [
                {
                    "kept": rows[selection.key]["kept"],
                    "found": thresholds[label, *selection.key] if selection.is_searched else None,
                }
                for selection in shown
            ],
        }
        for label, rows in classes.items()
    ]


def rejects(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group rows of CODES by error code, the most frequent first, with examples of each."""
    codes: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        example = {"example": row["name"], "message": row["error_message"]}
        code = codes.setdefault(
            (row["stage"], row["error_code"]),
            {"code": row["error_code"], "stage": row["stage"], "files": row["files"]}
            | {**example, "examples": []},
        )
        code["examples"].append(example)
    return list(codes.values())


def _encoded(latents: DataFrame) -> Row:
    """Return the model and platform of the latents (one of each), and how many are all zero."""
    zero = F.count_if(~F.exists("latent", lambda value: value != 0))
    return latents.agg(
        F.first("model_id").alias("model_id"),
        F.first("encoded_on").alias("encoded_on"),
        zero.alias("zeros"),
    ).collect()[0]
