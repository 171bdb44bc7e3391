"""Finds mistakes that no single setting shows: contradictions, and settings that a job cannot use.

Each function returns or yields lines for the user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jobs.errors import SettingsError
from jobs.paths import absolute, is_mounted, mounted
from jobs.settings.autoencoder import SHIPPED, TRAINED, Train
from jobs.settings.duplicates import GRADIENTS, IMAGEFOLDER, OVERLAP, RATE, SHARE, SUBLABEL
from jobs.settings.evaluation import NO_LABELS
from jobs.settings.model import Settings, published_space
from udfs.density import modes


def contradictions(settings: Settings) -> list[str]:
    """Return the contradictions between settings, whatever the job is."""
    return [
        *_ingest(settings),
        *_candidates(settings),
        *_leaks(settings),
        *_density(settings),
        *_too_few_draws(settings),
        *(() if settings.ingest.vector_column else _untrained(settings.train)),
    ]


def _untrained(train: Train) -> Iterator[str]:
    """Yield what was set for a training, where the model that comes along takes its place."""
    for key in train.changed if train.model == SHIPPED else ():
        yield (
            f"train.{key}: is of a training, and the model that comes along (train.model = "
            f"{SHIPPED}) needs none: leave it out, or --set train.model={TRAINED} to train one"
        )


def _ingest(settings: Settings) -> Iterator[str]:
    if settings.ingest.stride and not settings.ingest.tile:
        yield "ingest.stride: needs ingest.tile, the side of the tiles"
    if settings.ingest.vector_column:
        yield from _vectors(settings)


def _vectors(settings: Settings) -> Iterator[str]:
    """Yield what contradicts vectors that a table holds."""
    ingest = settings.ingest
    if ingest.source == "folder":
        yield "ingest.vector_column: needs ingest.source = parquet or delta, its table"
    if not ingest.id_column:
        yield "ingest.vector_column: needs ingest.id_column, the column of stable ids"
    if ingest.tile:
        yield "ingest.tile: cuts frames, and the vectors of ingest.vector_column are of whole ones"
    if settings.train.model not in ("", SHIPPED):
        yield "train.model: encodes pixels, and ingest.vector_column names vectors"
    if settings.encode.orientations > 1:
        yield "encode.orientations: turns what is encoded, and ingest.vector_column names vectors"
    if GRADIENTS in settings.prune.space and not ingest.pictures:
        yield (
            f"prune.space = {GRADIENTS}: looks at pixels, and with ingest.vector_column there are "
            "none: name the images in ingest.image_column as well, or take another space"
        )
    without = (
        f"{OVERLAP} rules lay pixels over each other, and with ingest.vector_column there are "
        "none: name the images in ingest.image_column as well, or give"
    )
    if settings.prune.overlaps and not ingest.pictures:
        yield f"prune.thresholds: {without} numbers, such as [0.9, 0.85, 0.8]"
    if settings.conflicts.overlap is not None and not ingest.pictures:
        yield f"conflicts.threshold: {without} a number, such as 0.85"
    if settings.publish.export and not ingest.pictures:
        yield (
            "publish.export: writes images, and with ingest.vector_column there are none: name "
            "the images in ingest.image_column as well"
        )
    if settings.generate.count:
        yield (
            "generate.count: images are decoded by the model, and with ingest.vector_column there "
            "is none"
        )


def _candidates(settings: Settings) -> Iterator[str]:
    candidates, spaces = settings.prune.candidates, settings.prune.space
    if candidates and len(candidates) != len(spaces):
        yield (
            f"prune.candidates: holds {len(candidates)} numbers; give one for each of prune.space "
            f"({', '.join(spaces)}), or none"
        )


def _leaks(settings: Settings) -> Iterator[str]:
    prune, leaks = settings.prune, settings.leaks
    if not prune.thresholds:
        yield (
            "prune.thresholds: name them, for what is usual in one space is not in the other: "
            f"numbers for one, or {SHARE}:0.5 or {RATE}:0.001, which mean the same in both"
        )
    given = prune.fixed or prune.overlaps
    rules = f"a number, or {OVERLAP}:0.7, among prune.thresholds"
    if leaks.remove and (not given or len(prune.space) > 1):
        yield f"leaks.remove: needs one prune.space and {rules}"
    elif leaks.enabled and not given:
        yield f"leaks: needs {rules}, by which images leak"
    if leaks.split and leaks.warehouse:
        yield "leaks: give leaks.split or leaks.warehouse, not both"
    if leaks.remove and not leaks.enabled:
        yield "leaks.remove: needs leaks.split or leaks.warehouse"


def _density(settings: Settings) -> Iterator[str]:
    generate, estimate = settings.generate, settings.estimate
    if settings.anomalies.remove and not settings.anomalies.quantile:
        yield "anomalies.remove: needs anomalies.quantile, such as 0.01"
    if generate.components > estimate.components:
        yield (
            f"generate.components = {generate.components}: only estimate.components = "
            f"{estimate.components} axes are modelled; raise that, or sample fewer"
        )
    if generate.count and settings.encode.orientations > 1:
        yield (
            "generate.count: needs encode.orientations = 1; the mean of eight latents is not what "
            "the decoder learnt to read"
        )


def _too_few_draws(settings: Settings) -> Iterator[str]:
    """Yield that the draws are too few to test each component at level/components (Bonferroni)."""
    draws, level = settings.modes.draws, settings.modes.level
    components = settings.estimate.components
    least = modes.least_draws(level / components)
    if 0 < draws < least:
        yield (
            f"modes.draws = {draws}: at least {least} are needed for estimate.components = "
            f"{components} at modes.level = {level:g}"
        )


def obstacles(settings: Settings, job: str) -> Iterator[str]:
    """Yield what would otherwise stop the job only hours later."""
    pipeline = job == "pipeline"
    vectors = bool(settings.ingest.vector_column)
    if job == "encode" and vectors and not settings.images:
        yield "--images PATH is missing: encode takes the vectors from the table there"
    if job == "train" and vectors:
        yield "train: nothing to train, ingest.vector_column names vectors; run encode"
    if (pipeline or job in ("ingest", "sample")) and not settings.images:
        yield "--images PATH is missing: the folder or table to read (sample: to write)"
    if settings.report_folder and not is_mounted(settings.report_folder):
        yield f"--report {settings.report_folder}: must be a folder on the driver's disk"
    elif settings.report_folder and mounted(settings.report_folder).is_file():
        yield f"--report {settings.report_folder}: is a file; name a folder"
    if job == "sample" and not is_mounted(settings.images):
        yield f"--images {settings.images}: sample writes to a mounted folder: copy it from there"
    if (pipeline or job == "train") and settings.train.model != SHIPPED:
        yield from _missing_file("train.model", settings.train.model)
    if pipeline or job == "report":
        yield from _missing_file("report.truth", settings.report.truth)
    if job == "calibrate":
        yield from _missing_file("calibrate.labels", settings.calibrate.labels)
        if not settings.calibrate.labels:
            yield NO_LABELS
    if pipeline and settings.prune.by_sublabel and not settings.modes.draws:
        yield f"prune.group_by: {SUBLABEL} needs modes.draws, such as 200"
    if pipeline or job == "export":
        yield from _export(settings)
    if pipeline:
        yield from _unpublishable(settings, list(settings.prune.rules), settings.prune.space)


def _export(settings: Settings) -> Iterator[str]:
    """Yield what would stop the stage `export` after the others are done."""
    publish, images = settings.publish, settings.images
    if IMAGEFOLDER in publish.export and settings.ingest.tile:
        yield (
            f"publish.export: {IMAGEFOLDER} makes links to files, and with ingest.tile images are "
            "parts of files: take webdataset, which writes each tile as a PNG"
        )
    folder = publish.export_folder
    if not folder or not images:
        return
    inner, outer = absolute(folder), absolute(images)
    if f"{inner}/".startswith(f"{outer}/"):
        yield (
            f"publish.export_folder = {folder!r}: lies below --images {images}, so that the next "
            "run would take what is exported for new images: name another folder"
        )


def _missing_file(key: str, path: str) -> Iterator[str]:
    # Other files can only be looked for when Spark runs.
    if path and is_mounted(path) and not mounted(path).exists():
        yield f"{key} = {path!r}: there is no such file"


def _unpublishable(
    settings: Settings, rules: Sequence[str], spaces: Sequence[str]
) -> Iterator[str]:
    """Yield that the rule or the space to publish is not among the computed ones."""
    rule, space = settings.publish.rule, published_space(settings)
    if rule not in rules:
        yield (
            f"publish.rule = {rule!r}: not among the computed rules ({', '.join(rules)}); "
            "choose one of them, or add it to prune.thresholds"
        )
    if space not in spaces:
        yield (
            f"publish.space = {space!r}: not among the computed spaces ({', '.join(spaces)}); "
            "choose one of them, or add it to prune.space"
        )


def check_published(settings: Settings, rules: Iterable[str], spaces: Iterable[str]) -> None:
    """Raise SettingsError if the rule or the space to publish is not among the computed ones."""
    mistakes = list(_unpublishable(settings, list(rules), list(spaces)))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
