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

from jobs.autoencoder import models
from jobs.autoencoder.checkpoints import Checkpoints
from jobs.autoencoder.training_sample import sample
from jobs.errors import JobError
from jobs.runtime.progress import Progress
from jobs.runtime.stage import StageRun
from jobs.settings.autoencoder import Train
from udfs.autoencoder.checkpoint import Epoch, environment
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.device import FLOAT32, encoding_platform, fast_precision, select_device
from udfs.autoencoder.training import Training, train
from udfs.autoencoder.weights import weights_bytes


def learn(stage_run: StageRun, settings: Train) -> tuple[bytes, dict[str, Any]]:
    """Train on a sample; return the bytes of the weights file and what model.json says of it.

    The console shows the loss while it runs. A run that was stopped is gone on with from its
    checkpoint. Raises JobError if there are no images, or too few.
    """
    images = stage_run.read("images")
    pixels = sample(images, settings)
    if not len(pixels):
        raise JobError(
            "the table images has no rows to train on; look at the table rejects for the reasons"
        )
    device = select_device(settings.device)
    progress = EpochProgress(settings.epochs, len(pixels))

    def on_epoch(epoch: Epoch) -> None:
        log_epoch(stage_run, settings, epoch, len(pixels))

    with stage_run.progress_from(lambda: progress.current):
        try:
            training = fit(
                pixels,
                settings,
                device,
                checkpoints_of(stage_run),
                on_batch=progress.on_batch,
                on_epoch=on_epoch,
            )
        except ValueError as wrong:
            raise JobError(str(wrong)) from wrong
    return weights_bytes(training.model), describe(training, settings, device, stage_run)


class EpochProgress:
    """How far a training is, for the console; one that goes on from a checkpoint, too."""

    def __init__(self, epochs: int, images: int) -> None:
        self.current = Progress(0.0, 0.0, 0, "reading")
        self._epochs, self._images = epochs, images
        self._begun, self._first = time.monotonic(), -1.0

    def on_batch(self, epoch: int, batch: int, batches: int, loss: float) -> None:
        """Count a batch; the rate is that of the batches since this run began."""
        done = epoch - 1 + batch / batches
        if self._first < 0:
            self._first = done - 1 / batches
        share = (done - self._first) / (self._epochs - self._first)
        note = f"epoch {epoch}/{self._epochs}, loss {loss:.4f}"
        seconds, images = time.monotonic() - self._begun, self._images * (done - self._first)
        self.current = Progress(seconds, share, images, note)


def checkpoints_of(stage_run: StageRun) -> Checkpoints:
    """Return the checkpoint of this training; `--overwrite train` deletes an earlier one."""
    training = models.training_fingerprint(stage_run.settings)
    files = stage_run.warehouse.files
    if stage_run.is_overwritten:
        models.delete_checkpoint(files, training)

    def log(text: str) -> None:
        stage_run.console.line(f"    {text}", stage=stage_run.name, event="checkpoint")

    return Checkpoints(files, training, log)


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


def fit(
    pixels: NDArray[np.uint8],
    settings: Train,
    device: str,
    checkpoints: Checkpoints | None = None,
    **callbacks: Any,
) -> Training:
    """Train a model on pixels (n, PIXELS) as the settings ask.

    Args:
        pixels: the sample, in its order.
        settings: the section [train].
        device: as torch spells it.
        checkpoints: where the state is kept meanwhile. If a call with the same pixels and settings
            was stopped, this one goes on from there, and gives the same weights. The file stays
            at the end (`models.delete_checkpoint`), so that a caller may store the model first.
        callbacks: `on_batch` and `on_epoch` of `udfs.autoencoder.training.train`.

    For training without Spark, for days on end, with a folder of its own:

        checkpoints = Checkpoints(LocalFiles(folder), fingerprint(settings.learning), print)
        training = fit(pixels, settings, select_device(), checkpoints)

    """
    precision = precision_of(settings, device)
    if checkpoints:
        bits = environment(device, precision)
        callbacks["start"] = checkpoints.begin(pixels, bits, settings.epochs)
        callbacks["on_state"] = checkpoints.keep
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
        precision=precision,
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
