"""Store and find trained models, which lie in the warehouse in `models/<model_id>/`.

Each has a file `weights.safetensors` and a file `model.json`, which describes the training. The
state of an unfinished training lies in `checkpoints/`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from jobs.errors import JobError, MissingError
from jobs.settings.autoencoder import SHIPPED, TRAINED
from jobs.settings.model import Settings
from jobs.warehouse import given_file
from jobs.warehouse.commits import fingerprint
from jobs.warehouse.files import Files
from jobs.warehouse.store import Store
from udfs.autoencoder import shipped, weights

VERSION = 1  # raised when training's outcome changes
FOLDER, WEIGHTS = "models", "weights.safetensors"
CHECKPOINTS = "checkpoints"
MODEL_JSON = re.compile(rf"{FOLDER}/[^/]+/model\.json")


@dataclass(frozen=True)
class Model:
    """One trained model; about: the content of its model.json."""

    model_id: str
    files: Files
    about: dict[str, Any]

    @property
    def weights(self) -> bytes:
        """The bytes of the weights file. Raises JobError if it was changed or is gone."""
        if not self.has_weights:
            raise self.damaged("is missing")
        data = self.files.read(self.weights_name)
        if weights.model_id(data) != self.model_id:
            raise self.damaged("is not the file that was written there (its sha256 differs)")
        return data

    @property
    def weights_name(self) -> str:
        """The name of the weights file in the warehouse."""
        return f"{FOLDER}/{self.model_id}/{WEIGHTS}"

    @property
    def has_weights(self) -> bool:
        """Whether the weights file is there."""
        return self.files.exists(self.weights_name)

    def damaged(self, how: str) -> JobError:
        """Return the error for a weights file that cannot be used."""
        return JobError(
            f"the weights of the model, {self.files.path(self.weights_name)}: the file {how}. Put "
            "it back from a backup; without one run ./spark-submit.sh train --overwrite train with "
            "the same settings, then pipeline"
        )


def training_fingerprint(settings: Settings) -> str:
    """The hash of `training_inputs`, which every model is stored with."""
    return fingerprint(training_inputs(settings))


def training_inputs(settings: Settings) -> dict[str, Any]:
    """What decides a model, as JSON: settings of training or a given model, and of decoding.

    The images themselves are not part of it, so a model stays current when files come or go.
    """
    given = weights.model_id(read_given(settings.train.model)) if settings.train.model else ""
    return {
        "train": settings.train.learning if not given else {},
        "decoding": settings.ingest.decoding,
        "given": given,
        "version": VERSION,
    }


def read_given(path: str) -> bytes:
    """Read the weights file at a path or in a folder; of SHIPPED the one that comes along.

    Raises JobError if there is none, or if the one that comes along is damaged.
    """
    if path == SHIPPED:
        try:
            return shipped.weights()
        except ValueError as damaged:
            raise JobError(f"{damaged}: install latent-dedup anew") from damaged
    file = path
    try:
        if given_file.is_folder(path):
            file = f"{path.rstrip('/')}/{WEIGHTS}"
        return given_file.read(file)
    except OSError as refused:
        reason = refused.strerror or refused
        raise JobError(f"train.model = {path!r}: {reason}: {file}") from refused


def find(warehouse: Store, training: str) -> Model | None:
    """Return the newest model with this fingerprint of training; None if there is none."""
    matching = [
        Model(name.split("/")[1], warehouse.files, about)
        for name in warehouse.files.list(FOLDER)
        if MODEL_JSON.fullmatch(name)
        and (about := _about(warehouse.files, name)).get("fingerprint") == training
    ]
    return max(matching, key=lambda model: model.about["trained_at"], default=None)


def current(warehouse: Store, settings: Settings) -> Model:
    """Return the model that the settings ask for. Raises MissingError if it is not trained yet."""
    check_pixels(warehouse)
    model = find(warehouse, training_fingerprint(settings))
    if model is None:
        raise MissingError(
            "no model of these settings is in the warehouse: run ./spark-submit.sh train with the "
            "same settings first (or pipeline, which does all); or give the settings of the one "
            f"that the latents are of, such as --set train.model={TRAINED}"
        )
    return model


def check_pixels(warehouse: Store) -> None:
    """Raise JobError if `images` was made of vectors, which take the place of a model's."""
    commit = warehouse.newest("images", "ingest")
    if commit and commit.metadata.get("vectors"):
        raise JobError(
            "the table images was made of vectors, and a model encodes pixels: give the settings "
            "of [ingest] that ingest was given, or run ./spark-submit.sh ingest on images first"
        )


def store(warehouse: Store, data: bytes, about: dict[str, Any]) -> Model:
    """Write a model: its weights, and then model.json, without which `find` ignores it."""
    model_id = weights.model_id(data)
    folder = f"{FOLDER}/{model_id}"
    warehouse.files.write(f"{folder}/{WEIGHTS}", data)
    text = json.dumps({"model_id": model_id} | about, indent=1) + "\n"
    warehouse.files.write(f"{folder}/model.json", text.encode())
    return Model(model_id, warehouse.files, about)


def checkpoint_name(training: str) -> str:
    """Return the name of the file with the state of an unfinished training.

    training: its fingerprint, see `training_fingerprint`.
    """
    return f"{CHECKPOINTS}/{training}.safetensors"


def delete_checkpoint(files: Files, training: str) -> None:
    """Delete the state of a training: its model is stored, or it is to begin anew."""
    name = checkpoint_name(training)
    if files.exists(name):
        files.delete(name)
        if not files.entries(CHECKPOINTS):
            files.delete(CHECKPOINTS)


def _about(files: Files, name: str) -> dict[str, Any]:
    """Return the content of a model.json; nothing if it lacks what every one has."""
    try:
        content = json.loads(files.read(name))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    is_whole = all(isinstance(content.get(key), str) for key in ("fingerprint", "trained_at"))
    return content if is_whole else {}
