"""What the report and the console say of a warehouse, gathered from its tables."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.common import schemas
from jobs.common.run import Run, Work
from jobs.common.settings import Rule, Settings, published_space
from jobs.common.storage import JobError
from jobs.common.vectors import GIVEN

KEY = ("rule", "space")  # of one selection
PACKAGES = ("pyspark", "delta-spark", "torch", "numpy", "scipy", "pyarrow", "pandas", "pillow")


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


def gather(work: Work) -> Facts:
    """Everything the page shows."""
    run = work.run
    selection = work.read("selection")
    counts = _counts(selection)
    chosen = _choices(counts)
    by_class = _by_class(counts, chosen, _found(work.read("thresholds")))
    total = sum(row["images"] for row in by_class)
    rules = [
        {"rule": choice.rule, "space": choice.space, "title": choice.title, "kept": kept}
        | {"finds": choice.finds, "share": kept / total if total else 0.0}
        for choice, kept in (
            (choice, sum(row["kept"] for row in counts if choice.is_of(row))) for choice in chosen
        )
    ]
    codes = _codes(work.read("rejects"))
    effect = [row.asDict() for row in work.read("effect").orderBy("label").collect()]
    truth, kinds = _truth(run, selection, chosen)
    encoded = _encoded(work.read("latents"))
    published, space, published_kept = _published(work.read("curated"), run.settings)
    run.ledger.settle()
    newest = _newest(run)
    return Facts(
        images=work.read("images").count(),
        images_encoded=total,
        rejected=sum(row["files"] for row in codes),
        classes=len(by_class),
        zero_latents=encoded.zeros,
        published=published,
        published_space=space,
        published_kept=published_kept,
        rules=rules,
        by_class=by_class,
        lines=_lines(work.read("regression"), chosen),
        points=effect,
        entropies=_entropies(effect, chosen),
        codes=codes,
        stages=_stages(newest),
        dependence=_dependence(work.read("dependence")),
        draws=_draws(run, newest),
        settings=_settings(run, newest),
        versions=_versions(work, encoded),
        truth=truth,
        kinds=kinds,
    )


@dataclass(frozen=True)
class Choice:
    """A rule in a space: what one selection is of."""

    rule: str
    space: str
    title: str
    finds: bool  # its own T, perhaps another in each class

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a table is of this selection."""
        return bool((row["rule"], row["space"]) == (self.rule, self.space))


def _choices(counts: list[dict[str, Any]]) -> list[Choice]:
    """Every selection, space by space: given thresholds, the highest first, then those found."""
    found = {(row["space"], row["rule"]): Rule.of(row["rule"]) for row in counts}
    several = len({space for space, _ in found}) > 1
    ordered = sorted(
        found.items(),
        key=lambda item: (item[0][0], item[1].threshold is None, -(item[1].threshold or 0)),
    )
    return [
        Choice(name, space, rule.title + (f" {space}" if several else ""), rule.threshold is None)
        for (space, name), rule in ordered
    ]


def _published(curated: DataFrame, settings: Settings) -> tuple[str, str, int]:
    """Rule, space and rows of `curated`: publish may have run alone, with other settings."""
    row = curated.agg(
        F.first("rule").alias("rule"), F.first("space").alias("space"), F.count("*").alias("rows")
    ).collect()[0]
    asked = settings.publish.rule, published_space(settings)
    return row["rule"] or asked[0], row["space"] or asked[1], int(row["rows"])


def _counts(selection: DataFrame) -> list[dict[str, Any]]:
    rows = selection.groupBy("label", "rule", "space").agg(
        F.count("*").alias("images"), F.count_if("kept").alias("kept")
    )
    return [row.asDict() for row in rows.orderBy("label").collect()]


def _found(thresholds: DataFrame) -> dict[tuple[str, str, str], str]:
    """The T of each class, rule and space as text: one, or from … to where a class has several."""
    ends = thresholds.groupBy("label", *KEY).agg(
        F.min("threshold").alias("low"), F.max("threshold").alias("high")
    )
    return {
        (row.label, row.rule, row.space): "–"
        if row.low is None
        else f"{row.low:.4f}" + (f" … {row.high:.4f}" if row.high > row.low else "")
        for row in ends.collect()
    }


