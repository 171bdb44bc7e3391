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
from jobs.errors import JobError
from jobs.runtime import session
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.parquet_write import ArrowTransform, passthrough

VERSION = 1
KEY = ["image_id", "sha256", "model_id"]  # a latent with all three equal is not computed again
LATENTS = tables.TABLES["latents"].schema
COLUMNS = LATENTS.names
# Rows of `images` with a model_id, and whether these are all of them → rows of `latents`.
Make = Callable[[DataFrame, bool], ArrowTransform]
# What the encoder takes and hands on.
SEEN = arrow_frames.struct(
    "image_id string, label string, split string, sha256 string, model_id string, "
    "encoded_on string, pixels binary"
)


def main(stage_run: StageRun) -> None:
    """Table images → latents, and rejects of the stage encode."""
    model = model_of(stage_run.run)
    model_id = model_id_of(stage_run.run)
    platform = encoding_platform(stage_run) if model else GIVEN
    images = stage_run.read("images").withColumn("model_id", F.lit(model_id))
    if not stage_run.query("images", "SELECT image_id FROM rows LIMIT 1"):
        raise JobError(
            "the table images has no rows to encode; the table rejects tells why of each file"
        )
    if "latents" in stage_run.pending:
        pixels = stage_run.inputs["images"].metadata.get("pixels")
        known = earlier(stage_run, platform, model_id, pixels)
        make = partial(encoded, stage_run, model, platform) if model else partial(given, stage_run)
        metadata = {"pixels": pixels, "content": platform} | seen_from(stage_run.settings)
        write_latents(stage_run, images, known, make, metadata)
    stage_run.rows["latents"] = stage_run.count("latents")
    rejects = lacking(stage_run, images, brought=model is None)
    stage_run.write(rejects, "rejects", where="stage = 'encode'")
    how = f"on {platform}" if model else f"given as {model_id}"
    stage_run.summary = f"{stage_run.rows['latents']:,} latents {how}"


def model_of(run: RunContext) -> models.Model | None:
    """The model that encodes; None where vectors are brought along."""
    brought = bool(run.settings.ingest.vector_column)
    return None if brought else models.current(run.warehouse, run.settings)


def model_id_of(run: RunContext) -> str:
    """The model's id, or the name of the vectors that are brought along."""
    model = model_of(run)
    return model.model_id if model else run.settings.ingest.vector_name


def depends(run: RunContext) -> dict[str, Any]:
    """The model, and the orientations where there are several."""
    return {"model_id": model_id_of(run)} | seen_from(run.settings)


def seen_from(settings: Settings) -> dict[str, int]:
    """The orientations that a latent is the mean of, where there are several.

    One is not named, so that latents from before there was a choice are still up to date.
    """
    many = settings.encode.orientations
    return {"orientations": many} if many > 1 else {}


def encoding_platform(stage_run: StageRun) -> str:
    """Device and instruction set of the executors; orientations beside one.

    What latents of different ones have here, no stage takes for comparable. As many tasks ask as
    there are slots, for a worker loads torch to answer, two seconds that it is spared later.

    Raises JobError where those that answer differ.
    """
    from jobs.autoencoder.encoder_udf import ISA, place_of  # they load torch

    slots = session.slots(stage_run.spark)
    probe = stage_run.spark.range(0, slots, 1, slots)
    answers = probe.select(
        place_of(stage_run.settings.encode.device)(F.col("id")).alias("platform")
    )
    places = sorted({row.platform for row in answers.collect()})
    if len(places) > 1:
        raise JobError(
            f"the executors are of unlike kinds ({'; '.join(places)}), whose latents differ in the "
            f"last bits: encode on machines of one kind ({ISA} makes CPUs alike)"
        )
    many = stage_run.settings.encode.orientations
    return f"{places[0]}{f', {many} orientations' if many > 1 else ''}"


