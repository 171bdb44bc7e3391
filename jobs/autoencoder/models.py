"""Trained models in the warehouse: `models/<model_id>/weights.safetensors` and `model.json`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobError, MissingError
from jobs.settings.model import Settings
from jobs.warehouse.local_store import Warehouse, fingerprint
from udfs.autoencoder import weights

VERSION = 1  # raised when training's outcome changes
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Model:
    """One trained model."""

    model_id: str
    folder: Path
    about: dict[str, Any]

    @property
    def weights(self) -> bytes:
        """The weights file's bytes; raises JobError where they are not what they were."""
        data = (self.folder / WEIGHTS).read_bytes()
        if weights.model_id(data) != self.model_id:
            raise JobError(
                f"{self.folder / WEIGHTS} is not the file that was written there (its sha256 "
                "differs): restore it, or run train with --overwrite train"
            )
        return data


def wanted(settings: Settings) -> str:
    """The fingerprint of training, which every model is stored with."""
    return fingerprint(wanted_by(settings))


def wanted_by(settings: Settings) -> dict[str, Any]:
    """What decides a model: training's settings or a given model, and how images are decoded.

    The listing is not part of it, so files that come or go do not lead to another model.
    """
    given = weights.model_id(read_given(settings.train.model)) if settings.train.model else ""
    return {
        "train": settings.train.learning if not given else {},
        "decoding": settings.ingest.decoding,
        "given": given,
        "version": VERSION,
    }


def read_given(path: str) -> bytes:
    """A weights file, or the one in a folder. Raises JobError where there is none."""
    place = Path(path)
    file = place / WEIGHTS if place.is_dir() else place
    try:
        return file.read_bytes()
    except OSError as refused:
        raise JobError(f"train.model = {path!r}: {refused.strerror}: {file}") from refused


def find(warehouse: Warehouse, mark: str) -> Model | None:
    """The newest model with the wanted fingerprint."""
    found = [
        Model(folder.parent.name, folder.parent, about)
        for folder in Path(warehouse.root, "models").glob("[!.]*/model.json")
        if (about := _about(folder)).get("fingerprint") == mark
    ]
    return max(found, key=lambda model: model.about["trained_at"], default=None)


def current(warehouse: Warehouse, settings: Settings) -> Model:
    """The model that the settings ask for; raises JobError where it is not trained yet."""
    check_pixels(warehouse)
    model = find(warehouse, wanted(settings))
    if model is None:
        raise MissingError(
            "no model was trained with these settings: run ./spark-submit.sh train with the same "
            "settings first (or pipeline, which does all)"
        )
    return model


def check_pixels(warehouse: Warehouse) -> None:
    """Raise JobError where `images` came of vectors: there are no pixels for a model."""
    commit = warehouse.newest("images", "ingest")
    if commit and commit.metadata.get("vectors"):
        raise JobError(
            "the table images was made of vectors and holds no pixels: give the settings of "
            "[ingest] that ingest was given, or run ./spark-submit.sh ingest on images first"
        )


def store(warehouse: Warehouse, data: bytes, about: dict[str, Any]) -> Model:
    """Write a model aside, then rename: a model's folder is whole or not there."""
    name = weights.model_id(data)
    folder = Path(warehouse.root, "models", name)
    aside = folder.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / WEIGHTS).write_bytes(data)
    (aside / "model.json").write_text(json.dumps({"model_id": name} | about, indent=1) + "\n")
    if folder.exists():  # the same weights again: only what is said of them may differ
        (aside / "model.json").replace(folder / "model.json")
        shutil.rmtree(aside)
    else:
        aside.rename(folder)
    return Model(name, folder, about)


def _about(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
