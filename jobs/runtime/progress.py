"""How far Spark is, by its own status tracker: nothing is counted on the executors for it."""

from __future__ import annotations

import time

from pyspark import SparkStageInfo
from pyspark.sql import SparkSession

from jobs.runtime.console import Progress


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
