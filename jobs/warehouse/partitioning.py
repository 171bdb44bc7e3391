"""Whole groups (classes) as Spark tasks: assigning them, shuffling by them, streaming the results.

Use it where a task must see each of its groups whole and in order; small groups share a task.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.warehouse import arrow_frames

TASKS_A_SLOT = 4  # enough to even out, few enough that starting them costs nothing


def repartitioned_by_group(
    rows: DataFrame,
    counts: dict[str, int],
    slots: int,
    cost: Callable[[int], float],
    order: Sequence[Column] = (),
    key: str = "label",
    tasks_a_slot: int = TASKS_A_SLOT,
) -> DataFrame:
    """Return the rows shuffled once: a partition holds whole groups, each sorted.

    rows: a frame with the columns `key` and `image_id`. counts: images of each group; rows of other
    groups are left out. slots: tasks that the cluster runs at a time. cost: the relative time that
    a group of n images takes. order: columns to sort a group by before `image_id`. key: the column
    that names the group. tasks_a_slot: more of them even out costs that are not known ahead.
    """
    tasks = assign_tasks(counts, slots, cost, tasks_a_slot)
    number = max(tasks.values(), default=0) + 1
    schema = T.StructType(
        [T.StructField(key, T.StringType()), T.StructField("task", T.IntegerType())]
    )
    assigned = arrow_frames.frame(rows.sparkSession, tasks.items(), schema)
    joined = rows.join(F.broadcast(assigned), on=key, how="inner")
    ordered = joined.repartitionById(number, F.col("task"))
    return ordered.sortWithinPartitions(key, *order, "image_id").drop("task")


def assign_tasks(
    counts: dict[str, int],
    slots: int,
    cost: Callable[[int], float],
    tasks_a_slot: int = TASKS_A_SLOT,
) -> dict[str, int]:
    """Return the task of each group: longest processing time first, to the least loaded task.

    (Graham 1969, "Bounds on multiprocessing timing anomalies".) At most `tasks_a_slot` tasks a
    slot are used.

    >>> assign_tasks({"large": 5, "small": 1, "middle": 3, "other": 1}, slots=1, cost=float)
    {'large': 0, 'middle': 1, 'other': 2, 'small': 3}
    """
    number = min(len(counts), tasks_a_slot * slots)
    costs = {group: cost(count) for group, count in counts.items()}
    loads = [(0.0, task) for task in range(number)]
    tasks = {}
    for group, seconds in sorted(costs.items(), key=lambda item: (-item[1], item[0])):
        load, task = heapq.heappop(loads)
        tasks[group] = task
        heapq.heappush(loads, (load + seconds, task))
    return tasks


def streamed(frame: DataFrame) -> Iterator[Row]:
    """Yield the rows in order; the driver holds one partition at a time.

    The frame is computed and kept on the executors' disks first: toLocalIterator alone would
    compute the partitions one after the other.
    """
    kept = frame.persist(StorageLevel.DISK_ONLY)
    try:
        kept.count()
        yield from kept.toLocalIterator()
    finally:
        kept.unpersist()