def _by_class(
    counts: list[dict[str, Any]], chosen: list[Choice], found: dict[tuple[str, str, str], str]
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
                    "kept": rows[choice.rule, choice.space]["kept"],
                    "found": found[label, choice.rule, choice.space] if choice.finds else None,
                }
                for choice in chosen
            ],
        }
        for label, rows in classes.items()
    ]


def _codes(rejects: DataFrame) -> list[dict[str, Any]]:
    """Rejects by code, most first, with an example of each: the first by path and id."""
    name = F.coalesce(F.col("image_id"), F.col("path"))
    example = F.struct("path", "image_id", name.alias("name"), "error_message")
    rows = rejects.groupBy("stage", "error_code").agg(
        F.count("*").alias("files"), F.min(example).alias("example")
    )
    codes = [
        {"code": row.error_code, "files": row.files}
        | {"example": row.example["name"], "message": row.example["error_message"]}
        for row in rows.collect()
    ]
    return sorted(codes, key=lambda code: (-code["files"], code["code"]))


def _lines(regression: DataFrame, chosen: list[Choice]) -> list[dict[str, Any]]:
    rows = [row.asDict() for row in regression.orderBy("component").collect()]
    return [row | {"title": choice.title} for choice in chosen for row in rows if choice.is_of(row)]


def _entropies(effect: list[dict[str, Any]], chosen: list[Choice]) -> list[dict[str, Any]]:
    """Means over the classes, and the share of classes where the entropy rose."""
    result = []
    components = sorted({row["component"] for row in effect})
    for choice, component in ((choice, k) for choice in chosen for k in components):
        rows = [row for row in effect if choice.is_of(row) and row["component"] == component]
        if not rows:
            continue
        mean = {
            name: sum(row[name] for row in rows) / len(rows)
            for name in ("entropy_before", "entropy_after", "scale_free_before", "scale_free_after")
        }
        result.append(
            {
                "title": choice.title,
                "component": component,
                "before": mean["entropy_before"],
                "after": mean["entropy_after"],
                "rose": _share(rows, "entropy_before", "entropy_after"),
                "free_before": mean["scale_free_before"],
                "free_after": mean["scale_free_after"],
                "free_rose": _share(rows, "scale_free_before", "scale_free_after"),
                "beyond": _beyond(rows, "entropy"),
                "free_beyond": _beyond(rows, "scale_free"),
            }
        )
    return result


def _share(rows: list[dict[str, Any]], before: str, after: str) -> float:
    return sum(bool(row[after] > row[before]) for row in rows) / len(rows)


