"""How much there is to do, counted for a dry run: files, images, pairs. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from PIL import Image
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.acquisition.sources import Source
from jobs.settings.load import Ingest, Prune
from jobs.warehouse import paths
from jobs.warehouse.store import Store

FRAMES = 64  # files whose size in pixels stands for all
KEY = ["path", "size_bytes", "modified_at"]


@dataclass(frozen=True)
class Files:
    """What ingest would find beside what it found before."""

    count: int
    fresh: int  # new or changed
    changed: int
    vanished: int
    by_label: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        new = self.fresh - self.changed
        parts = {"new": new, "changed": self.changed, "vanished": self.vanished}
        return ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)


def of_source(source: Source, warehouse: Store, *, anew: bool) -> Files:
    """Files of a folder (rows of a table); `anew`: all are read again, whatever is known."""
    counted = source.frame.where("label IS NOT NULL").groupBy("label").count().collect()
    by_label = {row["label"]: int(row["count"]) for row in counted}
    commit = warehouse.newest("images", "ingest")
    if commit is None or not source.is_folder or commit.metadata.get("root") != source.root:
        return Files(source.count, source.count, 0, 0, by_label)
    known = warehouse.read("images").select(*KEY, F.lit(True).alias("image"))
    if warehouse.exists("rejects"):
        said = warehouse.read("rejects").where("stage = 'ingest' AND error_code != 'vanished'")
        known = known.unionByName(said.select(*KEY, F.lit(False).alias("image")))
    was = known.dropDuplicates(["path"]).select(
        "path", F.struct(*KEY[1:]).alias("was"), F.col("image")
    )
    now = source.frame.select("path", F.struct(*KEY[1:]).alias("now"))
    both = now.join(was, on="path", how="full")
    row = both.agg(
        F.count_if(F.col("was").isNull()).alias("new"),
        F.count_if(F.col("was") != F.col("now")).alias("changed"),
        F.count_if(F.col("now").isNull() & F.col("image")).alias("vanished"),
    ).collect()[0]
    fresh = source.count if anew else row.new + row.changed
    return Files(source.count, fresh, row.changed, row.vanished, by_label)


def tiles_a_file(source: Source, settings: Ingest) -> float:
    """Images that a file becomes, by the headers of some: 1 where frames stay whole."""
    if settings.tiling is None or not source.is_folder:
        return 1.0
    tile, stride = settings.tiling
    step = max(1, source.count // FRAMES)
    rows = source.frame.select("path").sort("path").collect()[::step]
    found = [size for row in rows if (size := _size(row.path)) is not None]
    counts = [
        max(0, (width - tile) // stride + 1) * max(0, (height - tile) // stride + 1)
        for width, height in found
    ]
    return fmean(counts) if counts else 1.0


def _size(path: str) -> tuple[int, int] | None:
    """Width and height by the file's header; None where it has none, or lies elsewhere."""
    if not paths.is_mounted(path):
        return None
    try:
        with Image.open(paths.mounted(path)) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def groups(images: DataFrame, settings: Prune) -> list[int]:
    """Images of each group that is compared, by the table `images`."""
    asked = dict.fromkeys([*settings.group_by, *settings.never_across])
    columns = [name if name in images.columns else "label" for name in asked]  # sublabel: at most
    counted = images.groupBy(*dict.fromkeys(columns)).count().collect()
    return [int(row["count"]) for row in counted]


def pairs(sizes: Iterable[float]) -> float:
    """Σ n(n − 1)/2."""
    return sum(max(0.0, n * (n - 1) / 2) for n in sizes)


def kept_share(warehouse: Store) -> float | None:
    """The largest share that a rule of the last selection kept; None where there is none."""
    if not warehouse.exists("selection"):
        return None
    rows = warehouse.read("selection").groupBy("rule", "space")
    shares = rows.agg(F.avg(F.col("kept").cast("double")).alias("share")).collect()
    return max((float(row.share) for row in shares), default=None)


def without_latents(warehouse: Store, model_id: str) -> int:
    """Images that this model has not encoded yet."""
    key = ["image_id", "sha256"]
    images = warehouse.read("images").select(*key)
    if not warehouse.exists("latents"):
        return images.count()
    known = warehouse.read("latents").where(F.col("model_id") == model_id).select(*key)
    return images.join(known, on=key, how="left_anti").count()
