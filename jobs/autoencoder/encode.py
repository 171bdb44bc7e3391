"""encode: the encoder runs on the executors, by Arrow or as a pandas UDF; one latent an image.

Vectors that a table brings along are taken over as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.acquisition import sources
from jobs.acquisition.vector_reader import GIVEN, VECTOR, VECTORS, Vectors
from jobs.autoencoder import models
from jobs.autoencoder.encoder_udf import ISA, Encoding, place_of
from jobs.errors import JobError
from jobs.runtime import session
from jobs.runtime.run import Run, Work
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.parquet_write import ArrowTransform, passthrough

VERSION = 1
KEY = ["image_id", "sha256", "model_id"]  # a latent with all three equal is not computed again
WRITES = ("latents", "rejects")
LATENTS = tables.TABLES["latents"].schema
COLUMNS = LATENTS.names
# Rows of `images` with a model_id, and whether these are all of them → rows of `latents`.
Make = Callable[[DataFrame, bool], ArrowTransform]
# What the encoder takes and hands on.
SEEN = arrow_frames.struct(
    "image_id string, label string, split string, sha256 string, model_id string, "
    "encoded_on string, pixels binary"
)


def main(run: Run) -> None:
    """Table images → latents, and rejects of the stage encode."""
    brought = bool(run.settings.ingest.vector_column)
    model = None if brought else models.current(run.warehouse, run.settings)
    model_id = model.model_id if model else run.settings.ingest.vector_name
    with run.stage(
        "encode",
        reads={"images": "ingest"},
        writes=WRITES,
        depends={"model_id": model_id} | seen_from(run.settings),
        version=VERSION,
    ) as work:
        work.model_id = model_id
        if work.finished:
            return
        place = encoded_on(run) if model else GIVEN
        images = work.read("images").withColumn("model_id", F.lit(model_id))
        if not work.query("images", "SELECT image_id FROM rows LIMIT 1"):
            raise JobError(
                "the table images has no rows to encode; the table rejects tells why of each file"
            )
        if "latents" in work.pending:
            pixels = pixels_mark(run)
            known = earlier(run, place, model_id, pixels)
            make = partial(encoded, work, model, place) if model else partial(given, run)
            metadata = {"pixels": pixels, "content": place} | seen_from(run.settings)
            write_latents(work, images, known, make, metadata)
        work.rows["latents"] = run.warehouse.count("latents")
        work.write(lacking(work, images, brought), "rejects", where="stage = 'encode'")
        how = f"on {place}" if model else f"given as {model_id}"
        work.summary = f"{work.rows['latents']:,} latents {how}"


def seen_from(settings: Settings) -> dict[str, int]:
    """The orientations that a latent is the mean of, where there are several.

    One is not named, so that latents from before there was a choice are still up to date.
    """
    many = settings.encode.orientations
    return {"orientations": many} if many > 1 else {}


def encoded_on(run: Run) -> str:
    """Device and instruction set of the executors; orientations beside one.

    What latents of different ones have here, no stage takes for comparable. As many tasks ask as
    there are slots, for a worker loads torch to answer, two seconds that it is spared later.

    Raises JobError where those that answer differ.
    """
    slots = session.slots(run.spark)
    probe = run.spark.range(0, slots, 1, slots)
    answers = probe.select(place_of(run.settings.encode.device)(F.col("id")).alias("place"))
    places = sorted({row.place for row in answers.collect()})
    if len(places) > 1:
        raise JobError(
            f"the executors are of unlike kinds ({'; '.join(places)}), whose latents differ in the "
            f"last bits: encode on machines of one kind ({ISA} makes CPUs alike)"
        )
    many = run.settings.encode.orientations
    return f"{places[0]}{f', {many} orientations' if many > 1 else ''}"


def pixels_mark(run: Run) -> str | None:
    """How the images were decoded and cut: with a given model, only this tells unlike tiles apart.

    A tile's id and its file's sha256 stay the same when the tiles' size changes.
    """
    commit = run.warehouse.newest("images", "ingest")
    return commit.metadata.get("pixels") if commit else None


def earlier(run: Run, place: str, model_id: str, pixels: str | None) -> DataFrame | None:
    """Latents of an earlier run that may stay: of this model and of images decoded this way.

    Raises JobError where latents of unlike machines would mix.
    """
    commit = run.warehouse.newest("latents", "encode")
    if (
        commit is None
        or "encode" in run.settings.overwrite
        or commit.metadata.get("pixels") != pixels
    ):
        return None
    if commit.orientations != run.settings.encode.orientations:
        return None
    latents = run.warehouse.read("latents", run.warehouse.version("latents"))
    latents = latents.where(F.col("model_id") == model_id)
    others = latents.where(F.col("encoded_on") != place).select("encoded_on").limit(1).collect()
    if others:
        raise JobError(
            f"the latents were encoded on {others[0][0]}, this machine is {place}, and the two "
            f"differ in the last bits: encode on a machine of the first kind ({ISA} makes CPUs "
            "alike), or encode all anew with --overwrite encode"
        )
    return latents


def write_latents(
    work: Work,
    images: DataFrame,
    known: DataFrame | None,
    make: Make,
    metadata: dict[str, Any],
) -> None:
    """Make what has no latent yet; append, or replace the table where rows leave it."""
    count = work.run.warehouse.count("images")
    if known is None:
        work.images = count
        work.write(make(images, True), "latents", metadata=metadata)
        return
    narrow = images.select(*KEY, "label", "split")
    held = known.count()
    work.images = count - held
    stays = known.drop("label", "split").join(narrow, on=KEY, how="inner").select(COLUMNS)
    made = make(images.join(known.select(KEY), on=KEY, how="left_anti"), False)
    if unchanged(known, narrow) and work.run.warehouse.count("latents") == held:
        work.write(made, "latents", append=True, metadata=metadata)
    else:
        work.write(stays.unionByName(made.mapped()), "latents", metadata=metadata)


def encoded(
    work: Work, model: models.Model, place: str, images: DataFrame, every: bool
) -> ArrowTransform:
    """Latents by the model, in the exchange that the settings name."""
    settings = work.run.settings.encode
    encoding = Encoding(
        model.weights, model.model_id, settings.batch, settings.device, settings.orientations
    )
    arrow = settings.exchange == "arrow"
    if every and arrow:
        more = {"model_id": model.model_id, "encoded_on": place}
        return work.scan("images", SEEN, encoding.rows, LATENTS, constants=more)
    rows = images.withColumn("encoded_on", F.lit(place)).select(SEEN.names)
    if arrow:
        return ArrowTransform(rows, encoding.rows, LATENTS)
    latents = rows.withColumn("latent", encoding.pandas()(F.col("pixels")))
    return ArrowTransform(latents.select(COLUMNS).where("latent IS NOT NULL"), passthrough, LATENTS)


def given(run: Run, images: DataFrame, every: bool) -> ArrowTransform:
    """The vectors of the rows that became images: with the same id and the same hash.

    Raises JobError where the table is not the one that ingest read.
    """
    source = sources.find(run.spark, run.settings)
    commit = run.warehouse.newest("images", "ingest")
    if commit is None or commit.metadata.get("source") != source.mark(run.settings.ingest):
        raise JobError(
            f"--images {source.root} is not what ingest read: the table changed since, or the "
            "settings of [ingest] did; run ./spark-submit.sh ingest first (or pipeline, which does "
            "all)"
        )
    reading = Vectors(source.width or 0)
    rows = source.frame.select("image_id", VECTOR)
    vectors = arrow_frames.mapped(rows, reading.latent_rows, VECTORS)
    narrow = images.select(*KEY, "label", "split").withColumn("encoded_on", F.lit(GIVEN))
    latents = vectors.join(narrow, on=["image_id", "sha256"], how="inner").select(COLUMNS)
    # Rows of the table may be alike in id and vector: one of them became the image.
    latents = latents.dropDuplicates(["image_id"]).repartitionByRange("label", "image_id")
    return ArrowTransform(latents.sortWithinPartitions("label", "image_id"), passthrough, LATENTS)


def unchanged(known: DataFrame, images: DataFrame) -> bool:
    """Whether every known latent's image is still there, under the same label and split."""
    columns = [*KEY, "label", "split"]
    return known.select(columns).exceptAll(images.select(columns)).isEmpty()


def lacking(work: Work, images: DataFrame, brought: bool) -> DataFrame | pa.Table:
    """Rejects: images that the model gives no finite latent for, or whose vector is gone."""
    # Every latent is one image's. Looking for what there is none of takes Spark five seconds.
    if work.rows["latents"] == work.run.warehouse.count("images"):
        return tables.rows("rejects", [])
    latents = work.run.warehouse.read("latents").select(KEY)
    code, message = (
        ("changed", "its vector changed while it was read: run it again")
        if brought
        else ("not_finite", "the encoder gave NaN or infinity for it: look at the model's training")
    )
    return images.join(latents, on=KEY, how="left_anti").select(
        "path",
        "image_id",
        "size_bytes",
        "modified_at",
        F.lit("encode").alias("stage"),
        F.lit(code).alias("error_code"),
        F.lit(message).alias("error_message"),
    )
