"""publish: the kept images of one rule become `curated`, what a training team reads."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.common import command, schemas
from jobs.common.run import Run
from jobs.common.settings import check_published
from jobs.common.storage import JobError

VERSION = 1


def main(run: Run) -> None:
    """Tables images and selection → curated."""
    rule = run.settings.publish.rule
    with run.stage(
        "publish",
        reads={"images": "ingest", "selection": "prune", "audit": "prune"},
        writes=("curated",),
        depends={"rule": rule},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        selection = work.read("selection")
        computed = selection.select("rule").distinct().orderBy(F.desc("rule")).collect()
        check_published(run.settings, [row["rule"] for row in computed])
        selection = selection.where(F.col("rule") == rule)
        check_fits(work.read("images"), selection)
        work.write(curate(work.read("images"), selection), "curated")
        work.rows["curated"] = run.warehouse.read("curated").count()
        work.summary = f"{work.rows['curated']:,} images at {rule}"


def check_fits(images: DataFrame, selection: DataFrame) -> None:
    """Raise JobError where kept images are gone: those they stand for would be lost with them."""
    gone = selection.where("kept").join(images.select("image_id"), on="image_id", how="left_anti")
    count = gone.count()
    if count:
        raise JobError(
            f"{count:,} kept images are no longer in the table images, which changed after prune: "
            "run encode, project and prune first (or pipeline, which does all)"
        )


def curate(images: DataFrame, selection: DataFrame) -> DataFrame:
    """Kept images with how many images each stands for.

    group_size counts the image itself and those removed for it; weight is 1/group_size.
    """
    removed = selection.where("NOT kept").groupBy(F.col("kept_id").alias("image_id"))
    groups = removed.agg((F.count("*") + 1).alias("group_size"))
    size = F.coalesce(F.col("group_size"), F.lit(1))
    kept = selection.where("kept").select("image_id", "rule", "space")
    ours = schemas.TABLES["curated"].schema.names
    more = [name for name in images.columns if name not in ours and name != "pixels"]
    return (
        images.drop("pixels")
        .join(kept, on="image_id", how="inner")
        .join(groups, on="image_id", how="left")
        .withColumns({"group_size": size, "weight": 1 / size})
        .select(*ours, *more)
        .sort("label", "image_id")
    )


if __name__ == "__main__":
    command.run("publish", main)
