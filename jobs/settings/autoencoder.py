"""The sections [train] and [encode]: the autoencoder's training, and how latents are computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator

from jobs.settings.validators import (
    Device,
    Number,
    Section,
    Seed,
    Switch,
    Text,
    Whole,
    between,
    check_orientations,
    one_of,
)

RECONSTRUCTION, INSTANCE = "reconstruction", "reconstruction+instance"  # what training minimises
OBJECTIVES = (RECONSTRUCTION, INSTANCE)
BFLOAT16 = "bfloat16"
PRECISIONS = ("auto", "float32", BFLOAT16)
EXCHANGES = ("pandas", "arrow")
SHIPPED, TRAINED = "shipped", "trained"  # the model that comes along; one of the images' own


def trains(key: str) -> bool:
    """Whether a key of [train] asks for a training.

    Seeds and devices do not: `--seed` is for all stages, and a cluster's settings may name a device
    whatever is trained.
    """
    return key not in ("model", "seed", "device")


@dataclass(frozen=True)
class Train(Section):
    """The autoencoder's training, or the model that takes its place.

    model: SHIPPED, TRAINED, the path of a weights file, or empty: SHIPPED unless a key of a
    training is on the command line or differs from its default. Jobs read the settings `completed`:
    there it is empty for TRAINED, as it was before there was a model that comes along.
    """

    model: Text = ""
    objective: Annotated[Text, one_of(*OBJECTIVES)] = INSTANCE
    temperature: Annotated[Number, between(1e-3, 100)] = 0.1
    instance_weight: Annotated[Number, between(1e-6, 1e6)] = 1.0
    normalise: Switch = True
    sample: Annotated[Whole, between(1, 10_000_000)] = 50_000
    epochs: Annotated[Whole, between(1, 100_000)] = 8
    batch_size: Annotated[Whole, between(1, 65536)] = 128
    learning_rate: Annotated[Number, between(1e-9, 10)] = 1e-3
    held_out: Annotated[Number, between(0, 0.9)] = 0.05
    seed: Seed = 0
    precision: Annotated[Text, one_of(*PRECISIONS)] = "auto"
    device: Device = "auto"

    def completed(self, is_asked_for: bool = False) -> Train:
        """The settings with a model, if one takes the place of a training.

        is_asked_for: whether the command line names a key of a training, whatever its value is.
        """
        if self.model == TRAINED:
            return replace(self, model="")
        if self.model or is_asked_for or self.changed:
            return self
        return replace(self, model=SHIPPED)

    @property
    def changed(self) -> list[str]:
        """The keys of a training that differ from their defaults."""
        usual = asdict(Train())
        return [key for key, value in asdict(self).items() if value != usual[key] and trains(key)]

    @property
    def recognises(self) -> bool:
        """Whether training has a contrastive term, which lets two views of an image match."""
        return self.objective == INSTANCE

    @property
    def learning(self) -> dict[str, Any]:
        """The settings that decide the weights, for fingerprints.

        Two kinds are left out: those that only the contrastive term reads, if there is none, and
        those that have the paper's value. So models that were trained before these keys existed
        stay up to date.
        """
        unread = () if self.recognises else ("objective", "temperature", "instance_weight")
        unread = unread if self.normalise else (*unread, "normalise")
        if not self.recognises and self.precision != BFLOAT16:
            unread = (*unread, "precision")
        return {key: value for key, value in asdict(self).items() if key not in unread}


@dataclass(frozen=True)
class Encode(Section):
    """How latents are computed on the executors."""

    orientations: Annotated[Whole, AfterValidator(check_orientations)] = 1
    batch: Annotated[Whole, between(8, 4096)] = 32
    exchange: Annotated[Text, one_of(*EXCHANGES)] = "arrow"
    device: Device = "auto"
