"""How far a stage is: `Progress`, a snapshot to show, and `SparkProgress`, which takes it of Spark.

Spark's own status tracker is asked on the driver, so executors count nothing for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pyspark import SparkStageInfo
from pyspark.sql import SparkSession


class SparkProgress:
    """The progress of the Spark stage that runs now; of several, of the one with most tasks."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._first_seen: dict[int, float] = {}  # the clock when a Spark stage was first seen

    def current(self, images: int | None = None) -> Progress | None:
        """Return the share of tasks that are done, or None where Spark runs nothing.

        images: how many images the tasks go through together, None if that is not known.
        """
        stage = self._largest_stage()
        if stage is None:
            return None
        clock = time.monotonic()
        seconds = clock - self._first_seen.setdefault(stage.stageId, clock)
        share = stage.numCompletedTasks / stage.numTasks
        return Progress(
            seconds,
            share,
            None if images is None else images * share,
            f"{stage.numCompletedTasks:,} of {stage.numTasks:,} tasks",
        )

    def _largest_stage(self) -> SparkStageInfo | None:
        tracker = self._spark.sparkContext.statusTracker()
        # The tracker may know nothing any more of a stage that it has just called active.
        infos = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
        stages = [stage for stage in infos if stage is not None and stage.numTasks > 1]
        return max(stages, key=lambda stage: stage.numTasks, default=None)


def duration(seconds: float) -> str:
    """Return a duration as people write it: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


@dataclass(frozen=True)
class Progress:
    """How far something is.

    seconds: time since it began. share: the part that is done, in [0, 1], None if not known.
    images: how many are done, None if not counted. note: what is done, in words.
    """

    seconds: float
    share: float | None = None
    images: float | None = None
    note: str = ""

    @property
    def rate(self) -> float | None:
        """Images a second, None before the first image is done."""
        return self.images / self.seconds if self.images and self.seconds > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds to the end at the present pace, None before anything is done."""
        return self.seconds * (1 / self.share - 1) if self.share else None

    def __str__(self) -> str:
        parts = [self.note] if self.note else []
        if self.rate is not None:
            decimals = 1 if self.rate < 10 else 0  # 0 images/s would look as if nothing happened
            parts.append(f"{self.rate:,.{decimals}f} images/s")
        if self.left is not None:
            parts.append(f"{duration(self.left)} left")
        return ", ".join(parts) or duration(self.seconds)

    def fields(self) -> dict[str, Any]:
        """Return what is known, under the names of the JSON event `progress`."""
        values = {
            "share": self.share,
            "images": self.images,
            "images_per_second": self.rate,
            "seconds_left": self.left,
        }
        known = {name: round(value, 4) for name, value in values.items() if value is not None}
        return known | {"note": self.note} if self.note else known