def earlier(
    stage_run: StageRun, platform: str, model_id: str, pixels: str | None
) -> DataFrame | None:
    """Latents of an earlier run that may stay: of this model and of images decoded this way.

    Raises JobError where latents of unlike machines would mix.
    """
    commit, latents = stage_run.previous_commit("latents"), stage_run.previous("latents")
    if (
        commit is None
        or latents is None
        or "encode" in stage_run.settings.overwrite
        or commit.metadata.get("pixels") != pixels
    ):
        return None
    if commit.orientations != stage_run.settings.encode.orientations:
        return None
    latents = latents.where(F.col("model_id") == model_id)
    others = latents.where(F.col("encoded_on") != platform).select("encoded_on").limit(1).collect()
    if others:
        from jobs.autoencoder.encoder_udf import ISA

        raise JobError(
            f"the latents were encoded on {others[0][0]}, this machine is {platform}, and the two "
            f"differ in the last bits: encode on a machine of the first kind ({ISA} makes CPUs "
            "alike), or encode all anew with --overwrite encode"
        )
    return latents


def write_latents(
    stage_run: StageRun,
    images: DataFrame,
    known: DataFrame | None,
    make: Make,
    metadata: dict[str, Any],
) -> None:
    """Make what has no latent yet; append, or replace the table where rows leave it."""
    count = stage_run.count("images")
    if known is None:
        stage_run.images = count
        stage_run.write(make(images, True), "latents", metadata=metadata)
        return
    narrow = images.select(*KEY, "label", "split")
    held = known.count()
    stage_run.images = count - held
    stays = known.drop("label", "split").join(narrow, on=KEY, how="inner").select(COLUMNS)
    made = make(images.join(known.select(KEY), on=KEY, how="left_anti"), False)
    if unchanged(known, narrow) and stage_run.warehouse.count("latents") == held:
        stage_run.write(made, "latents", append=True, metadata=metadata)
    else:
        stage_run.write(stays.unionByName(made.mapped()), "latents", metadata=metadata)


def encoded(
    stage_run: StageRun, model: models.Model, platform: str, images: DataFrame, every: bool
) -> ArrowTransform:
    """Latents by the model, in the exchange that the settings name."""
    from jobs.autoencoder.encoder_udf import Encoding  # it loads torch

    settings = stage_run.settings.encode
    encoding = Encoding(
        model.weights, model.model_id, settings.batch, settings.device, settings.orientations
    )
    arrow = settings.exchange == "arrow"
    if every and arrow:
        more = {"model_id": model.model_id, "encoded_on": platform}
        return stage_run.scan("images", SEEN, encoding.rows, LATENTS, constants=more)
    rows = images.withColumn("encoded_on", F.lit(platform)).select(SEEN.names)
    if arrow:
        return ArrowTransform(rows, encoding.rows, LATENTS)
    latents = rows.withColumn("latent", encoding.pandas()(F.col("pixels")))
    return ArrowTransform(latents.select(COLUMNS).where("latent IS NOT NULL"), passthrough, LATENTS)


def given(stage_run: StageRun, images: DataFrame, every: bool) -> ArrowTransform:
    """The vectors of the rows that became images: with the same id and the same hash.

    Raises JobError where the table is not the one that ingest read.
    """
    source = sources.find(stage_run.spark, stage_run.settings)
    commit = stage_run.inputs["images"]
    if commit.metadata.get("source") != source.mark(stage_run.settings.ingest):
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


def lacking(stage_run: StageRun, images: DataFrame, brought: bool) -> DataFrame | pa.Table:
    """Rejects: images that the model gives no finite latent for, or whose vector is gone."""
    # Every latent is one image's. Looking for what there is none of takes Spark five seconds.
    if stage_run.rows["latents"] == stage_run.count("images"):
        return tables.rows("rejects", [])
    latents = stage_run.read("latents").select(KEY)
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


STAGE = Stage(
    "encode",
    main,
    reads=lambda run: written_by("images"),
    writes=("latents", "rejects"),
    depends=depends,
    version=VERSION,
    model_id=model_id_of,
    imports=("jobs.autoencoder.encoder_udf",),
)
