"""Classes as tasks: small ones share one, and a task sees each of its classes whole, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.runtime.run import Work
from jobs.warehouse import tables

TASKS_A_SLOT = 4  # enough to even out, few enough that starting them costs nothing


def sizes(work: Work) -> dict[str, int]:
    """Images of each class in `latents`."""
    rows = work.query("latents", "SELECT label, count(*) AS images FROM rows GROUP BY label")
    return {row["label"]: int(row["images"]) for row in rows}


def width(latents: DataFrame) -> int:
    """How many numbers a latent has; 0 where there is none."""
    row = latents.select(F.size("latent").alias("width")).first()
    return int(row.width) if row else 0


def width_stored(work: Work) -> int:
    """The same of the table `latents`, without a job."""
    found = work.query("latents", "SELECT array_length(latent) AS width FROM rows LIMIT 1")
    return int(found[0]["width"]) if found else 0


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
    where = tables.frame(latents.sparkSession, tasks.items(), schema)
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