def _dependence(table: DataFrame) -> dict[str, Any]:
    """Classes, the median of their divergences, and the class of the largest; empty: none."""
    rows = sorted(table.collect(), key=lambda row: (row.divergence, row.label))
    if not rows:
        return {}
    middle, largest = rows[len(rows) // 2], rows[-1]
    return {
        "classes": len(rows),
        "median": middle.divergence,
        "largest": largest.divergence,
        "label": largest.label,
    }


def _beyond(rows: list[dict[str, Any]], name: str) -> str:
    """In how many classes a measure ended above and below what random removals do."""
    known = [row for row in rows if row[f"{name}_low"] is not None]
    if not known:
        return "–"
    above = sum(row[f"{name}_after"] > row[f"{name}_high"] for row in known)
    below = sum(row[f"{name}_after"] < row[f"{name}_low"] for row in known)
    return f"{above} ↑ {below} ↓"


def _known(path: str) -> list[tuple[str, str, str | None, str | None]]:
    """Rows of the truth file: image, root, change, original. Raises JobError."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = [
                (
                    row["image_id"],
                    row["copy_of"] or row["image_id"],
                    row["change"] or "unknown",
                    row["copy_of"] or None,
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, csv.Error) as refused:
        raise JobError(
            f"report.truth = {path!r}: cannot be read as a CSV with the columns image_id, copy_of, "
            f"change: {type(refused).__name__}: {refused}"
        ) from refused
    return rows


def _truth(
    run: Run, selection: DataFrame, chosen: list[Choice]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Precision and recall against a CSV of known copies (image_id, copy_of, change, overlap).

    The root of an image is what it is a copy of, else itself. Precision: removed images whose
    kept image has the same root. Recall of a kind of change: its copies that share a kept image
    with their root.
    """
    path = run.settings.report.truth
    if not path:
        return [], []
    roots = run.spark.createDataFrame(
        _known(path), schemas.struct("image_id string, root string, change string, copy_of string")
    )
    group = F.coalesce(F.col("kept_id"), F.col("image_id"))
    rows = selection.select("image_id", *KEY, "kept", group.alias("group"))
    known = rows.join(F.broadcast(roots), on="image_id", how="inner")
    stands = roots.select(F.col("image_id").alias("group"), F.col("root").alias("group_root"))
    removed = known.where("NOT kept").join(F.broadcast(stands), on="group", how="inner")
    precise = removed.groupBy(*KEY).agg(
        F.avg((F.col("root") == F.col("group_root")).cast("double")).alias("precision")
    )
    precision = {(row.rule, row.space): row.precision for row in precise.collect()}
    originals = rows.select(
        *KEY, F.col("image_id").alias("copy_of"), F.col("group").alias("root_group")
    )
    copies = known.where("copy_of IS NOT NULL").join(originals, on=[*KEY, "copy_of"], how="inner")
    recalled = copies.groupBy(*KEY, "change").agg(
        F.avg((F.col("group") == F.col("root_group")).cast("double")).alias("recall")
    )
    recalls = [row.asDict() for row in recalled.orderBy("change").collect()]
    kinds = sorted({row["change"] for row in recalls})
    return [
        {
            "title": choice.title,
            "precision": precision.get((choice.rule, choice.space)),
            "recall": {row["change"]: row["recall"] for row in recalls if choice.is_of(row)},
        }
        for choice in chosen
    ], kinds


def _newest(run: Run) -> list[Row]:
    """Of each stage in `runs`: its newest row that did anything, `row`, and its newest `done`."""
    runs = run.warehouse.read("runs").where("state IN ('done', 'failed')")
    row = F.struct("stage", "state", "started", "finished", "settings")
    done = F.when(F.col("state") == "done", F.col("started"))
    newest = runs.groupBy("stage").agg(
        F.max_by(row, "started").alias("row"), F.max_by(row, done).alias("done")
    )
    return sorted(newest.collect(), key=lambda stage: stage.row.started)


def _stages(newest: list[Row]) -> list[dict[str, Any]]:
    """How each stage ended when it last did anything."""
    return [
        {
            "stage": row.stage,
            "state": row.state,
            "seconds": f"{(row.finished - row.started).total_seconds():.1f}"
            if row.finished
            else "",
            "finished": f"{row.finished:%Y-%m-%d %H:%M:%S}" if row.finished else "",
        }
        for row in (stage.row for stage in newest)
    ]


def _draws(run: Run, newest: list[Row]) -> int:
    """Random removals that the effects stand beside, as of the run that estimated them."""
    used = [json.loads(row.done.settings) for row in newest if row.done and row.stage == "estimate"]
    given = run.settings.estimate.control
    return int(used[0]["estimate"].get("control", 0)) if used else given


def _settings(run: Run, newest: list[Row]) -> str:
    """Each stage's settings as of the run that did it: this one may have been given others."""
    used = {row.stage: json.loads(row.done.settings) for row in newest if row.done}
    lines = []
    for section, keys in run.settings.sections().items():
        if section == "sample":
            continue
        lines.append(f"[{section}]")
        keys = used.get(section, {}).get(section, keys)
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join(lines)


def _encoded(latents: DataFrame) -> Row:
    """Model and machine of the latents (one of each), and how many are zeros alone."""
    zero = F.count_if(~F.exists("latent", lambda value: value != 0))
    return latents.agg(
        F.first("model_id").alias("model_id"),
        F.first("encoded_on").alias("encoded_on"),
        zero.alias("zeros"),
    ).collect()[0]


def _origin(encoded: Row) -> str:
    """Where the latents come from."""
    if encoded.encoded_on == GIVEN:
        return f"vectors brought along: {encoded.model_id}"
    if encoded.model_id:
        return f"model {encoded.model_id}, encoded on {encoded.encoded_on}"
    return "no model"


def _versions(work: Work, encoded: Row) -> str:
    """What the figures were made with."""
    named = [f"{name} {version(name)}" for name in PACKAGES]
    tables = [f"{table} {number}" for table, number in sorted(work.reads.items())]
    return "\n".join(
        [
            f"Python {platform.python_version()}, {', '.join(named)}",
            _origin(encoded),
            f"tables read at version: {', '.join(tables)}",
        ]
    )
