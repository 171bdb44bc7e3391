"""The stage `project`: principal axes, projections and density of each class, before removal.

See docs/method.md, "Principal components" and "The spline density". A class that is too large for
one task is cut into chunks, with the same result to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.autoencoder.latents import LATENT_WIDTH, class_sizes
from jobs.density import marginals, projection_tasks
from jobs.density.chunks import class_sums, cut, repartitioned_by_chunk
from jobs.density.marginals import Density
from jobs.density.projection_tasks import CHUNKWISE, PROJECTED, SUMS, LogDensityTask
from jobs.runtime import session
from jobs.runtime.concurrently import gather
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.evaluation import Estimate
from jobs.warehouse import arrow_frames, partitioning, tables
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from udfs.density import histogram, marginal, pca, separable

VERSION = 3
LATENT = arrow_frames.struct("image_id string, label string, latent array<float>")
NONE = "none"  # the name of the rule before removal, whose space is null
PROJECTIONS = tables.TABLES["projections"].schema


def main(stage_run: StageRun) -> None:
    """Table latents → axes, density (rule none), projections."""
    settings = stage_run.settings.estimate
    latents = stage_run.read("latents").select(LATENT.names)
    sizes = class_sizes(stage_run)
    stage_run.progress_total = sum(sizes.values())
    with ExitStack() as persisted:
        largest = stage_run.settings.prune.largest_class
        snapshot = stage_run.snapshot("latents")
        projected = project(latents, sizes, settings.components, largest, persisted, snapshot)
        metadata = {"latents": stage_run.inputs["latents"].output_id}
        _, densities = gather(
            partial(stage_run.write, axes(projected, settings), "axes", metadata=metadata),
            partial(model, stage_run.spark, projected, settings),
        )
        stage_run.write(marginals.rows(densities), "density", where=f"rule = '{NONE}'")
        stage_run.write(projections(projected, densities, settings), "projections")
    stage_run.rows["projections"] = stage_run.count("projections")
    stage_run.summary = f"{len(sizes):,} classes, {settings.components} components"


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of the axes and of the histograms."""
    settings = run.settings.estimate
    values = {"basis": settings.basis, "step": settings.step, "components": settings.components}
    return {
        key: NamedValues({f"estimate.{key}": value}, hashed=value) for key, value in values.items()
    }


def project(
    latents: DataFrame,
    sizes: dict[str, int],
    components: int,
    largest: int,
    persisted: ExitStack,
    snapshot: ParquetSnapshot | None = None,
    group: int = pca.GROUP,
) -> DataFrame:
    """Return rows of PROJECTED: the axes and projections of every class.

    A class with more images than `largest` and than a group of blocks (see `pca`) is cut into
    chunks of one group each; other classes are projected whole, in a task each. The rows are the
    same in both cases.

    Args:
        latents: image_id, label and latent.
        sizes: the number of images of each class.
        components: the largest number of components of a class.
        largest: the setting `prune.largest_class`.
        persisted: while it is open, what several steps read stays on the executors' disks. What an
            executor loses is computed again.
        snapshot: the files of latents, which tasks read directly if the classes lie together in
            them; None if Spark has to read them.
        group: blocks in a group.
    """
    most = max(largest, group * pca.BLOCK)
    large = {label: n for label, n in sizes.items() if n > most}
    whole = {label: n for label, n in sizes.items() if n <= most}
    if not large:
        return project_whole(latents, whole, components, persisted, snapshot, group)
    by_chunks = project_chunks(latents, large, components, persisted, group)
    if not whole:
        return by_chunks
    by_class = project_whole(latents, whole, components, persisted, snapshot, group)
    return by_class.unionByName(by_chunks)


def project_whole(
    latents: DataFrame,
    sizes: dict[str, int],
    components: int,
    persisted: ExitStack,
    snapshot: ParquetSnapshot | None,
    group: int,
) -> DataFrame:
    """Project classes that each fit into a task, in one pass over the latents."""
    slots = session.slots(latents.sparkSession)
    task = projection_tasks.ProjectionTask(components, group).rows
    scan = None
    if snapshot:
        scan = snapshot.by_class(LATENT, partitioning.assign_tasks(sizes, slots, projection_cost))
    if scan is not None:
        return _persisted(scan.through(task, PROJECTED).mapped(), persisted)
    by_class = partitioning.repartitioned_by_group(latents, sizes, slots, projection_cost)
    return _persisted(
        arrow_frames.mapped(by_class.select(LATENT.names), task, PROJECTED), persisted
    )


def projection_cost(n: int) -> float:
    """Operations for the axes of a class of n latents, if these are LATENT_WIDTH wide."""
    return float(n) * LATENT_WIDTH**2 + 20.0 * min(n, LATENT_WIDTH) ** 3


