"""project: each class's principal axes, projections and density before removal (spec §4, §5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.autoencoder.latents import LATENT_WIDTH, class_sizes
from jobs.density import chunks, projection_tasks
from jobs.density import marginals as class_marginals
from jobs.density.marginals import Density
from jobs.density.projection_tasks import PIECEWISE, PROJECTED, SUMS, Densities
from jobs.runtime import session
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.evaluation import Estimate
from jobs.warehouse import arrow_frames, partitioning, tables
from jobs.warehouse.parquet_scan import ParquetSnapshot
from jobs.warehouse.parquet_write import ArrowTransform
from udfs.density import histogram, marginal, pca, separable

VERSION = 3
LATENT = arrow_frames.struct("image_id string, label string, latent array<float>")
NONE = "none"  # the rule's name before removal; its space is null
PROJECTIONS = tables.TABLES["projections"].schema


def main(stage_run: StageRun) -> None:
    """Table latents → axes, density (rule none), projections."""
    settings = stage_run.settings.estimate
    latents = stage_run.read("latents").select(LATENT.names)
    counts = class_sizes(stage_run)
    stage_run.images = sum(counts.values())
    with ExitStack() as held:
        largest = stage_run.settings.prune.largest_class
        snapshot = stage_run.snapshot("latents")
        projected = project(latents, counts, settings.components, largest, held, snapshot)
        metadata = {"latents": stage_run.inputs["latents"].output_id}
        stage_run.write(axes(projected, settings), "axes", metadata=metadata)
        before = model(stage_run, projected, settings)
        stage_run.write(class_marginals.rows(before), "density", where=f"rule = '{NONE}'")
        stage_run.write(projections(projected, before, settings), "projections")
    stage_run.rows["projections"] = stage_run.count("projections")
    stage_run.summary = f"{len(counts):,} classes, {settings.components} components"


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of the axes and of the histograms."""
    settings = run.settings.estimate
    return {"basis": settings.basis, "step": settings.step, "components": settings.components}


def project(
    latents: DataFrame,
    counts: dict[str, int],
    components: int,
    largest: int,
    held: ExitStack,
    snapshot: ParquetSnapshot | None = None,
    group: int = pca.GROUP,
) -> DataFrame:
    """Rows of PROJECTED: axes and projections of every class, the same whether it is cut or not.

    A class above `largest` images and one group of chunks is cut into its groups, the others are
    whole in a task. What several steps are made of is kept on the executors' disks while `held` is
    open; what an executor loses is computed again. snapshot: where workers read the latents
    themselves if the classes lie together in it; None: Spark deals them out.
    """
    most = max(largest, group * pca.CHUNK)
    cut = {label: n for label, n in counts.items() if n > most}
    whole = {label: n for label, n in counts.items() if n <= most}
    if not cut:
        return project_whole(latents, whole, components, held, snapshot, group)
    in_pieces = project_cut(latents, cut, components, held, group)
    if not whole:
        return in_pieces
    return project_whole(latents, whole, components, held, snapshot, group).unionByName(in_pieces)


def project_whole(
    latents: DataFrame,
    counts: dict[str, int],
    components: int,
    held: ExitStack,
    snapshot: ParquetSnapshot | None,
    group: int,
) -> DataFrame:
    """Whole classes as tasks, in one pass."""
    slots = session.slots(latents.sparkSession)
    rows = projection_tasks.Projecting(components, group).rows

    def cost(n: int) -> float:
        return (
            float(n) * LATENT_WIDTH**2 + 20.0 * min(n, LATENT_WIDTH) ** 3
        )  # as of latents of this width

    scan = (
        snapshot.by_class(LATENT, partitioning.assign_tasks(counts, slots, cost))
        if snapshot
        else None
    )
    if scan is not None:
        return _kept(scan.through(rows, PROJECTED).mapped(), held)
    tasks = partitioning.repartitioned_by_group(latents, counts, slots, cost).select(LATENT.names)
    return _kept(arrow_frames.mapped(tasks, rows, PROJECTED), held)


