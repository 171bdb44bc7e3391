"""encode: the encoder runs on the executors as a pandas UDF; one latent an image."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.common import command, models, schemas
from jobs.common.encoding import ISA, Encoding, place_of
from jobs.common.run import Run, Work
from jobs.common.storage import JobError

VERSION = 1
KEY = ["image_id", "sha256", "model_id"]  # a latent with all three equal is not computed again


def main(run: Run) -> None:
    """Table images → latents, and rejects of the stage encode."""
    model = models.current(run.warehouse, run.settings)
    with run.stage(
        "encode",
        reads={"images": "ingest"},
        writes=("latents", "rejects"),
        depends={"model_id": model.model_id},
        version=VERSION,
    ) as work:
        work.model_id = model.model_id
        if work.finished:
            return
        place = encoded_on(run)
        images = work.read("images").withColumn("model_id", F.lit(model.model_id))
        if images.isEmpty():
            raise JobError(
                "the table images has no rows to encode; the table rejects tells why of each file"
            )
        if "latents" in work.pending:
            pixels = pixels_mark(run)
            known = earlier(run, place, model.model_id, pixels)
            write_latents(work, images, known, model, place, {"pixels": pixels})
        work.write(
            not_finite(images, run.warehouse.read("latents")), "rejects", where="stage = 'encode'"
        )
        work.rows["latents"] = run.warehouse.read("latents").count()
        work.summary = f"{work.rows['latents']:,} latents on {place}"


def encoded_on(run: Run) -> str:
    """Device and instruction set of the executors: asked of one of them."""
    probe = run.spark.range(1).select(place_of(run.settings.encode.device)(F.col("id")))
    return str(probe.collect()[0][0])


def pixels_mark(run: Run) -> str | None:
    """How the images were decoded and cut: with a given model, only this tells unlike tiles apart.

    A tile's id and its file's sha256 stay the same when the tiles' size changes.
    """
    stamp = run.warehouse.newest("images", "ingest")
    return stamp.notes.get("pixels") if stamp else None


def earlier(run: Run, place: str, model_id: str, pixels: str | None) -> DataFrame | None:
    """Latents of an earlier run that may stay: of this model and of images decoded this way.

    Raises JobError where latents of unlike machines would mix.
    """
    stamp = run.warehouse.newest("latents", "encode")
    if stamp is None or "encode" in run.settings.overwrite or stamp.notes.get("pixels") != pixels:
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
    model: models.Model,
    place: str,
    notes: dict[str, Any],
) -> None:
    """Encode what has no latent yet; append, or replace the table where rows leave it."""
    columns = schemas.TABLES["latents"].schema.names
    narrow = images.select(*KEY, "label", "split")
    stays = None
    todo = images
    if known is not None:
        stays = known.drop("label", "split").join(narrow, on=KEY, how="inner").select(columns)
        todo = images.join(known.select(KEY), on=KEY, how="left_anti")
    settings = work.run.settings.encode
    encoding = Encoding(model.weights, model.model_id, settings.batch, settings.device)
    encode = encoding.pandas() if settings.exchange == "pandas" else encoding.arrow()
    encoded = todo.select(
        "image_id",
        "label",
        "split",
        "sha256",
        "model_id",
        F.lit(place).alias("encoded_on"),
        encode(F.col("pixels")).alias("latent"),
    ).where("latent IS NOT NULL")
    encoded = encoded.sortWithinPartitions("label", "image_id")
    if stays is None or known is None:
        work.write(encoded, "latents", notes=notes)
    elif unchanged(known, narrow) and work.run.warehouse.read("latents").count() == known.count():
        work.write(encoded, "latents", append=True, notes=notes)
    else:
        work.write(stays.unionByName(encoded), "latents", notes=notes)


def unchanged(known: DataFrame, images: DataFrame) -> bool:
    """Whether every known latent's image is still there, under the same label and split."""
    columns = [*KEY, "label", "split"]
    return known.select(columns).exceptAll(images.select(columns)).isEmpty()


def not_finite(images: DataFrame, latents: DataFrame) -> DataFrame:
    """Rejects: images that the model gives no finite latent for."""
    missing = images.join(latents.select(KEY), on=KEY, how="left_anti")
    message = "the encoder gave NaN or infinity for it: look at the model's training"
    return missing.select(
        "path",
        "image_id",
        "size_bytes",
        "modified_at",
        F.lit("encode").alias("stage"),
        F.lit("not_finite").alias("error_code"),
        F.lit(message).alias("error_message"),
    )


if __name__ == "__main__":
    command.run("encode", main)
