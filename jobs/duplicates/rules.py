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

Masks = NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """The rules of a run, as it is sent to the executors.

    names: of the rules, in the order of the masks' bits.
    common: the threshold of each rule in groups that `by_group` does not have; NaN where a rule
        has none in common.
    by_group: the thresholds of other groups, in the order of `names`.
    block: how many images are compared with as many others at a time.
    device: as in `prune.device`.
    """

    names: tuple[str, ...]
    common: tuple[float, ...]
    by_group: Mapping[str, tuple[float, ...]]
    block: int
    device: str = "cpu"

    @classmethod
    def given(cls, settings: Prune) -> Self:
        """The rules whose threshold stands in the settings."""
        fixed = settings.fixed
        return cls(tuple(fixed), tuple(fixed.values()), {}, settings.block, settings.device)

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
        """The thresholds of a group, in the order of the rules."""
        return self.by_group.get(group, self.common)
