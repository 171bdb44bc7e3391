"""The stage `whiten`: projects latents on the principal axes of all images and scales each axis.

Each coordinate is divided by the standard deviation along its axis, so that all axes count alike
(docs/method.md, "Whitening").
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import functions as F

from jobs.autoencoder import space_fits, spaces
from jobs.autoencoder.latents import model_of, stored_width
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import WHITENED
from jobs.warehouse import arrow_frames
from udfs.vectors.whitening import Whitening

VERSION = 3
LATENT = arrow_frames.struct("latent array<float>")


def main(stage_run: StageRun) -> None:
    """Table latents → spaces (the fitted whitening), vectors.

    In mode append a fit of the same model and orientations is used again, so that new images are
    whitened like those before.
    """
    prune = stage_run.settings.prune
    most = prune.axes_of(WHITENED)
    metadata = {"orientations": stage_run.inputs["latents"].orientations}
    reusable = reusable_fit(stage_run, most) if prune.mode == "append" else None
    whitening = reusable or fitted_to_latents(stage_run, most)
    images = stage_run.query("latents", "SELECT count(*) AS images FROM rows")[0]["images"]
    fit = space_fits.fit_rows(WHITENED, model_of(stage_run), whitening, images)
    stage_run.write(fit, "spaces", where=f"space = '{WHITENED}'", metadata=metadata)
    task = spaces.VectorsTask(whitening, spaces.fit_id(whitening), WHITENED, spaces.latents_of)
    vectors = stage_run.scan("latents", spaces.LATENTS, task.rows, spaces.VECTORS)
    stage_run.write(vectors, "vectors")
    stage_run.rows["vectors"] = stage_run.count("vectors")
    stage_run.summary = f"{stage_run.rows['vectors']:,} vectors on {len(whitening.axes)} axes"


def depends(run: RunContext) -> dict[str, Any]:
    """Whether an earlier fit may be used again, and the largest number of axes."""
    return space_fits.depends(run.settings.prune, WHITENED)


def fitted_to_latents(stage_run: StageRun, most: int) -> Whitening:
    """Fit a whitening with at most `most` axes to all latents."""
    width = stored_width(stage_run)
    return space_fits.fitted(stage_run, "latents", LATENT, spaces.latents_of, width, most)


def reusable_fit(stage_run: StageRun, most: int) -> Whitening | None:
    """Return the stored whitening if it was fitted to latents of this model and orientations.

    None if there is no such fit. Raises JobError if it was fitted on few images.
    """
    warehouse = stage_run.warehouse
    fit, latents = warehouse.newest("spaces", "whiten"), warehouse.newest("latents", "encode")
    if fit is None or latents is None or fit.orientations != latents.orientations:
        return None
    row = warehouse.read("spaces").where(F.col("space") == WHITENED).first()
    same_model = row and row.model_id == model_of(stage_run)
    whitening = spaces.stored_fit(warehouse, WHITENED) if same_model else None
    if whitening:
        space_fits.check_axes(whitening, most, lambda: fitted_to_latents(stage_run, most))
    return whitening


STAGE = Stage(
    "whiten",
    main,
    reads=lambda run: written_by("latents"),
    writes=("spaces", "vectors"),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: WHITENED in settings.prune.space,
    example_flags="--set prune.space=whitened",
    message_if_disabled=(
        "set prune.space, such as ['whitened']: no rule compares whitened latents"
    ),
    imports=("scipy.linalg",),
)
