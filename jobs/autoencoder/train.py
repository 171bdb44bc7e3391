"""The stage `train`: trains the autoencoder on a sample of `images`, or takes over a given model.

A model that these settings already led to is used again, whatever images it was trained on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.autoencoder import models
from jobs.errors import JobError
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.autoencoder import SHIPPED, Train
from udfs.autoencoder.weights import load_model, normalises


def main(stage_run: StageRun) -> None:
    """Table images → models/<model_id>/."""
    settings = stage_run.settings.train
    data, details = take_over(settings) if settings.model else learn(stage_run, settings)
    about = {
        "fingerprint": models.training_fingerprint(stage_run.settings),
        "decoding": stage_run.settings.ingest.decoding,
        "normalise": normalises(data),
        **details,
        "trained_at": datetime.now(UTC).isoformat(),
    }
    model = models.store(stage_run.warehouse, data, about)
    models.delete_checkpoint(stage_run.warehouse.files, about["fingerprint"])
    stage_run.model_id = model.model_id
    stage_run.summary = f"model {model.model_id[:12]}, {about['summary']}"


def depends(run: RunContext) -> dict[str, Any]:
    """The settings that decide the model; the images themselves are not part of it."""
    models.check_pixels(run.warehouse)
    ingest, inputs = run.settings.ingest, models.training_inputs(run.settings)
    decoding = {
        "ingest.tile": ingest.tile,
        "ingest.stride": ingest.stride,
        "ingest.max_pixels": ingest.max_pixels,
    }
    return inputs | {
        "decoding": NamedValues(decoding, hashed=inputs["decoding"]),
        # The id of the given model: it counts what the file contains, not where it lies.
        "given": NamedValues({"train.model": inputs["given"]}, hashed=inputs["given"]),
    }


def before(run: RunContext) -> None:
    """Raise JobError if the model that comes along is damaged, before hours of `ingest`."""
    if run.settings.train.model == SHIPPED:
        models.read_given(SHIPPED)


def is_current(run: RunContext, fingerprint: str) -> bool:
    """Whether a model was trained with these settings, on whatever images.

    Raises JobError if its weights are gone: the user may have them in a backup, and a training
    takes hours. Given weights are taken over again.
    """
    model = models.find(run.warehouse, models.training_fingerprint(run.settings))
    if model is None or model.has_weights:
        return model is not None
    if run.settings.train.model:
        return False
    raise model.damaged("is missing")


def model_id(run: RunContext) -> str | None:
    """The id of the model of these settings; None if it is not trained yet."""
    model = models.find(run.warehouse, models.training_fingerprint(run.settings))
    return model.model_id if model else None


def learn(stage_run: StageRun, settings: Train) -> tuple[bytes, dict[str, Any]]:
    """Train a model; return its weights and what model.json says of the training."""
    from jobs.autoencoder import learning  # it loads torch, which takes seconds

    return learning.learn(stage_run, settings)


def take_over(settings: Train) -> tuple[bytes, dict[str, Any]]:
    """Check a weights file that was trained elsewhere; return its bytes and what model.json says.

    Raises JobError if it is not a model of this architecture.
    """
    data, is_shipped = models.read_given(settings.model), settings.model == SHIPPED
    try:
        if not is_shipped:  # which read_given has checked, without torch
            load_model(data)
    except ValueError as wrong:
        raise JobError(f"train.model = {settings.model!r}: {wrong}") from wrong
    return data, {"given": settings.model, "summary": SHIPPED if is_shipped else "given"}


STAGE = Stage(
    "train",
    main,
    reads=lambda run: written_by("images"),
    depends=depends,
    before=before,
    enabled=lambda settings: not settings.ingest.vector_column,
    is_current=is_current,
    model_id=model_id,
)
