"""The rules of a run: their names, and the threshold of each in every group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jobs.settings.duplicates import Prune
from udfs.duplicates.cover_search import Flags

Masks = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """The rules of a run, what T each has in a group, and how many images are compared at once.

    own: the thresholds of groups that do not have the `common` ones, in the order of `names`.
    """

    names: tuple[str, ...]
    common: tuple[float, ...]
    own: Mapping[str, tuple[float, ...]]
    block: int
    device: str = "cpu"

    @classmethod
    def fixed(cls, settings: Prune) -> Self:
        """The rules whose threshold is given."""
        given = settings.fixed
        return cls(tuple(given), tuple(given.values()), {}, settings.block, settings.device)

    def task_device(self) -> str:
        """Return the device that this task computes on; torch is loaded for a GPU alone."""
        if self.device == "cpu":
            return self.device
        from jobs.autoencoder.encoder_udf import task_device  # it loads torch: two seconds a worker

        return task_device(self.device)

    def driver_device(self) -> str:
        """Return the device that the driver computes on; it may lack the tasks' GPU."""
        if self.device == "cpu":
            return self.device
        from jobs.autoencoder.encoder_udf import task_device

        return task_device("auto")

    def flags(self, masks: Masks) -> Flags:
        """Masks with a bit for each rule, (n,), as (rules, n)."""
        levels = np.arange(len(self.names))[:, None]
        return np.asarray((masks >> levels) & 1, np.bool_)

    def values(self, group: str = "") -> tuple[float, ...]:
        """The thresholds of a group in the rules' order."""
        return self.own.get(group, self.common)
