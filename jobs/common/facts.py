"""What the report and the console say of a warehouse, gathered from its tables."""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from jobs.common import schemas
from jobs.common.run import Run, Work
from jobs.common.storage import JobError
from jobs.common.vectors import GIVEN

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
    published_kept: int
    rules: list[dict[str, Any]]
    by_class: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    points: list[dict[str, Any]]
    entropies: list[dict[str, Any]]
    codes: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    settings: str
    versions: str
    truth: list[dict[str, Any]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def gather(work: Work) -> Facts:
    """Everything the page shows."""
    run = work.run
    selection = work.read("selection")
    counts = _counts(selection)
    thresholds = sorted({row["threshold"] for row in counts}, reverse=True)
    by_class = _by_class(counts, thresholds)
    total = sum(row["images"] for row in by_class)
    rules = [
        {"rule": _rule(counts, threshold), "threshold": f"{threshold:g}", "kept": kept}
        | {"share": kept / total if total else 0.0}
        for threshold, kept in (
            (threshold, sum(row["kept"] for row in counts if row["threshold"] == threshold))
            for threshold in thresholds
        )
    ]
    codes = _codes(work.read("rejects"))
    effect = [row.asDict() for row in work.read("effect").orderBy("label").collect()]
    truth, kinds = _truth(run, selection, thresholds)
    encoded = _encoded(work.read("latents"))
    published, published_kept = _published(work.read("curated"), run.settings.publish.rule)
    run.ledger.settle()
    newest = _newest(run)
    return Facts(
        images=work.read("images").count(),
        images_encoded=total,
        rejected=sum(row["files"] for row in codes),
        classes=len(by_class),
        zero_latents=encoded.zeros,
        published=published,
        published_kept=published_kept,
        rules=rules,
        by_class=by_class,
        lines=_lines(work.read("regression")),
        points=effect,
        entropies=_entropies(effect),
        codes=codes,
        stages=_stages(newest),
        settings=_settings(run, newest),
        versions=_versions(work, encoded),
        truth=truth,
        kinds=kinds,
    )


def _published(curated: DataFrame, asked: str) -> tuple[str, int]:
    """Rule and rows of the table `curated`: publish may have run alone, with other settings."""
    row = curated.agg(F.first("rule").alias("rule"), F.count("*").alias("rows")).collect()[0]
    return row["rule"] or asked, int(row["rows"])


def _counts(selection: DataFrame) -> list[dict[str, Any]]:
    rows = selection.groupBy("label", "rule", "threshold").agg(
        F.count("*").alias("images"), F.count_if("kept").alias("kept")
    )
    return [row.asDict() for row in rows.orderBy("label", F.desc("threshold")).collect()]


def _rule(counts: list[dict[str, Any]], threshold: float) -> str:
    return next(str(row["rule"]) for row in counts if row["threshold"] == threshold)


def _by_class(counts: list[dict[str, Any]], thresholds: list[float]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in counts:
        entry = found.setdefault(
            row["label"], {"label": row["label"], "images": row["images"], "kept": []}
        )
        entry["kept"].append(row["kept"])
    return list(found.values())


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


def _lines(regression: DataFrame) -> list[dict[str, Any]]:
    rows = regression.orderBy(F.desc("threshold"), "component").collect()
    return [
        row.asDict() | {"value": row.threshold, "threshold": f"{row.threshold:g}"} for row in rows
    ]


def _entropies(effect: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the classes, and the share of classes where the entropy rose."""
    found: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for row in effect:
        found.setdefault((-row["threshold"], row["component"]), []).append(row)
    result = []
    for (threshold, component), rows in sorted(found.items()):
        mean = {
            name: sum(row[name] for row in rows) / len(rows)
            for name in ("entropy_before", "entropy_after", "scale_free_before", "scale_free_after")
        }
        result.append(
            {
                "threshold": f"{-threshold:g}",
                "component": component,
                "before": mean["entropy_before"],
                "after": mean["entropy_after"],
                "rose": _share(rows, "entropy_before", "entropy_after"),
                "free_before": mean["scale_free_before"],
                "free_after": mean["scale_free_after"],
                "free_rose": _share(rows, "scale_free_before", "scale_free_after"),
            }
        )
    return result


def _share(rows: list[dict[str, Any]], before: str, after: str) -> float:
    return sum(bool(row[after] > row[before]) for row in rows) / len(rows)


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
    run: Run, selection: DataFrame, thresholds: list[float]
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
    chosen = selection.select("image_id", "threshold", "kept", group.alias("group"))
    known = chosen.join(F.broadcast(roots), on="image_id", how="inner")
    stands = roots.select(F.col("image_id").alias("group"), F.col("root").alias("group_root"))
    removed = known.where("NOT kept").join(F.broadcast(stands), on="group", how="inner")
    precise = removed.groupBy("threshold").agg(
        F.avg((F.col("root") == F.col("group_root")).cast("double")).alias("precision")
    )
    precision = {row.threshold: row.precision for row in precise.collect()}
    originals = chosen.select(
        "threshold", F.col("image_id").alias("copy_of"), F.col("group").alias("root_group")
    )
    copies = known.where("copy_of IS NOT NULL").join(
        originals, on=["threshold", "copy_of"], how="inner"
    )
    recalled = copies.groupBy("threshold", "change").agg(
        F.avg((F.col("group") == F.col("root_group")).cast("double")).alias("recall")
    )
    rows = recalled.collect()
    kinds = sorted({row.change for row in rows})
    return [
        {
            "threshold": f"{threshold:g}",
            "precision": precision.get(threshold),
            "recall": {
                row.change: row.recall
                for row in sorted(rows, key=lambda row: str(row.change))
                if row.threshold == threshold
            },
        }
        for threshold in thresholds
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
