"""What the report and the console say of a warehouse: counts by rule and class, rejects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.report import effect_tables, ground_truth, provenance
from jobs.report.selections import Choice, choices
from jobs.runtime.stage import StageRun
from jobs.settings.duplicates import Rule
from jobs.settings.model import Settings, published_space

EXAMPLES = 3  # rejects shown of each code
CODES = f"""
SELECT stage, error_code, files, coalesce(image_id, path) AS name, error_message FROM (
  SELECT *, count(*) OVER (PARTITION BY stage, error_code) AS files,
    row_number() OVER (PARTITION BY stage, error_code
      ORDER BY path NULLS LAST, image_id NULLS LAST) AS place FROM rows)
WHERE place <= {EXAMPLES} ORDER BY files DESC, error_code, stage, place
"""
COUNTS = """
SELECT label, rule, space, count(*) AS images, count(*) FILTER (WHERE kept) AS kept FROM rows
GROUP BY label, rule, space ORDER BY label
"""
FOUND = """
SELECT label, rule, space, min(threshold) AS low, max(threshold) AS high FROM rows
GROUP BY label, rule, space
"""
PUBLISHED = "SELECT min(rule) AS rule, min(space) AS space, count(*) AS images FROM rows"


@dataclass
class Facts:
    """The figures of a report; shares lie between 0 and 1."""

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

    @property
    def published_rule(self) -> int:
        """The place of the published rule among `rules`; 0 where it is none of them."""
        places = [place for place, row in enumerate(self.rules) if self.is_published(row)]
        return places[0] if places else 0

    @property
    def published_title(self) -> str:
        """The published rule for people."""
        titles = [str(row["title"]) for row in self.rules if self.is_published(row)]
        return titles[0] if titles else self.published

    def is_published(self, rule: Mapping[str, Any]) -> bool:
        """Whether one of `rules` is what `curated` was made of."""
        return (rule["rule"], rule["space"]) == (self.published, self.published_space)


def gather(stage_run: StageRun, ended: Sequence[Mapping[str, Any]]) -> Facts:
    """All that a report is sure to have; ended: the newest rows of the stages (provenance)."""
    run = stage_run.run
    selection = stage_run.read("selection")
    counts = stage_run.query("selection", COUNTS)
    chosen = choices(counts)
    by_class = _by_class(counts, chosen, _found(stage_run.query("thresholds", FOUND)))
    total = sum(row["images"] for row in by_class)
    codes = rejects(stage_run.query("rejects", CODES))
    effect = stage_run.query("effect", "SELECT * FROM rows ORDER BY label, component")
    known, kinds = ground_truth.compare(run.settings.report.truth, selection, chosen)
    encoded = _encoded(stage_run.read("latents"))
    latents = provenance.origin(encoded.model_id, encoded.encoded_on)
    published, space, published_kept = _published(stage_run, run.settings)
    return Facts(
        images=stage_run.query("images", "SELECT count(*) AS images FROM rows")[0]["images"],
        images_encoded=total,
        rejected=sum(row["files"] for row in codes),
        classes=len(by_class),
        zero_latents=encoded.zeros,
        published=published,
        published_space=space,
        published_kept=published_kept,
        rules=_rules(counts, chosen, total),
        by_class=by_class,
        lines=effect_tables.lines(stage_run.query("regression"), chosen),
        points=effect,
        entropies=effect_tables.entropies(effect, chosen),
        codes=codes,
        stages=provenance.stages(ended),
        dependence=effect_tables.dependence(stage_run.query("dependence")),
        draws=provenance.draws(ended, run.settings),
        settings=provenance.settings_used(ended, run.settings),
        versions=provenance.versions(stage_run.reads, latents),
        truth=known,
        kinds=kinds,
    )


def _rules(
    counts: Sequence[Mapping[str, Any]], chosen: Sequence[Choice], total: int
) -> list[dict[str, Any]]:
    rules = []
    for choice in chosen:
        kept = sum(row["kept"] for row in counts if choice.is_of(row))
        rules.append(
            {
                "rule": choice.rule,
                "space": choice.space,
                "title": choice.title,
                "finds": choice.finds,
                "threshold": Rule.of(choice.rule).threshold,
                "kept": kept,
                "share": kept / total if total else 0.0,
            }
        )
    return rules


def _published(stage_run: StageRun, settings: Settings) -> tuple[str, str, int]:
    """Rule, space and rows of `curated`: publish may have run alone, with other settings."""
    row = stage_run.query("curated", PUBLISHED)[0]
    asked = settings.publish.rule, published_space(settings)
    return row["rule"] or asked[0], row["space"] or asked[1], int(row["images"])


def _found(thresholds: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], str]:
    """The T of each class, rule and space as text: one, or from … to where a class has several."""
    return {
        (row["label"], row["rule"], row["space"]): "–"
        if row["low"] is None
        else f"{row['low']:.4f}" + (f" … {row['high']:.4f}" if row["high"] > row["low"] else "")
        for row in thresholds
    }


def _by_class(
    counts: Sequence[dict[str, Any]],
    chosen: Sequence[Choice],
    found: Mapping[tuple[str, str, str], str],
) -> list[dict[str, Any]]:
    classes: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for row in counts:
        classes.setdefault(row["label"], {})[row["rule"], row["space"]] = row
    return [
        {
            "label": label,
            "images": next(iter(rows.values()))["images"],
            "cells": [
                {
                    "kept": rows[choice.key]["kept"],
                    "found": found[label, *choice.key] if choice.finds else None,
                }
                for choice in chosen
            ],
        }
        for label, rows in classes.items()
    ]


def rejects(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rejects by code, most first, with the first examples of each by path and id."""
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
    """Model and machine of the latents (one of each), and how many are zeros alone."""
    zero = F.count_if(~F.exists("latent", lambda value: value != 0))
    return latents.agg(
        F.first("model_id").alias("model_id"),
        F.first("encoded_on").alias("encoded_on"),
        zero.alias("zeros"),
    ).collect()[0]
