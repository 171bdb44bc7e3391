"""How far Spark is, by its own status tracker: nothing is counted on the executors for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pyspark import SparkStageInfo
from pyspark.sql import SparkSession


class Tasks:
    """The Spark stage that runs now: of several the one with most tasks."""

    def __init__(self, spark: SparkSession) -> None:
        self._tracker = spark.sparkContext.statusTracker()
        self._since: dict[int, float] = {}

    def now(self, images: int | None = None) -> Progress | None:
        """Its tasks that are done, and so many images in proportion; None where nothing runs."""
        stage = self._largest()
        if stage is None:
            return None
        clock = time.monotonic()
        seconds = clock - self._since.setdefault(stage.stageId, clock)
        share = stage.numCompletedTasks / stage.numTasks
        return Progress(
            seconds,
            share,
            None if images is None else images * share,
            f"{stage.numCompletedTasks:,} of {stage.numTasks:,} tasks",
        )

    def _largest(self) -> SparkStageInfo | None:
        # Of an active stage nothing may be known any more: the tracker promises little.
        found = [self._tracker.getStageInfo(number) for number in self._tracker.getActiveStageIds()]
        stages = [stage for stage in found if stage is not None and stage.numTasks > 1]
        return max(stages, key=lambda stage: stage.numTasks, default=None)


def duration(seconds: float) -> str:
    """For people: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


@dataclass(frozen=True)
class Progress:
    """How far something is; share: of the whole, where that is known."""

    seconds: float
    share: float | None = None
    images: float | None = None  # done so far
    note: str = ""

    @property
    def rate(self) -> float | None:
        """Images a second; None before the first."""
        return self.images / self.seconds if self.images and self.seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds to the end at this pace; None before anything is done."""
        return self.seconds * (1 / self.share - 1) if self.share else None

    def __str__(self) -> str:
        parts = [self.note] if self.note else []
        if self.rate is not None:
            parts.append(f"{self.rate:,.0f} images/s")
        if self.left is not None:
            parts.append(f"{duration(self.left)} left")
        return ", ".join(parts) or duration(self.seconds)

    def fields(self) -> dict[str, Any]:
        """As fields of a log."""
        found = {
            "share": self.share,
            "images": self.images,
            "images_per_second": self.rate,
            "seconds_left": self.left,
        }
        given = {name: round(value, 4) for name, value in found.items() if value is not None}
        return given | {"note": self.note} if self.note else given
