"""generate: new images of each class, drawn from its density and decoded (spec §5).

Beside each stands the real image it resembles most, so that a copy is seen for what it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import models
from jobs.autoencoder.models import Model
from jobs.density import nearest_images
from jobs.density.nearest_images import Found
from jobs.errors import JobError
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.density import Generate
from jobs.warehouse import tables
from udfs import arrow
from udfs.density import generation, histogram, marginal, separable
from udfs.vectors.cosine import Matrix

VERSION = 1
FOLDER = "generated_images"  # not `generated`, the table's: VACUUM deletes what no commit names
SHEET = "contact_sheet.png"
ROWS, COLUMNS = 200, 12  # of the sheet
NAMED = 5  # classes that a message names
LONGEST = 100  # characters of a folder's name; more than 255 bytes no file system takes
Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]  # (n, 64, 64, 3)


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a class: coordinates (n, axes), their log-density (n,), latents (n, d)."""

    points: Array
    log_density: Array
    latents: Matrix


def main(stage_run: StageRun) -> None:
    """Tables axes, density and latents, and the model → generated, generated_images/."""
    settings = stage_run.settings.generate
    model = models.current(stage_run.warehouse, stage_run.settings)
    check_fits(stage_run, model)
    drawn = draw(stage_run, chosen(stage_run.read("axes"), settings.labels), settings)
    pictures = decode(stage_run, model, drawn)
    latents = {label: of_class.latents for label, of_class in drawn.items()}
    found = nearest_images.nearest(stage_run.read("latents"), latents)
    files = stage_run.warehouse.files.replace(FOLDER, files_of(pictures))
    table = tables.rows("generated", rows(drawn, found))
    stage_run.write(table, "generated", metadata={"files": files})
    stage_run.rows["generated"] = sum(len(of_class.points) for of_class in drawn.values())
    stage_run.summary = summary(drawn, found)


def model_id(run: RunContext) -> str:
    """The model that decodes; raises MissingError where it is not trained yet."""
    return models.current(run.warehouse, run.settings).model_id


def depends(run: RunContext) -> dict[str, Any]:
    """The settings of the draw, and the model that decodes."""
    settings = run.settings.generate
    return {
        "count": settings.count,
        "labels": sorted(settings.labels),
        "components": settings.components,
        "seed": settings.seed,
        "model_id": model_id(run),
    }


def is_written(run: RunContext, fingerprint: str) -> bool:
    """Return whether the table is of this fingerprint, and its files are still there."""
    commit = run.warehouse.newest("generated", "generate")
    if commit is None or commit.fingerprint != fingerprint:
        return False
    pictures = [name for name in run.warehouse.files.list(FOLDER) if name.endswith(".png")]
    return len(pictures) == commit.metadata.get("files")


def check_fits(stage_run: StageRun, model: Model) -> None:
    """Raise JobError where axes and latents are not of the model that is to decode them."""
    row = stage_run.read("latents").select("model_id").first()
    if row is None or row.model_id != model.model_id:
        raise JobError(
            f"the latents are not of the model that these settings ask for "
            f"({model.model_id[:12]}): run ./spark-submit.sh encode and project first (or "
            "pipeline, which does all), or give the settings of [train] that they were made with"
        )
    axes, latents = stage_run.inputs["axes"], stage_run.inputs["latents"]
    if latents.orientations != 1:
        raise JobError(
            "the latents are means over eight orientations, which the decoder cannot read: run "
            "./spark-submit.sh pipeline with encode.orientations = 1 first"
        )
    if axes.metadata.get("latents", latents.output_id) != latents.output_id:
        raise JobError(
            "the table axes was made of other latents: run ./spark-submit.sh project first (or "
            "pipeline, which does all)"
        )


def chosen(axes: DataFrame, asked: Sequence[str]) -> list[str]:
    """The classes to draw from: those asked for, or all that have axes.

    Raises JobError where there is none, or one of those asked for has none.
    """
    known = sorted(row.label for row in axes.select("label").distinct().collect())
    unknown = [label for label in asked if label not in known]
    if unknown or not known:
        more = f" and {len(known) - NAMED:,} more" if len(known) > NAMED else ""
        raise JobError(
            f"generate.labels: no axes of {', '.join(unknown) or 'any class'}: a class needs two "
            f"images that differ; there are axes of {', '.join(known[:NAMED]) or 'none'}{more}"
        )
    return sorted(asked) or known


