"""project: each class's principal axes, projections and density before removal (spec §4, §5)."""

from __future__ import annotations

from functools import partial

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.common import classes, command, densities, schemas, session
from jobs.common.densities import Density
from jobs.common.projecting import PROJECTED, Densities, Projecting
from jobs.common.run import Run, Work
from jobs.common.settings import Estimate
from udfs import bspline, histogram

VERSION = 1
NONE = "none"  # the rule's name before removal; its space is null
PROJECTIONS = schemas.TABLES["projections"].schema


def main(run: Run) -> None:
    """Table latents → axes, density (rule none), projections."""
    settings = run.settings.estimate
    with run.stage(
        "project",
        reads={"latents": "encode"},
        writes=("axes", "density", "projections"),
        depends={
            "basis": settings.basis,
            "step": settings.step,
            "components": settings.components,
        },
        version=VERSION,
    ) as work:
        if work.finished:
            return
        latents = work.read("latents").select("image_id", "label", "latent")
        counts = classes.sizes(latents)
        classes.check_sizes(latents, counts, run.settings)
        projected = project(work, latents, counts, settings.components)
        try:
            work.write(axes(projected, settings), "axes")
            before = model(run, projected, settings)
            work.write(densities.frame(run.spark, before), "density", where=f"rule = '{NONE}'")
            work.write(projections(projected, before, settings), "projections")
        finally:
            projected.unpersist()
        work.rows["projections"] = run.warehouse.read("projections").count()
        work.summary = f"{len(counts):,} classes, {settings.components} components"


def project(work: Work, latents: DataFrame, counts: dict[str, int], components: int) -> DataFrame:
    """Axes and projections of every class, whole classes as tasks.

    Kept on the executors' disks, as the axes, the counts and the densities are made of it; what an
    executor loses is computed again.
    """
    width = classes.width(latents)
    tasks = classes.placed(
        latents,
        counts,
        session.slots(work.run.spark),
        lambda n: float(n) * width * width + 20.0 * min(n, width) ** 3,
    )
    return (
        tasks.select("image_id", "label", "latent")
        .mapInArrow(
            partial(Projecting(components).rows, schema=schemas.arrow_schema(PROJECTED)), PROJECTED
        )
        .persist(StorageLevel.DISK_ONLY)
    )


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


def model(run: Run, projected: DataFrame, settings: Estimate) -> list[Density]:
    """The marginal densities of every class before removal, from counts alone."""
    narrow = projected.where("component IS NOT NULL")
    known = narrow.select("label", "component", "n", "sigma", "lowest", "highest").collect()
    steps = [
        (
            row.label,
            row.component,
            histogram.step(settings.step, row.n, row.sigma, row.highest - row.lowest),
        )
        for row in known
    ]
    if not steps:
        return []
    values = densities.long(projected.where("image_id IS NOT NULL"))
    grid = densities.grid(run.spark, steps)
    counted = densities.counts(values, grid, ["label", "component"])
    return [
        Density(label, NONE, None, component, bspline.Marginal(cells))
        for (label, component), cells in counted
    ]


def projections(projected: DataFrame, before: list[Density], settings: Estimate) -> DataFrame:
    """Rows of the table `projections`: where each image lies, and how dense its class is there."""
    marginals: dict[str, list[Density]] = {}
    for density in before:
        marginals.setdefault(density.label, []).append(density)
    models = {
        label: bspline.Separable(
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
    return images.mapInArrow(
        partial(Densities(models).rows, schema=schemas.arrow_schema(PROJECTIONS)), PROJECTIONS
    )


if __name__ == "__main__":
    command.run("project", main)
