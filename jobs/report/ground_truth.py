"""How a selection fares against a CSV of known copies."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.report.selections import KEY, Choice
from jobs.warehouse import arrow_frames

ROOTS = arrow_frames.struct("image_id string, root string, change string, copy_of string")
Known = tuple[str, str, str | None, str | None]


def mark(path: str) -> str:
    """Path, size and time of the truth file, so that a new one makes a new report."""
    if not path or not Path(path).exists():
        return path
    status = Path(path).stat()
    return f"{path}|{status.st_size}|{status.st_mtime_ns}"


def known(path: str) -> list[Known]:
    """Rows of the truth file: image, root, change, original. Raises JobError."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return [
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


def compare(
    path: str, selection: DataFrame, chosen: Sequence[Choice]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Precision and recall against a CSV of known copies (image_id, copy_of, change, overlap).

    The root of an image is what it is a copy of, else itself. Precision: removed images whose
    kept image has the same root. Recall of a kind of change: its copies that share a kept image
    with their root.
    """
    if not path:
        return [], []
    roots = arrow_frames.frame(selection.sparkSession, known(path), ROOTS)
    group = F.coalesce(F.col("kept_id"), F.col("image_id"))
    rows = selection.select("image_id", *KEY, "kept", group.alias("group"))
    of_known = rows.join(F.broadcast(roots), on="image_id", how="inner")
    precision = _precision(of_known, roots)
    recalls = _recalls(of_known, rows)
    kinds = sorted({row["change"] for row in recalls})
    return [
        {
            "title": choice.title,
            "precision": precision.get(choice.key),
            "recall": {row["change"]: row["recall"] for row in recalls if choice.is_of(row)},
        }
        for choice in chosen
    ], kinds


def _precision(of_known: DataFrame, roots: DataFrame) -> dict[tuple[str, str], float]:
    stands = roots.select(F.col("image_id").alias("group"), F.col("root").alias("group_root"))
    removed = of_known.where("NOT kept").join(F.broadcast(stands), on="group", how="inner")
    precise = removed.groupBy(*KEY).agg(
        F.avg((F.col("root") == F.col("group_root")).cast("double")).alias("precision")
    )
    return {(row.rule, row.space): row.precision for row in precise.collect()}


def _recalls(of_known: DataFrame, rows: DataFrame) -> list[dict[str, Any]]:
    originals = rows.select(
        *KEY, F.col("image_id").alias("copy_of"), F.col("group").alias("root_group")
    )
    copies = of_known.where("copy_of IS NOT NULL")
    copies = copies.join(originals, on=[*KEY, "copy_of"], how="inner")
    recalled = copies.groupBy(*KEY, "change").agg(
        F.avg((F.col("group") == F.col("root_group")).cast("double")).alias("recall")
    )
    return [row.asDict() for row in recalled.orderBy("change").collect()]
