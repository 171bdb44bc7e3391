"""Trained models in the warehouse: `models/<model_id>/weights.safetensors` and `model.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobError, MissingError
from jobs.settings.model import Settings
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.files import Files
from jobs.warehouse.store import Store
from udfs.autoencoder import weights

VERSION = 1  # raised when training's outcome changes
FOLDER, WEIGHTS = "models", "weights.safetensors"
ABOUT = re.compile(rf"{FOLDER}/[^/]+/model\.json")


@dataclass(frozen=True)
class Model:
    """One trained model."""

    model_id: str
    files: Files
    about: dict[str, Any]

    @property
    def weights(self) -> bytes:
        """The bytes of the weights file. Raises JobError if it was changed."""
        name = f"{FOLDER}/{self.model_id}/{WEIGHTS}"
        data = self.files.read(name)
        if weights.model_id(data) != self.model_id:
            raise JobError(
                f"{self.files.path(name)} is not the file that was written there (its sha256 "
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


def find(warehouse: Store, mark: str) -> Model | None:
    """Return the newest model with the wanted fingerprint; None if there is none."""
    matching = [
        Model(name.split("/")[1], warehouse.files, about)
        for name in warehouse.files.list(FOLDER)
        if ABOUT.fullmatch(name)
        and (about := _about(warehouse.files, name)).get("fingerprint") == mark
    ]
    return max(matching, key=lambda model: model.about["trained_at"], default=None)


def current(warehouse: Store, settings: Settings) -> Model:
    """The model that the settings ask for; raises JobError where it is not trained yet."""
    check_pixels(warehouse)
    model = find(warehouse, wanted(settings))
    if model is None:
        raise MissingError(
            "no model was trained with these settings: run ./spark-submit.sh train with the same "
            "settings first (or pipeline, which does all)"
        )
    return model


def check_pixels(warehouse: Store) -> None:
    """Raise JobError where `images` came of vectors: there are no pixels for a model."""
    commit = warehouse.newest("images", "ingest")
    if commit and commit.metadata.get("vectors"):
        raise JobError(
            "the table images was made of vectors and holds no pixels: give the settings of "
            "[ingest] that ingest was given, or run ./spark-submit.sh ingest on images first"
        )


def store(warehouse: Store, data: bytes, about: dict[str, Any]) -> Model:
    """Write a model: its weights, then model.json, without which there is no model."""
    model_id = weights.model_id(data)
    folder = f"{FOLDER}/{model_id}"
    warehouse.files.write(f"{folder}/{WEIGHTS}", data)
    text = json.dumps({"model_id": model_id} | about, indent=1) + "\n"
    warehouse.files.write(f"{folder}/model.json", text.encode())
    return Model(model_id, warehouse.files, about)


def _about(files: Files, name: str) -> dict[str, Any]:
    try:
        content = json.loads(files.read(name))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
