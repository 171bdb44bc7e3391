"""Train the autoencoder on a sample of `images`, with progress on the console.

The module is separate from `train`, which declares the stage, since it imports torch, which takes
seconds.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.settings.autoencoder import Train
from udfs import arrow
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import FLOAT32, encoding_platform, fast_precision, select_device
from udfs.autoencoder.model import PIXELS
from udfs.autoencoder.training import Epoch, Training, train
from udfs.autoencoder.weights import weights_bytes


def learn(stage_run: StageRun, settings: Train) -> tuple[bytes, dict[str, Any]]:
    """Train on a sample; return the bytes of the weights file and what model.json says of it.

    The console shows the loss while it runs. Raises JobError if there are no images, or too few.
    """
    images = stage_run.read("images")
    pixels = sample(images, settings)
    if not len(pixels):
        raise JobError(
            "the table images has no rows to train on; look at the table rejects for the reasons"
        )
    device = select_device(settings.device)
    total = settings.epochs * len(pixels)
    begun = time.monotonic()
    progress = Progress(0.0, 0.0, 0, "reading")

    def on_batch(epoch: int, batch: int, batches: int, loss: float) -> None:
        nonlocal progress
        images = len(pixels) * (epoch - 1 + batch / batches)
        note = f"epoch {epoch}/{settings.epochs}, loss {loss:.4f}"
        progress = Progress(time.monotonic() - begun, images / total, images, note)

    def on_epoch(epoch: Epoch) -> None:
        log_epoch(stage_run, settings, epoch, len(pixels))

    with stage_run.progress_from(lambda: progress):
        try:
            training = fit(pixels, settings, device, on_batch=on_batch, on_epoch=on_epoch)
        except ValueError as wrong:
            raise JobError(str(wrong)) from wrong
    return weights_bytes(training.model), describe(training, settings, device, stage_run)


def log_epoch(stage_run: StageRun, settings: Train, epoch: Epoch, images: int) -> None:
    """Log the losses and the rate of an epoch; images: those that it went through."""
    held_out = "" if epoch.held_out_loss is None else f", held out {epoch.held_out_loss:.4f}"
    instance = "" if epoch.instance_loss is None else f", instance {epoch.instance_loss:.3f}"
    stage_run.console.line(
        f"    epoch {epoch.number}/{settings.epochs}: loss {epoch.loss:.4f}{held_out}{instance}, "
        f"{images / epoch.seconds:,.0f} img/s",
        stage=stage_run.name,
        event="epoch",
        **asdict(epoch),
    )


def fit(pixels: NDArray[np.uint8], settings: Train, device: str, **callbacks: Any) -> Training:
    """Train a model on pixels (n, PIXELS) as the settings ask.

    callbacks: `on_batch` and `on_epoch` of `udfs.autoencoder.training.train`.
    """
    return train(
        pixels,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        held_out=settings.held_out,
        device=device,
        normalise=settings.normalise,
        contrastive=contrastive_term(settings),
        precision=precision_of(settings, device),
        **callbacks,
    )


def contrastive_term(settings: Train) -> ContrastiveTerm | None:
    """The contrastive term that is added to the reconstruction error; None without one."""
    return (
        ContrastiveTerm(settings.instance_weight, settings.temperature)
        if settings.recognises
        else None
    )


def precision_of(settings: Train, device: str) -> str:
    """The precision to train with: `train.precision`, or the device's fastest if it is "auto".

    With the paper's objective "auto" is float32.
    """
    if settings.precision != "auto":
        return settings.precision
    return fast_precision(device) if settings.recognises else FLOAT32


def sample(images: DataFrame, settings: Train) -> NDArray[np.uint8]:
    """Return the pixels (n, PIXELS) of at most `train.sample` images.

    The images are those of the split "train" if there is one, else all; they are ordered by a
    seeded hash of their ids, and the first ones are taken.
    """
    if not images.where("split = 'train'").isEmpty():
        images = images.where("split = 'train'")
    draw = F.sha2(F.concat_ws("|", F.lit(settings.seed), "image_id"), 256)
    # Only ids are sorted: a sort that carries the pixels of all images would move gigabytes.
    chosen = images.select("image_id", draw.alias("draw")).orderBy("draw", "image_id")
    chosen = chosen.limit(settings.sample)
    drawn = images.select("image_id", "pixels").join(
        F.broadcast(chosen), on="image_id", how="inner"
    )
    table = drawn.select("draw", "image_id", "pixels").toArrow()
    table = table.sort_by([("draw", "ascending"), ("image_id", "ascending")])
    parts = [arrow.binary_matrix(part, PIXELS) for part in table.column("pixels").chunks]
    return np.concatenate([np.empty((0, PIXELS), np.uint8), *parts])


def describe(
    training: Training, settings: Train, device: str, stage_run: StageRun
) -> dict[str, Any]:
    """The part of model.json that describes a training."""
    last = training.epochs[-1]
    return {
        "settings": asdict(settings),
        "images_version": stage_run.reads["images"],
        "images": training.images,
        "held_out": training.held_out,
        "device": encoding_platform(device),
        "precision": precision_of(settings, device),
        "epochs": [asdict(epoch) for epoch in training.epochs],
        "summary": f"{last.number} epochs on {training.images:,} images, loss {last.loss:.4f}",
    }
