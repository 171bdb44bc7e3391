"""Classes as tasks: small ones share one, and a task sees each of its classes whole, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.warehouse import arrow_frames

TASKS_A_SLOT = 4  # enough to even out, few enough that starting them costs nothing


def placed(
    latents: DataFrame,
    counts: dict[str, int],
    slots: int,
    cost: Callable[[int], float],
    order: Sequence[Column] = (),
    key: str = "label",
) -> DataFrame:
    """Latents shuffled once so that a partition holds whole classes, sorted within each.

    cost: of a class of n images; the largest classes are dealt first, each to the task that has
    least. order: what comes before image_id within a class. key: what makes a class.
    """
    tasks = dealt(counts, slots, cost)
    number = max(tasks.values(), default=0) + 1
    schema = T.StructType(
        [T.StructField(key, T.StringType()), T.StructField("task", T.IntegerType())]
    )
    where = arrow_frames.frame(latents.sparkSession, tasks.items(), schema)
    joined = latents.join(F.broadcast(where), on=key, how="inner")
    ordered = joined.repartitionById(number, F.col("task"))
    return ordered.sortWithinPartitions(key, *order, "image_id").drop("task")


def dealt(counts: dict[str, int], slots: int, cost: Callable[[int], float]) -> dict[str, int]:
    """The task of each class; cost: of a class of n images."""
    number = max(1, min(len(counts), TASKS_A_SLOT * slots))
    return deal({label: cost(count) for label, count in counts.items()}, number)


def deal(costs: dict[str, float], number: int) -> dict[str, int]:
    """The task of each class: longest first, to the task with the least so far."""
    loads = [(0.0, task) for task in range(number)]
    tasks = {}
    for label, cost in sorted(costs.items(), key=lambda item: (-item[1], item[0])):
        load, task = heapq.heappop(loads)
        tasks[label] = task
        heapq.heappush(loads, (load + cost, task))
    return tasks


def streamed(frame: DataFrame) -> Iterator[Row]:
    """The rows in order, one partition at a time here.

    They are made and kept on the executors' disks first: toLocalIterator alone would have the
    partitions made one after the other.
    """
    kept = frame.persist(StorageLevel.DISK_ONLY)
    try:
        kept.count()
        yield from kept.toLocalIterator()
    finally:
        kept.unpersist()
