"""The stage `export`: writes the published images in the layouts that training loaders read.

`publish.export` names them: `webdataset` are tar shards of the original files, `imagefolder` is a
folder of links to them. The splits are those of `splits`, else those of the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame

from jobs.duplicates import export_images, export_links, export_shards
from jobs.duplicates.export_folder import ExportFolder
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.settings.duplicates import IMAGEFOLDER, WEBDATASET
from jobs.settings.redaction import redacted

VERSION = 1

Export = Callable[[StageRun, DataFrame], str]
WRITERS: dict[str, Export] = {WEBDATASET: export_shards.export, IMAGEFOLDER: export_links.export}
CURRENT: dict[str, Callable[[ExportFolder, str], bool]] = {
    WEBDATASET: export_shards.is_current,
    IMAGEFOLDER: export_links.is_current,
}


def main(stage_run: StageRun) -> None:
    """Tables curated and splits, and the source's files → export/."""
    export_images.check_pictured(stage_run)
    images = export_images.exported(stage_run)
    lines = [WRITERS[name](stage_run, images) for name in stage_run.settings.publish.export]
    stage_run.summary = "; ".join(lines)


def reads(run: RunContext) -> dict[str, str]:
    """The published images, and their splits where there are some."""
    has_splits = bool(run.settings.publish.split) or run.warehouse.exists("splits")
    return written_by("curated", *(("splits",) if has_splits else ()))


def depends(run: RunContext) -> dict[str, Any]:
    """What is exported, and where to."""
    settings = run.settings.publish
    named = {
        "publish.export": settings.export,
        "publish.export_folder": redacted(settings.export_folder),
        "publish.shard_bytes": settings.shard_bytes,
    }
    return {"export": NamedValues(named, hashed=list(named.values()))}


def is_written(run: RunContext, fingerprint: str) -> bool:
    """Whether every export has this fingerprint, and all that it consists of is there."""
    return all(
        CURRENT[name](ExportFolder.of(run, name), fingerprint)
        for name in run.settings.publish.export
    )


STAGE = Stage(
    "export",
    main,
    reads=reads,
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.publish.export),
    example_flags="--set publish.export=webdataset",
    message_if_disabled="set publish.export: webdataset, imagefolder, or a list of both",
    is_current=is_written,
)
