"""The table `alignments`: how the pairs of pictures that were tried lie over each other.

Use `StoredAlignments` on the driver. What an earlier run registered travels to the tasks in the
columns `known_ids` and `known_values` of an image (`with_known`, `known_of`), so that no pair is
registered twice while both pictures stay the same.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.pictures import PictureRows, source_shifts
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames, tables
from udfs.duplicates.pair_alignments import KnownAlignments, TriedPairs
from udfs.registration import Alignments

TABLE = "alignments"
REGISTRATION = 3  # raise it, and prune.VERSION, when udfs/registration aligns pictures otherwise
FIELDS = tuple(field.name for field in fields(Alignments))  # which are columns of the table too
PAIRS = tables.TABLES[TABLE].schema
KNOWN = ("known_ids", "known_values")


class StoredAlignments:
    """The alignments of a warehouse, to which a run adds those that it computes."""

    def __init__(self, stage_run: StageRun, orientations: int) -> None:
        """Alignments of a stage; those of other `prune.orientations` count as none."""
        self._stage_run = stage_run
        self._made_by = {"orientations": orientations, "registration": REGISTRATION}
        commit = stage_run.previous_commit(TABLE)
        self._any = (
            commit is not None
            and commit.metadata.get("made_by") == self._made_by
            and not stage_run.is_overwritten
        )

    def pairs(self, pictures: DataFrame) -> DataFrame | None:
        """The stored rows whose pictures are still the same; None where nothing is stored.

        pictures: rows with `image_id` and `content`.
        """
        rows = self._stage_run.previous(TABLE) if self._any else None
        if rows is None:
            return None
        images = pictures.select("image_id", F.col("content").alias("image_content"))
        others = images.withColumnsRenamed(
            {"image_id": "other_id", "image_content": "other_content"}
        )
        rows = rows.join(images, on=["image_id", "image_content"], how="left_semi")
        return rows.join(others, on=["other_id", "other_content"], how="left_semi")

    def add(self, pairs: DataFrame, *, finished: bool = False) -> None:
        """Store rows of the table; finished: the stage adds no more."""
        self._stage_run.write(
            pairs.select(PAIRS.names),
            TABLE,
            append=self._any,
            finished=finished,
            metadata={"made_by": self._made_by},
        )
        self._any = True

    def finish(self) -> None:
        """Say that the stage has stored all that it computed."""
        self.add(arrow_frames.frame(self._stage_run.spark, [], PAIRS), finished=True)


def forget_withdrawn(stage_run: StageRun) -> None:
    """Delete the rows of images that others took out (`withdrawn` in `rejects`), if there are any.

    Rows of other images that are gone stay: their pictures may come back.
    """
    store, commit = stage_run.warehouse, stage_run.previous_commit(TABLE)
    if commit is None or not store.exists("rejects"):
        return
    sql = "SELECT image_id FROM rows WHERE error_code = 'withdrawn'"
    ids = [row["image_id"] for row in store.query("rejects", sql)]
    rows = stage_run.previous(TABLE)
    if not ids or rows is None:
        return
    out = arrow_frames.ids(stage_run.spark, ids)
    others = out.withColumnRenamed("image_id", "other_id")
    kept = rows.join(out, on="image_id", how="left_anti")
    kept = kept.join(others, on="other_id", how="left_anti").select(rows.columns)
    if kept.count() < rows.count():
        version = store.write(kept, TABLE, replace(commit, run_id=stage_run.run.run_id))
        stage_run.writes[TABLE] = version


def with_known(rows: DataFrame, pairs: DataFrame | None) -> DataFrame:
    """Images with the columns `known_ids` and `known_values`, null where no pair is known.

    rows: with `image_id`. pairs: rows of `alignments`, or None. The values of a pair are those of
    FIELDS, and the pairs of an image follow each other.
    """
    if pairs is None:
        nulls = zip(KNOWN, ("array<string>", "array<double>"), strict=True)
        return rows.withColumns({name: F.lit(None).cast(kind) for name, kind in nulls})
    values = [F.coalesce(F.col(name).cast("double"), F.lit(float("nan"))) for name in FIELDS]
    pair = F.struct("other_id", F.array(*values).alias("values"))
    known = pairs.groupBy("image_id").agg(F.collect_list(pair).alias("known"))
    known = known.select(
        "image_id",
        F.col("known.other_id").alias("known_ids"),
        F.flatten("known.values").alias("known_values"),
    )
    return rows.join(known, on="image_id", how="left")


def known_of(rows: pa.Table, pictures: PictureRows, first: int = 0) -> KnownAlignments:
    """The known alignments of images, from the columns that `with_known` gives.

    pictures: all pictures that are compared. first: the index of the first of `rows` among them.
    Pairs with images that are not compared are left out.
    """
    ids, values = (rows.column(name).combine_chunks() for name in KNOWN)
    count = np.asarray(ids.value_lengths().fill_null(0))
    if not count.sum():
        return KnownAlignments.none()
    images = first + np.repeat(np.arange(len(count)), count)
    others = pa.compute.index_in(ids.flatten(), pictures.ids).fill_null(-1).to_numpy()
    numbers = values.flatten().to_numpy().reshape(-1, len(FIELDS))
    compared = np.flatnonzero(others >= 0)
    columns = dict(zip(FIELDS, numbers[compared].T, strict=True))
    kinds = vars(Alignments.empty(0))
    alignments = Alignments(
        **{name: column.astype(kinds[name].dtype) for name, column in columns.items()}
    )
    return KnownAlignments(images[compared], others[compared].astype(np.int64), alignments)


def evidence(tried: TriedPairs, pictures: PictureRows) -> dict[str, Any]:
    """The columns that `alignments` and `selection` have of alignments; what is NaN is null."""
    x, y = source_shifts(tried.alignments, pictures, tried.images, tried.others)
    columns = vars(tried.alignments) | {"shift_x_source": x, "shift_y_source": y}
    return {name: pa.array(column, from_pandas=True) for name, column in columns.items()}


def new_pairs(
    tried: TriedPairs, pictures: PictureRows, columns: dict[str, Any], space: str
) -> tuple[dict[str, Any], int]:
    """The columns of PAIRS, and the number of rows: of pairs that were not known before.

    columns: the `evidence` of all of the pairs.
    """
    new = np.flatnonzero(tried.is_new)
    images, others = (pa.array(part[new]) for part in (tried.images, tried.others))
    rows = {name: column.take(pa.array(new)) for name, column in columns.items()}
    rows |= {
        "image_id": pictures.ids.take(images),
        "other_id": pictures.ids.take(others),
        "image_content": pictures.contents.take(images),
        "other_content": pictures.contents.take(others),
        "space": pa.array([space] * len(new), pa.string()),
        "similarity": tried.similarity[new],
    }
    return rows, len(new)
