"""The checkpoint of an unfinished training: one file, from which a later run goes on.

It lies in the warehouse, in `checkpoints/<fingerprint of the training>.safetensors`, until the
model is stored. `Checkpoints` writes it while `learning.fit` trains, and finds it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jobs.autoencoder import models
from jobs.warehouse.files import Files
from udfs.autoencoder.checkpoint import Checkpoint, checkpoint_bytes, load_checkpoint

INTERVAL = 300.0  # seconds of training that a kill may cost, where an epoch takes longer
MOST_COST = 0.01  # the share of the time that writing may take, from the second one on
# What `environment` records, in words.
WORDS = {
    "device": "the device",
    "precision": "the precision",
    "threads": "the number of threads",
    "torch": "the version of torch",
    "numpy": "the version of NumPy",
    "format": "the version of this software",
}


class Checkpoints:
    """The checkpoint of one training.

    A checkpoint is used only if the sample of images and everything else that the bits of the
    weights depend on are those of this training. So the outcome is that of an undisturbed one.
    """

    def __init__(
        self,
        files: Files,
        training: str,
        log: Callable[[str], None],
        *,
        interval: float = INTERVAL,
        most_cost: float = MOST_COST,
    ) -> None:
        """Say where the checkpoint lies; nothing is read or written yet.

        Args:
            files: where it lies, such as `LocalFiles(folder)`.
            training: what names the training: a fingerprint of all settings that decide the model.
            log: is told that a training goes on, or why it does not.
            interval: the seconds between two checkpoints within an epoch.
            most_cost: the share of the time that writing them may take.

        """
        self._files = files
        self._name = models.checkpoint_name(training)
        self._log = log
        self._interval, self._most_cost = interval, most_cost
        self._about: dict[str, Any] = {}
        self._written = time.monotonic()
        self._cost = 0.0  # seconds that the last one took
        self._is_failing = False

    def begin(
        self, pixels: NDArray[np.uint8], environment: Mapping[str, Any], epochs: int
    ) -> Checkpoint | None:
        """Return the state to go on from; None if there is none that is of this training.

        pixels: the sample. environment: see `udfs.autoencoder.checkpoint.environment`. epochs: how
        many there will be, for the message.
        """
        self._about = {"sample": sample_hash(pixels), "environment": dict(environment)}
        self._written = time.monotonic()
        try:
            checkpoint = load_checkpoint(self._files.read(self._name))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as refused:
            self._log(f"begins anew: {self._files.path(self._name)} cannot be used: {refused}")
            return None
        changes = differences(checkpoint.about, self._about)
        if changes:
            self._log(f"begins anew, since other bits could come out: {'; '.join(changes)}")
            return None
        position = checkpoint.position
        within = f", after {position.batches:,} of its batches" if position.batches else ""
        self._log(f"goes on from epoch {position.epoch} of {epochs}{within}")
        return checkpoint

    def keep(self, epoch_ended: bool, state: Callable[[], Checkpoint]) -> None:
        """Write the state if it is time; see `on_state` of `udfs.autoencoder.training.train`.

        That is at the end of an epoch, and within one after the interval; but not so soon after
        another one that writing would take more than `most_cost` of the time.
        """
        passed = time.monotonic() - self._written
        wait = self._cost / self._most_cost
        if passed < (wait if epoch_ended else max(wait, self._interval)):
            return
        begun = time.monotonic()
        taken = state()
        data = checkpoint_bytes(Checkpoint(taken.position, taken.tensors, self._about))
        try:
            self._files.write(self._name, data)
            self._is_failing = False
        except OSError as refused:  # the model may still come
            if not self._is_failing:
                self._log(f"no checkpoint can be written, training goes on without: {refused}")
            self._is_failing = True
        self._written = time.monotonic()
        self._cost = self._written - begun


def sample_hash(pixels: NDArray[np.uint8]) -> str:
    """Return the sha256 of the pixels, in their order; 1 s for some 80,000 images."""
    return hashlib.sha256(cast(Any, np.ascontiguousarray(pixels))).hexdigest()


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say what differs between what a checkpoint was made of, and what is at hand."""
    changes = [] if found["sample"] == wanted["sample"] else ["the sample has other images"]
    before, now = found["environment"], wanted["environment"]
    return changes + [
        f"{WORDS[name]} was {before.get(name)} and is {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