def project_cut(
    latents: DataFrame, counts: dict[str, int], components: int, held: ExitStack, group: int
) -> DataFrame:
    """Groups of chunks as tasks: sums → means, products → axes, then the projections.

    The driver adds the groups' sums up in order and computes the axes; it holds one class's and
    one group's sums at a time (8 MB each).
    """
    cut = chunks.cut(latents, counts, group * pca.CHUNK)
    placed = _kept(chunks.placed(latents, cut), held)
    sums = chunks.added(arrow_frames.mapped(placed, projection_tasks.piece_sums, SUMS), cut)
    centres = {label: pca.centre(total, counts[label]) for label, total in sums}
    means = {label: centre.mean for label, centre in centres.items()}
    products = chunks.added(
        arrow_frames.mapped(placed, projection_tasks.Multiplying(means).rows, SUMS), cut
    )
    found = {
        label: pca.from_products(total, centres[label], components) for label, total in products
    }
    rows = projection_tasks.PieceProjecting(found, components).rows
    return _merged(_kept(arrow_frames.mapped(placed, rows, PIECEWISE), held), found)


def _merged(piecewise: DataFrame, found: dict[str, pca.Axes]) -> DataFrame:
    """Rows of PROJECTED of the classes that are cut, from those of their pieces."""
    of_image = ("image_id", "label", "components")
    images = piecewise.where("image_id IS NOT NULL").select(
        *(column.name if column.name in of_image else _null(column) for column in PROJECTED)
    )
    known = pa.Table.from_batches(
        _axis_batches(piecewise, found), schema=arrow_frames.arrow_schema(PROJECTED)
    )
    return images.unionByName(piecewise.sparkSession.createDataFrame(known, PROJECTED))


def _axis_batches(piecewise: DataFrame, found: dict[str, pca.Axes]) -> Iterator[pa.RecordBatch]:
    """The axes of each class, with the spreads of its pieces merged in order."""
    rows = piecewise.where("image_id IS NULL").orderBy("piece").collect()
    for label, of_class in groupby(rows, key=lambda row: str(row.label)):
        spread = pca.merged(
            pca.Spread(row.n, *map(np.array, (row.squares, row.lowest, row.highest)))
            for row in of_class
        )
        yield projection_tasks.axis_batch(
            label, found[label], spread, arrow_frames.arrow_schema(PROJECTED)
        )


def _null(column: T.StructField) -> Column:
    return F.lit(None).cast(column.dataType).alias(column.name)


def _kept(frame: DataFrame, held: ExitStack) -> DataFrame:
    """The frame, kept on the executors' disks once computed, while `held` is open."""
    kept = frame.persist(StorageLevel.DISK_ONLY)
    held.callback(kept.unpersist)
    return kept


def axes(projected: DataFrame, settings: Estimate) -> DataFrame:
    """Rows of the table `axes`."""
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


def model(stage_run: StageRun, projected: DataFrame, settings: Estimate) -> list[Density]:
    """The marginal densities of every class before removal, from counts alone."""
    narrow = projected.where("component IS NOT NULL")
    known = narrow.select("label", "component", "n", "sigma", "lowest", "highest").collect()
    if not known:
        return []
    values = class_marginals.long(projected.where("image_id IS NOT NULL"))
    needed = settings.step in histogram.QUARTILE_RULES
    quartiles = class_marginals.quartiles(values) if needed else {}
    steps = [
        (
            row.label,
            row.component,
            histogram.step(
                settings.step,
                row.n,
                row.sigma,
                row.highest - row.lowest,
                quartiles.get((row.label, row.component), ()),
            ),
        )
        for row in known
    ]
    grid = class_marginals.grid(stage_run.spark, steps)
    counted = class_marginals.counts(values, grid, ["label", "component"])
    return [
        Density(label, NONE, None, component, marginal.Marginal(cells))
        for (label, component), cells in counted
    ]


def projections(projected: DataFrame, before: list[Density], settings: Estimate) -> ArrowTransform:
    """Rows of the table `projections`: where each image lies, and how dense its class is there."""
    marginals: dict[str, list[Density]] = {}
    for density in before:
        marginals.setdefault(density.label, []).append(density)
    models = {
        label: separable.Separable(
            [density.marginal for density in sorted(found, key=lambda found: found.component)]
        )
        for label, found in marginals.items()
    }
    images = projected.where("image_id IS NOT NULL").select(
        "image_id",
        "label",
        F.lit(settings.basis).alias("basis"),
        F.lit(NONE).alias("rule"),
        F.lit(None).cast("string").alias("space"),
        F.lit(None).cast("double").alias("log_density"),
        "components",
    )
    return ArrowTransform(images, Densities(models).rows, PROJECTIONS)


STAGE = Stage(
    "project",
    main,
    reads=lambda run: written_by("latents"),
    writes=("axes", "density", "projections"),
    depends=depends,
    version=VERSION,
)