def project_chunks(
    latents: DataFrame, sizes: dict[str, int], components: int, persisted: ExitStack, group: int
) -> DataFrame:
    """Project classes of which each chunk is a task: means, then axes, then the projections.

    The driver adds the sums of chunks in order and computes the axes; it holds the sums of one
    class and of one chunk at a time (8 MB each).
    """
    chunks = cut(latents, sizes, group * pca.BLOCK)
    by_chunk = _persisted(repartitioned_by_chunk(latents, chunks), persisted)
    sums = arrow_frames.mapped(by_chunk, projection_tasks.chunk_sums, SUMS)
    centres = {label: pca.centre(total, sizes[label]) for label, total in class_sums(sums, chunks)}
    means = {label: centre.mean for label, centre in centres.items()}
    products = arrow_frames.mapped(by_chunk, projection_tasks.ProductTask(means).rows, SUMS)
    axes = {
        label: pca.from_products(total, centres[label], components)
        for label, total in class_sums(products, chunks)
    }
    task = projection_tasks.ChunkProjectionTask(axes, components).rows
    return _merged(_persisted(arrow_frames.mapped(by_chunk, task, CHUNKWISE), persisted), axes)


def _merged(chunkwise: DataFrame, axes: dict[str, pca.Axes]) -> DataFrame:
    """Turn rows of CHUNKWISE into rows of PROJECTED; axes: those of the classes, by label."""
    of_image = ("image_id", "label", "components")
    images = chunkwise.where("image_id IS NOT NULL").select(
        *(column.name if column.name in of_image else _null(column) for column in PROJECTED)
    )
    axis_rows = pa.Table.from_batches(
        _axis_batches(chunkwise, axes), schema=arrow_frames.arrow_schema(PROJECTED)
    )
    return images.unionByName(chunkwise.sparkSession.createDataFrame(axis_rows, PROJECTED))


def _axis_batches(chunkwise: DataFrame, axes: dict[str, pca.Axes]) -> Iterator[pa.RecordBatch]:
    """Yield the axes of each class, with the spreads of its chunks merged in order."""
    spreads = chunkwise.where("image_id IS NULL").orderBy("chunk").collect()
    for label, of_class in groupby(spreads, key=lambda row: str(row.label)):
        spread = pca.merged(
            pca.Spread(row.n, *map(np.array, (row.squares, row.lowest, row.highest)))
            for row in of_class
        )
        yield projection_tasks.axis_batch(
            label, axes[label], spread, arrow_frames.arrow_schema(PROJECTED)
        )


def _null(column: T.StructField) -> Column:
    return F.lit(None).cast(column.dataType).alias(column.name)


def _persisted(frame: DataFrame, persisted: ExitStack) -> DataFrame:
    """Persist a frame on the executors' disks until `persisted` closes."""
    on_disk = frame.persist(StorageLevel.DISK_ONLY)
    persisted.callback(on_disk.unpersist)
    return on_disk


def axes(projected: DataFrame, settings: Estimate) -> DataFrame:
    """The rows of the table `axes`."""
    return (
        projected.where("component IS NOT NULL")
        .select(
            "label",
            F.lit(settings.basis).alias("basis"),
            F.lit(NONE).alias("rule"),
            F.lit(None).cast("string").alias("space"),
            "component",
            "eigenvalue",
            "mean",
            "axis",
        )
        .sort("label", "component")
    )


def model(spark: SparkSession, projected: DataFrame, settings: Estimate) -> list[Density]:
    """The marginal densities of every class before removal, made of histograms."""
    axis_rows = projected.where("component IS NOT NULL")
    spreads = axis_rows.select("label", "component", "n", "sigma", "lowest", "highest").collect()
    if not spreads:
        return []
    values = marginals.unpivot(projected.where("image_id IS NOT NULL"))
    needed = settings.step in histogram.QUARTILE_RULES
    percentiles = marginals.quartiles(values) if needed else {}
    steps = [
        (
            row.label,
            row.component,
            histogram.step(
                settings.step,
                row.n,
                row.sigma,
                row.highest - row.lowest,
                percentiles.get((row.label, row.component), ()),
            ),
        )
        for row in spreads
    ]
    grid = marginals.grid(spark, steps)
    counted = marginals.counts(values, grid, ["label", "component"])
    return [
        Density(label, NONE, None, component, marginal.Marginal(cells))
        for (label, component), cells in counted
    ]


def projections(
    projected: DataFrame, densities: list[Density], settings: Estimate
) -> ArrowTransform:
    """The rows of the table `projections`: each image's coordinates and its class's log-density."""
    classes: dict[str, list[marginal.Marginal]] = {}
    for density in sorted(densities, key=lambda density: density.component):
        classes.setdefault(density.label, []).append(density.marginal)
    models = {label: separable.Separable(of_class) for label, of_class in classes.items()}
    images = projected.where("image_id IS NOT NULL").select(
        "image_id",
        "label",
        F.lit(settings.basis).alias("basis"),
        F.lit(NONE).alias("rule"),
        F.lit(None).cast("string").alias("space"),
        F.lit(None).cast("double").alias("log_density"),
        "components",
    )
    return ArrowTransform(images, LogDensityTask(models).rows, PROJECTIONS)


STAGE = Stage(
    "project",
    main,
    reads=lambda run: written_by("latents"),
    writes=("axes", "density", "projections"),
    depends=depends,
    version=VERSION,
    imports=("scipy.special",),
    worker_imports=("scipy.linalg",),
)
