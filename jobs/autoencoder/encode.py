"""The stage `encode`: computes a latent for each image on the executors, by Arrow or a pandas UDF.

If the source holds vectors (`ingest.vector_column`), these become the latents.
Only images without a latent by the same model are encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.acquisition import sources
from jobs.acquisition.vector_reader import GIVEN, VECTOR, VECTORS, VectorReader
from jobs.autoencoder import models
from jobs.errors import JobError
from jobs.runtime import long_writes, session
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.model import Settings
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.parquet_write import ArrowTransform, passthrough

VERSION = 1
KEY = ["image_id", "sha256", "model_id"]  # a latent with all three equal is not computed again
LATENTS = tables.TABLES["latents"].schema
COLUMNS = LATENTS.names
# Makes rows of `latents` of rows of `images` with a model_id. The second argument tells whether
# these are all images.
MakeLatents = Callable[[DataFrame, bool], ArrowTransform]
# The columns that the encoder reads; all but the pixels are passed on to `latents`.
ENCODER_INPUT = arrow_frames.struct(
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
        reusable = reusable_latents(stage_run, platform, model_id, pixels)
        make = partial(encoded, stage_run, model, platform) if model else partial(given, stage_run)
        metadata = {"pixels": pixels, "content": platform} | orientations(stage_run.settings)
        resumable = fingerprint(metadata | {"model_id": model_id})
        if stage_run.adopt("latents", resumable, metadata):
            reusable = reusable_latents(stage_run, platform, model_id, pixels)
        if reusable is not None:
            stage_run.log_kept("latents")
        write_latents(stage_run, images, reusable, make, metadata, resumable)
    stage_run.rows["latents"] = stage_run.count("latents")
    rejects = rejected(stage_run, images, are_vectors=model is None)
    stage_run.write(rejects, "rejects", where="stage = 'encode'")
    how = f"on {platform}" if model else f"given as {model_id}"
    stage_run.summary = f"{stage_run.rows['latents']:,} latents {how}"


def model_of(run: RunContext) -> models.Model | None:
    """The model that encodes; None if the source holds vectors."""
    are_vectors = bool(run.settings.ingest.vector_column)
    return None if are_vectors else models.current(run.warehouse, run.settings)


def model_id_of(run: RunContext) -> str:
    """The model's id, or `ingest.vector_name` if the source holds vectors."""
    model = model_of(run)
    return model.model_id if model else run.settings.ingest.vector_name


def depends(run: RunContext) -> dict[str, Any]:
    """The model, and the number of orientations if there are several."""
    model, name = model_of(run), run.settings.ingest.vector_name
    given = NamedValues({"ingest.vector_name": name}, hashed=name)
    return {"model_id": model.model_id if model else given} | orientations(run.settings)


def orientations(settings: Settings) -> dict[str, int]:
    """The number of orientations that a latent is the mean of; nothing if it is 1.

    So the latents of versions without this setting are still up to date.
    """
    many = settings.encode.orientations
    return {"orientations": many} if many > 1 else {}


def encoding_platform(stage_run: StageRun) -> str:
    """Return a string that identifies the encoding platform.

    It names the device, the CPU instruction set, and the number of orientations if that is not 1.
    Latents with different strings differ in the last bits at least and are never compared.

    There are as many tasks as slots, since a worker loads torch to answer, and these two seconds
    are saved when it encodes.

    Raises JobError if the executors differ.
    """
    from jobs.autoencoder.encoder_udf import platform_of, unlike  # they load pandas

    settings = stage_run.settings.encode
    slots = session.slots(stage_run.spark)
    probe = stage_run.spark.range(0, slots, 1, slots)
    platform = platform_of(settings.device, settings.orientations)
    answers = probe.select(platform(F.col("id")).alias("platform"))
    platforms = {row.platform for row in answers.collect()}
    if len(platforms) > 1:
        raise JobError(unlike(platforms))
    return str(platforms.pop())