def draw(stage_run: StageRun, labels: Sequence[str], settings: Generate) -> dict[str, Drawn]:
    """Coordinates drawn from each class's density before removal, and their latents."""
    marginals: dict[str, list[marginal.Marginal]] = {}
    of_classes = F.col("label").isin(list(labels))
    stored = stage_run.read("density").where((F.col("rule") == "none") & of_classes)
    for row in stored.orderBy("label", "component").collect():
        cells = histogram.Histogram(row.origin, row.step, np.array(row.counts))
        marginals.setdefault(row.label, []).append(marginal.Marginal(cells))
    table = stage_run.read("axes").where(of_classes).orderBy("label", "component").toArrow()
    found = {}
    for label, axes in arrow.groups(table.to_batches(), "label"):
        model = separable.Separable(marginals[label])
        sampled = settings.components or len(model.marginals)
        rng = generation.class_generator(settings.seed, label)
        points = generation.points(model, settings.count, sampled, rng)
        mean = arrow.matrix(axes.column("mean"))[0]
        latents = generation.latents(points, mean, arrow.matrix(axes.column("axis")))
        found[label] = Drawn(points, model.log_density(points), latents)
    return found


def decode(stage_run: StageRun, model: Model, drawn: dict[str, Drawn]) -> dict[str, Pixels]:
    """The images of each class's latents, decoded by the driver, where `train` would compute."""
    from udfs.autoencoder import inference
    from udfs.autoencoder.device import select_device
    from udfs.autoencoder.model import SIDE

    device = select_device(stage_run.settings.train.device)
    decoder = inference.decoder(model.weights, device=device, batch=stage_run.settings.encode.batch)
    return {
        label: decoder(of_class.latents).reshape(-1, SIDE, SIDE, 3)
        for label, of_class in drawn.items()
    }


def rows(drawn: dict[str, Drawn], found: Found) -> list[tuple[object, ...]]:
    """Rows of the table `generated`."""
    return [
        (
            label,
            number,
            f"{FOLDER}/{file_name(label, number)}",
            float(density),
            *found.get((label, number), (None, None)),
            point.tolist(),
        )
        for label, of_class in drawn.items()
        for number, (point, density) in enumerate(
            zip(of_class.points, of_class.log_density, strict=True), 1
        )
    ]


def files_of(pictures: dict[str, Pixels]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each image's file, then of the contact sheet."""
    from udfs.report import charts  # matplotlib takes long to import

    for label, of_class in pictures.items():
        for number, picture in enumerate(of_class, 1):
            yield file_name(label, number), charts.picture_png(Image.fromarray(picture))
    first = [(label, of_class[:COLUMNS]) for label, of_class in list(pictures.items())[:ROWS]]
    yield SHEET, charts.contact_sheet(first)


def file_name(label: str, number: int) -> str:
    """Where an image lies below the folder of all."""
    return f"{folder_name(label)}/{number:03}.png"


def folder_name(label: str) -> str:
    """A label as a folder's name: letters of any script stay, most other characters become %XX.

    Unlike labels have unlike names: a long one ends with its hash, after a ~. None begins with a
    dot, or is that of the sheet.
    """
    name = re.sub(r"[^\w .()+,=-]|^\.", lambda found: _escaped(found[0]), label)
    name = name.replace(".", "%2E") if name == SHEET else name
    if len(name) <= LONGEST and len(name.encode()) <= 2 * LONGEST:
        return name
    digest = hashlib.sha256(label.encode()).hexdigest()
    return f"{name[: LONGEST // 2]}~{digest[:16]}"


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def summary(drawn: dict[str, Drawn], found: Found) -> str:
    """How many there are, and how near they are to real ones."""
    images = sum(len(of_class.points) for of_class in drawn.values())
    similarity = [nearness for _, nearness in found.values()]
    near = (
        f"; to a real one {np.median(similarity):.3f} in the median, {max(similarity):.3f} at most"
        if similarity
        else ""
    )
    return f"{images:,} images of {len(drawn):,} classes{near}"


STAGE = Stage(
    "generate",
    main,
    reads=lambda run: written_by("axes", "density", "latents"),
    writes=("generated",),
    depends=depends,
    version=VERSION,
    enabled=lambda settings: bool(settings.generate.count),
    to_enable="--set generate.count=12",
    refusal="set generate.count, such as 20: new images of each class",
    is_current=is_written,
    model_id=model_id,
)
