"""Warehouses whose images are published as they are, to be exported."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.acquisition import ingest
from jobs.duplicates import export
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.store import open_store
from tests.support.hostile_files import write
from tests.support.pictures import encoded

SHARD_BYTES = 1 << 16  # the least that is allowed
# Settings by which a pipeline exports, in all layouts, to several shards.
EXPORTING = (
    'publish.export=["webdataset", "imagefolder"]',
    f"publish.shard_bytes={SHARD_BYTES}",
)


def noise(seed: int, side: int = 64) -> Image.Image:
    """An image of side x side px that no format makes much smaller than its pixels."""
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8))


def files(count: int = 40, side: int = 64) -> dict[str, bytes]:
    """Files of two classes, in two formats, about 12 and 5 KB each."""
    return {
        f"{('cat', 'dog')[number % 2]}/{number:03}.{('png', 'jpg')[number % 2]}": encoded(
            noise(number, side), ("PNG", "JPEG")[number % 2]
        )
        for number in range(count)
    }


class Published:
    """Images that are ingested, all of which are published."""

    def __init__(self, spark: SparkSession, images: Path, warehouse: Path, *flags: str) -> None:
        self.spark, self.images, self.warehouse = spark, images, warehouse
        self.flags = (f"publish.shard_bytes={SHARD_BYTES}", *flags)
        self.with_images = True  # whether --images is given to the export
        self.published = ""  # what identifies the last publication

    @classmethod
    def of_files(
        cls, spark: SparkSession, folder: Path, content: dict[str, bytes], *flags: str
    ) -> Published:
        """Write files and publish them."""
        made = cls(spark, write(folder / "images", content), folder / "warehouse", *flags)
        made.publish()
        return made

    def run(self, *flags: str) -> Run:
        """A run of this warehouse that has not begun."""
        images = str(self.images) if self.with_images else ""
        settings = build(
            {}, (*self.flags, *flags), images=images, warehouse=str(self.warehouse), quiet=True
        )
        return Run(self.spark, settings, "export")

    def publish(self, weights: Mapping[str, int] | None = None) -> None:
        """Ingest what is there and publish all of it; weights: sizes of groups other than 1."""
        self.published = secrets.token_hex(4)
        run = self.run()
        run.execute(ingest.STAGE)
        run.close()
        store = open_store(self.spark, str(self.warehouse))
        size = F.lit(1)
        for name, number in (weights or {}).items():
            size = F.when(F.col("image_id") == name, number).otherwise(size)
        values = {"rule": F.lit("fixed:0.9"), "space": F.lit("raw")}
        rows = store.read("images").withColumns(values)
        rows = rows.withColumn("group_size", size.cast("bigint"))
        rows = rows.withColumn("weight", 1 / F.col("group_size"))
        rows = rows.select(tables.TABLES["curated"].schema.names)
        self._write(rows, "curated")

    def split(self, splits: Mapping[str, str]) -> None:
        """Write the table `splits`, as publish does with publish.split."""
        names = tables.TABLES["splits"].schema.names
        rows = [dict.fromkeys(names) | {"image_id": k, "split": v} for k, v in splits.items()]
        self._write(self.spark.createDataFrame(rows, tables.TABLES["splits"].schema), "splits")

    def _write(self, rows: DataFrame, table: str) -> None:
        """Write an output of publish; both of its tables carry what one run of it would give."""
        mark = fingerprint(self.published)
        store = open_store(self.spark, str(self.warehouse))
        store.write(rows, table, CommitInfo(secrets.token_hex(4), "publish", mark))

    def export(self, *flags: str) -> Run:
        """Run the stage."""
        run = self.run(*flags)
        try:
            run.close_stale()
            run.execute(export.STAGE)
        finally:
            run.close()
        return run

    def shards(self, *flags: str) -> Path:
        """Export as shards; return their folder."""
        self.export("publish.export=webdataset", *flags)
        return self.warehouse / "export/webdataset"

    def links(self, *flags: str) -> Path:
        """Export as links; return their folder."""
        self.export("publish.export=imagefolder", *flags)
        return self.warehouse / "export/imagefolder"

    def states(self) -> Sequence[str]:
        """The states of the stage's runs, the newest last."""
        rows = open_store(self.spark, str(self.warehouse)).query("runs")
        own = [row for row in rows if row["stage"] == "export"]
        return [row["state"] for row in sorted(own, key=lambda row: row["started"])]


class Sample(dict[str, bytes]):
    """The members of an image, by their endings."""

    @property
    def told(self) -> dict[str, Any]:
        """What its JSON says."""
        return dict(json.loads(self["json"]))

    @property
    def data(self) -> bytes:
        """Its file."""
        (name,) = self.keys() - {"json", "cls"}
        return self[name]


def samples(shard: Path) -> dict[str, Sample]:
    """The images of a shard by their keys, in its order, as any reader of tar files has them."""
    found: dict[str, Sample] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            key, _, ending = member.name.partition(".")
            content = archive.extractfile(member)
            assert content is not None
            found.setdefault(key, Sample())[ending] = content.read()
    return found


def index(folder: Path) -> dict[str, Any]:
    """The index of an export."""
    return dict(json.loads((folder / "index.json").read_text()))


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every shard in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")
    }


def assert_same_exports(local: Path, elsewhere: Mapping[str, bytes], images: str) -> None:
    """Compare the exports of a warehouse in a folder with those of one that is not mounted.

    local: the former warehouse. elsewhere: the files below export/ of the latter, by their names.
    images: the folder of the latter's images, which no link can lead to.
    """
    shards = hashes(local / "export/webdataset")
    assert len(shards) > 1
    assert {
        name.removeprefix("webdataset/"): hashlib.sha256(data).hexdigest()
        for name, data in elsewhere.items()
        if name.endswith(".tar")
    } == shards
    told = json.loads(elsewhere["webdataset/index.json"])
    for key in ("splits", "classes"):
        assert told[key] == index(local / "export/webdataset")[key]
    listed = pl.read_parquet(io.BytesIO(elsewhere["imagefolder/files.parquet"]))
    linked = pl.read_parquet(local / "export/imagefolder/files.parquet")
    but = ("file", "path")
    assert listed.drop(but).equals(linked.drop(but))
    assert listed["file"].null_count() == len(listed) > 0
    assert listed["path"].to_list() == [f"{images}/{name}" for name in listed["image_id"]]
    others = {"webdataset/index.json", "imagefolder/index.json", "imagefolder/files.parquet"}
    assert elsewhere.keys() == {f"webdataset/{name}" for name in shards} | others