def reusable_latents(
    stage_run: StageRun, platform: str, model_id: str, pixels: str | None
) -> DataFrame | None:
    """Return latents of an earlier run by this model, of images decoded in the same way.

    pixels: the fingerprint of that way. None if there are no such latents. Raises JobError if they
    were encoded on another platform, since latents of two platforms must not mix.
    """
    commit, latents = stage_run.previous_commit("latents"), stage_run.previous("latents")
    if (
        commit is None
        or latents is None
        or stage_run.is_overwritten
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
    return of_same_pixels(stage_run, latents)


def of_same_pixels(stage_run: StageRun, latents: DataFrame) -> DataFrame:
    """Return latents but those of pictures of more than 8 bits that now have another class.

    Each class has a range of values that is shown (`images.range_low`), so their pixels differ,
    though their file does not.
    """
    images, deep = stage_run.read("images"), "range_low IS NOT NULL"
    if "range_low" not in images.columns or not stage_run.count("images", deep):
        return latents
    present = images.where(deep).select("image_id", F.col("label").alias("_label"))
    moved = F.col("label") != F.col("_label")
    rows = latents.join(present, on="image_id", how="left")
    return rows.where(~F.coalesce(moved, F.lit(False))).select(latents.columns)


def write_latents(
    stage_run: StageRun,
    images: DataFrame,
    reusable: DataFrame | None,
    make: MakeLatents,
    metadata: dict[str, Any],
    resumable: str,
) -> None:
    """Write `latents`: the reusable ones under their image's present label, the others computed.

    Rows that change or leave the table do so first, then new ones are added. So a run that is
    killed meanwhile leaves what it had computed to the next one.
    """
    total = stage_run.count("images")
    # To copy given vectors takes no minutes, and each part would read the whole source.
    in_parts = model_of(stage_run.run) is not None

    def latents_of(part: DataFrame, share: float) -> ArrowTransform:
        are_all = reusable is None and share == 1
        return replace(make(part, are_all), resumable=resumable)

    if reusable is None:
        stage_run.progress_total = total
        long_writes.write(
            stage_run,
            "latents",
            images,
            latents_of,
            key="image_id",
            count=total if in_parts else 0,
            metadata=metadata,
        )
        return
    narrow = images.select(*KEY, "label", "split")
    reused = reusable.count()
    stage_run.progress_total = total - reused
    kept = reusable.drop("label", "split").join(narrow, on=KEY, how="inner").select(COLUMNS)
    new = images.join(reusable.select(KEY), on=KEY, how="left_anti")
    if not unchanged(reusable, narrow) or stage_run.warehouse.count("latents") != reused:
        stage_run.write(kept, "latents", metadata=metadata, finished=False)
    long_writes.write(
        stage_run,
        "latents",
        new,
        latents_of,
        key="image_id",
        count=total - reused if in_parts else 0,
        append=True,
        metadata=metadata,
    )


def encoded(
    stage_run: StageRun, model: models.Model, platform: str, images: DataFrame, are_all: bool
) -> ArrowTransform:
    """Return the latents of images by a model, computed by Arrow or pandas as the settings ask.

    are_all: whether these are all rows of `images`, so that tasks can read its files directly.
    """
    from jobs.autoencoder.encoder_udf import EncoderTask  # it loads pandas

    settings = stage_run.settings.encode
    encoding = EncoderTask(
        model.weights,
        model.model_id,
        settings.batch,
        settings.device,
        settings.orientations,
        platform,
    )
    arrow = settings.exchange == "arrow"
    if are_all and arrow:
        constants = {"model_id": model.model_id, "encoded_on": platform}
        return stage_run.scan("images", ENCODER_INPUT, encoding.rows, LATENTS, constants=constants)
    rows = images.withColumn("encoded_on", F.lit(platform)).select(ENCODER_INPUT.names)
    if arrow:
        return ArrowTransform(rows, encoding.rows, LATENTS)
    latents = rows.withColumn("latent", encoding.pandas()(F.col("pixels")))
    return ArrowTransform(latents.select(COLUMNS).where("latent IS NOT NULL"), passthrough, LATENTS)


def given(stage_run: StageRun, images: DataFrame, are_all: bool) -> ArrowTransform:
    """Return the source's vectors of images as their latents; image and vector share id and hash.

    Raises JobError if the source is not what ingest read.
    """
    source = sources.find(stage_run.spark, stage_run.settings)
    commit = stage_run.inputs["images"]
    if commit.metadata.get("source") != source.fingerprint(stage_run.settings.ingest):
        raise JobError(
            f"--images {source.root} is not what ingest read: the table changed since, or the "
            "settings of [ingest] did; run ./spark-submit.sh ingest first (or pipeline, which does "
            "all)"
        )
    reader = VectorReader(source.width or 0)
    rows = source.frame.select("image_id", VECTOR)
    vectors = arrow_frames.mapped(rows, reader.latent_rows, VECTORS)
    narrow = images.select(*KEY, "label", "split").withColumn("encoded_on", F.lit(GIVEN))
    latents = vectors.join(narrow, on=["image_id", "sha256"], how="inner").select(COLUMNS)
    # Several rows of the source may have the same id and vector; one of them became the image.
    latents = latents.dropDuplicates(["image_id"]).repartitionByRange("label", "image_id")
    return ArrowTransform(latents.sortWithinPartitions("label", "image_id"), passthrough, LATENTS)


def unchanged(latents: DataFrame, images: DataFrame) -> bool:
    """Whether the image of every latent is still there, under the same label and split."""
    columns = [*KEY, "label", "split"]
    return latents.select(columns).exceptAll(images.select(columns)).isEmpty()


def rejected(stage_run: StageRun, images: DataFrame, are_vectors: bool) -> DataFrame | pa.Table:
    """Return a row of `rejects` for each image without a latent.

    The model gave no finite latent for it, or the source's vector is gone.
    """
    # Each latent belongs to one image, so equal counts mean that there are no rejects. To look for
    # them would take Spark five seconds.
    if stage_run.rows["latents"] == stage_run.count("images"):
        return tables.rows("rejects", [])
    latents = stage_run.read("latents").select(KEY)
    code, message = (
        ("changed", "its vector changed while it was read: run it again")
        if are_vectors
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
    worker_imports=("jobs.autoencoder.encoder_udf", "udfs.autoencoder.inference"),
)
