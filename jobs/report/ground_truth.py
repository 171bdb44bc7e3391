"""Compares the selections with a CSV of known copies: precision, and recall by kind of change."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.report.selections import KEY, Selection
from jobs.runtime.concurrently import gather
from jobs.warehouse import arrow_frames, given_file

ROOTS = arrow_frames.struct("image_id string, root string, change string, copy_of string")
KnownImage = tuple[str, str, str | None, str | None]  # image, root, change, original


def file_identity(path: str) -> str:
    """Return path, size and time of the CSV, so that a changed file makes a new report."""
    return given_file.identity(path)


def read_known_images(path: str) -> list[KnownImage]:
    """Read the images of the CSV; raises JobError if it cannot be read or lacks a column."""
    try:
        file = io.StringIO(given_file.read(path).decode("utf-8"), newline="")
        return [
            (
                row["image_id"],
                row["copy_of"] or row["image_id"],
                row["change"] or "unknown",
                row["copy_of"] or None,
            )
            for row in csv.DictReader(file)
        ]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise JobError(
            f"report.truth = {path!r}: cannot be read as a CSV with the columns image_id, copy_of, "
            f"change: {type(error).__name__}: {error}"
        ) from error


def compare(
    path: str, selection: DataFrame, selections: Sequence[Selection]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return precision and recall of each selection, and the kinds of change, sorted.

    The root of an image is the image that it is a copy of, or itself. Precision is the share of
    removed images whose kept image has the same root. Recall of a kind of change is the share of
    its copies that have the same kept image as their root.

    Args:
        path: the CSV of known copies (image_id, copy_of, change, overlap); empty: no comparison.
        selection: the table `selection`.
        selections: those to compare.

    """
    if not path:
        return [], []
    roots = arrow_frames.frame(selection.sparkSession, read_known_images(path), ROOTS)
    group = F.coalesce(F.col("kept_id"), F.col("image_id"))
    rows = selection.select("image_id", *KEY, "kept", group.alias("group"))
    listed = rows.join(F.broadcast(roots), on="image_id", how="inner")
    precision, recalls = gather(partial(_precision, listed, roots), partial(_recalls, listed, rows))
    kinds = sorted({row["change"] for row in recalls})
    return [
        {
            "title": each.title,
            "precision": precision.get(each.key),
            "recall": {row["change"]: row["recall"] for row in recalls if each.is_of(row)},
        }
        for each in selections
    ], kinds


def _precision(listed: DataFrame, roots: DataFrame) -> dict[tuple[str, str], float]:
    """Return the precision by rule and space, over removed images whose kept one is listed."""
    group_roots = roots.select(F.col("image_id").alias("group"), F.col("root").alias("group_root"))
    removed = listed.where("NOT kept").join(F.broadcast(group_roots), on="group", how="inner")
    precise = removed.groupBy(*KEY).agg(
        F.avg((F.col("root") == F.col("group_root")).cast("double")).alias("precision")
    )
    return {(row.rule, row.space): row.precision for row in precise.collect()}


def _recalls(listed: DataFrame, rows: DataFrame) -> list[dict[str, Any]]:
    """Return the recall by rule, space and kind of change, sorted by the latter."""
    originals = rows.select(
        *KEY, F.col("image_id").alias("copy_of"), F.col("group").alias("root_group")
    )
    copies = listed.where("copy_of IS NOT NULL")
    copies = copies.join(originals, on=[*KEY, "copy_of"], how="inner")
    recalled = copies.groupBy(*KEY, "change").agg(
        F.avg((F.col("group") == F.col("root_group")).cast("double")).alias("recall")
    )
    return [row.asDict() for row in recalled.orderBy("change").collect()]
