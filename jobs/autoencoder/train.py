"""train: the autoencoder learns from a sample of `images`, or a given model is taken over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.autoencoder import models
from jobs.errors import JobError
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.autoencoder import Train
from udfs.autoencoder.weights import load_model, normalises


def main(stage_run: StageRun) -> None:
    """Table images → models/<model_id>/."""
    from jobs.autoencoder import learning  # it loads torch, which takes seconds

    settings = stage_run.settings.train
    data, more = take_over(settings) if settings.model else learning.learn(stage_run, settings)
    about = {
        "fingerprint": models.wanted(stage_run.settings),
        "decoding": stage_run.settings.ingest.decoding,
        "normalise": normalises(data),
        **more,
        "trained_at": datetime.now(UTC).isoformat(),
    }
    model = models.store(stage_run.warehouse, data, about)
    stage_run.model_id = model.model_id
    stage_run.summary = f"model {model.model_id[:12]}, {about['summary']}"


def depends(run: RunContext) -> dict[str, Any]:
    """What decides the model, as `models.wanted` hashes it: never which files there are."""
    models.check_pixels(run.warehouse)
    return models.wanted_by(run.settings)


def is_current(run: RunContext, fingerprint: str) -> bool:
    """Whether there is a model of these settings, of whatever images it was trained."""
    return models.find(run.warehouse, models.wanted(run.settings)) is not None


def model_id(run: RunContext) -> str | None:
    """The model of these settings; None where it is not trained yet."""
    model = models.find(run.warehouse, models.wanted(run.settings))
    return model.model_id if model else None


def take_over(settings: Train) -> tuple[bytes, dict[str, Any]]:
    """A model that was trained elsewhere: checked, and written anew."""
    data = models.read_given(settings.model)
    try:
        load_model(data)
    except ValueError as wrong:
        raise JobError(f"train.model = {settings.model!r}: {wrong}") from wrong
    return data, {"given": settings.model, "summary": "given"}


STAGE = Stage(
    "train",
    main,
    reads=lambda run: written_by("images"),
    depends=depends,
    enabled=lambda settings: not settings.ingest.vector_column,
    is_current=is_current,
    model_id=model_id,
    imports=("jobs.autoencoder.learning",),
)
