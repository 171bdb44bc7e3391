"""The stage `describe`: computes for each image the vector of its gradients, and whitens it.

By the cosine of these vectors pairs are proposed to rules that ask for a proof, unless the settings
choose another space (docs/method.md, "Which pairs are proposed").
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import functions as F

from jobs.autoencoder import space_fits, spaces
from jobs.autoencoder.spaces import VectorsTask
from jobs.errors import JobError
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import GRADIENTS
from jobs.warehouse import arrow_frames
from jobs.warehouse.parquet_write import ArrowTransform
from udfs.registration import gradients
from udfs.vectors.whitening import Whitening

VERSION = 1
MODEL = f"gradients {gradients.VERSION}"  # stands for a model in `spaces` and `gradients`
PIXELS = arrow_frames.struct("pixels binary")


def main(stage_run: StageRun) -> None:
    """Table images → spaces (the fitted whitening), gradients.

    In mode append the earlier fit is used again, so that new images are whitened like those before.
    """
    prune = stage_run.settings.prune
    most = prune.axes_of(GRADIENTS)
    check_pixels(stage_run)
    reusable = reusable_fit(stage_run, most) if prune.mode == "append" else None
    whitening = reusable or fitted_to_images(stage_run, most)
    fit = space_fits.fit_rows(GRADIENTS, MODEL, whitening, stage_run.count("images"))
    stage_run.write(fit, "spaces", where=f"space = '{GRADIENTS}'")
    task = VectorsTask(whitening, spaces.fit_id(whitening), GRADIENTS, spaces.gradients_of)
    stage_run.write(vectors(stage_run, task), "gradients")
    stage_run.rows["gradients"] = stage_run.count("gradients")
    stage_run.summary = f"{stage_run.rows['gradients']:,} images on {len(whitening.axes)} axes"


def depends(run: RunContext) -> dict[str, Any]:
    """Whether an earlier fit may be used again, the largest number of axes, and the vectors."""
    shared = space_fits.depends(run.settings.prune, GRADIENTS)
    return shared | {"gradients": gradients.VERSION}


def check_pixels(stage_run: StageRun) -> None:
    """Raise JobError if the table `images` holds vectors alone."""
    if not stage_run.inputs["images"].has_pixels:
        raise JobError(
            f"prune.space = {GRADIENTS!r} looks at pixels, and the table images was made of "
            "vectors and holds none: --set prune.space=whitened compares the vectors, or name the "
            "images in ingest.image_column and run ingest again"
        )


def fitted_to_images(stage_run: StageRun, most: int) -> Whitening:
    """Fit a whitening with at most `most` axes to the gradients of all images."""
    width = gradients.width()
    return space_fits.fitted(stage_run, "images", PIXELS, spaces.gradients_of, width, most)


def reusable_fit(stage_run: StageRun, most: int) -> Whitening | None:
    """The stored whitening of gradients of this version; None if there is none.

    Raises JobError if it was fitted on few images.
    """
    warehouse = stage_run.warehouse
    if warehouse.newest("spaces", "describe") is None:
        return None
    row = warehouse.read("spaces").where(F.col("space") == GRADIENTS).first()
    same = row and row.model_id == MODEL
    whitening = spaces.stored_fit(warehouse, GRADIENTS) if same else None
    if whitening:
        space_fits.check_axes(whitening, most, lambda: fitted_to_images(stage_run, most))
    return whitening


def vectors(stage_run: StageRun, task: VectorsTask) -> ArrowTransform:
    """Rows of `gradients`, one for each image that has a latent: no other image is compared."""
    constants = {"model_id": MODEL, "encoded_on": ""}
    if stage_run.count("images") == stage_run.count("latents"):
        return stage_run.scan(
            "images", spaces.PICTURES, task.rows, spaces.VECTORS, constants=constants
        )
    latents = stage_run.read("latents").select("image_id")
    images = stage_run.read("images").join(latents, on="image_id", how="left_semi")
    columns = {name: F.lit(value) for name, value in constants.items()}
    rows = images.withColumns(columns).select(spaces.PICTURES.names)
    return ArrowTransform(rows, task.rows, spaces.VECTORS)


STAGE = Stage(
    "describe",
    main,
    reads=lambda run: written_by("images", "latents"),
    writes=("spaces", "gradients"),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: GRADIENTS in settings.prune.space,
    example_flags="--set prune.space=gradients",
    message_if_disabled=("set prune.space, such as ['gradients']: no rule compares the gradients"),
    imports=("scipy.linalg",),
)
