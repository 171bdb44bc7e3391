"""The rules of a run: their names, the threshold that each has in every group, and the device.

Use `Rules.given` where all thresholds stand in the settings; `thresholds.determined` makes the
rules of which some thresholds are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jobs.settings.duplicates import Prune
from udfs.duplicates.cover_search import Flags
from udfs.duplicates.proof_cover import PLACES, ProofRules

Masks = NDArray[np.int64]


@dataclass(frozen=True)
class Proofs:
    """What the rules that ask for a proof have in common, and the least overlap of each.

    overlaps: by the names of the rules. candidates: by space, the similarity above which pairs are
    registered. proof, agreement, tries, orientations: as in the section [prune]. places: how many
    consecutive places form a block, in which an image has its tries.
    """

    overlaps: Mapping[str, float]
    candidates: Mapping[str, float]
    proof: float
    agreement: float
    tries: int
    orientations: int
    places: int

    @classmethod
    def asked(cls, settings: Prune) -> Self | None:
        """The proofs that the settings ask for; None where no rule does."""
        return cls.of(settings, settings.overlaps) if settings.overlaps else None

    @classmethod
    def of(cls, settings: Prune, overlaps: Mapping[str, float]) -> Self:
        """Proofs as the settings describe them, of these overlaps."""
        return cls(
            overlaps,
            settings.candidate_thresholds,
            settings.proof,
            settings.agreement,
            settings.tries,
            settings.orientations,
            PLACES,
        )


@dataclass(frozen=True)
class Rules:
    """The rules of a run, as it is sent to the executors.

    names: of the rules, in the order of the masks' bits.
    common: the threshold of each rule in groups that `by_group` does not have; NaN where a rule
        has none in common, or none at all.
    by_group: the thresholds of other groups, in the order of `names`.
    block: how many images are compared with as many others at a time.
    device: as in `prune.device`.
    proofs: what the rules ask for that have no threshold; None where all have one.
    """

    names: tuple[str, ...]
    common: tuple[float, ...]
    by_group: Mapping[str, tuple[float, ...]]
    block: int
    device: str = "cpu"
    proofs: Proofs | None = None

    @property
    def overlaps(self) -> Mapping[str, float]:
        """The least overlap of each rule that asks for a proof, by its name."""
        return self.proofs.overlaps if self.proofs else {}

    @property
    def by_threshold(self) -> list[int]:
        """The positions of the rules that compare the similarity with a threshold."""
        return [level for level, name in enumerate(self.names) if name not in self.overlaps]

    @property
    def by_proof(self) -> list[int]:
        """The positions of the rules that ask for a proof."""
        return [level for level, name in enumerate(self.names) if name in self.overlaps]

    @property
    def threshold_names(self) -> list[str]:
        """The names of the rules `by_threshold`."""
        return [self.names[level] for level in self.by_threshold]

    @property
    def proof_names(self) -> list[str]:
        """The names of the rules `by_proof`."""
        return [self.names[level] for level in self.by_proof]

    def proof_rules(self, proofs: Proofs, space: str) -> ProofRules:
        """The rules that ask for a proof, in a space, as `proof_covers` takes them."""
        return ProofRules(
            tuple(proofs.overlaps[name] for name in self.proof_names),
            proofs.candidates[space],
            proofs.proof,
            proofs.agreement,
            proofs.tries,
            proofs.places,
        )

    @classmethod
    def given(cls, settings: Prune) -> Self:
        """The rules that need no search: their threshold, or overlap, stands in the settings."""
        common = settings.fixed | dict.fromkeys(settings.overlaps, np.nan)
        return cls(
            tuple(common),
            tuple(common.values()),
            {},
            settings.block,
            settings.device,
            Proofs.asked(settings),
        )

    def task_device(self) -> str:
        """The device on which this task computes; torch is loaded for a GPU alone."""
        return self._device(self.device)

    def driver_device(self) -> str:
        """The device on which the driver computes, which may not have the tasks' device."""
        return self._device("auto")

    def _device(self, requested: str) -> str:
        if self.device == "cpu":
            return self.device
        from jobs.autoencoder.encoder_udf import task_device  # it loads torch: two seconds a worker

        return task_device(requested)

    def flags(self, masks: Masks) -> Flags:
        """Masks with one bit for each rule as truth values: (n,) → (rules, n)."""
        levels = np.arange(len(self.names))[:, None]
        return np.asarray((masks >> levels) & 1, np.bool_)

    def values(self, group: str = "") -> tuple[float, ...]:
        """The thresholds of a group, in the order of the rules; NaN where a rule has none."""
        return self.by_group.get(group, self.common)

    def thresholds(self, group: str) -> list[float]:
        """The thresholds of a group, of those rules that compare with one."""
        return [self.values(group)[level] for level in self.by_threshold]
