"""The stage `generate`: draws new images of each class from its density and decodes them.

The table `generated` names beside each the real image that it resembles most, so that a mere copy
can be recognised. See docs/method.md, "What the model is for".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.autoencoder import models
from jobs.autoencoder.models import Model
from jobs.density import nearest_images
from jobs.density.nearest_images import NearestImages
from jobs.errors import JobError
from jobs.paths import safe_name
from jobs.runtime.console import abbreviated
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.settings.density import Generate
from jobs.warehouse import tables
from udfs import arrow
from udfs.density import generation, histogram, marginal, separable
from udfs.vectors.cosine import Matrix

VERSION = 1
LABELS = "SELECT DISTINCT label FROM rows ORDER BY label"
# Not `generated`, which is the table's folder: VACUUM deletes files there that no commit names.
FOLDER = "generated_images"
SHEET = "contact_sheet.png"
ROWS, COLUMNS = 200, 12  # classes, and images of a class, on the contact sheet
NAMED = 5  # classes that a message names
Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]  # (n, 64, 64, 3)


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a class.

    points: coordinates (n, axes). log_density: (n,), of the class at the points. latents: (n, d).
    """

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
    nearest = nearest_images.nearest(stage_run.read("latents"), latents)
    files = stage_run.warehouse.files.replace(FOLDER, files_of(pictures))
    table = tables.rows("generated", rows(drawn, nearest))
    stage_run.write(table, "generated", metadata={"files": files})
    stage_run.rows["generated"] = sum(len(of_class.points) for of_class in drawn.values())
    stage_run.summary = summary(drawn, nearest)


def model_id(run: RunContext) -> str:
    """The id of the model that decodes. Raises MissingError if it is not trained yet."""
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
    """Whether the table has this fingerprint and all its files are still there."""
    commit = run.warehouse.newest("generated", "generate")
    if commit is None or commit.fingerprint != fingerprint:
        return False
    pictures = [name for name in run.warehouse.files.list(FOLDER) if name.endswith(".png")]
    return len(pictures) == commit.metadata.get("files")


def check_fits(stage_run: StageRun, model: Model) -> None:
    """Raise JobError if axes and latents do not belong to the model that is to decode them."""
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


def mistakes(run: RunContext) -> list[str]:
    """Return the classes of `generate.labels` that the table `images` does not have."""
    named = run.settings.generate.labels
    if not named:
        return []
    labels = [row["label"] for row in run.warehouse.query("images", LABELS)]
    missing = [label for label in named if label not in labels]
    if not missing:
        return []
    return [
        f"generate.labels: the table images has no class {abbreviated(missing)}; it has "
        f"{abbreviated(labels)}"
    ]


def chosen(axes: DataFrame, labels: Sequence[str]) -> list[str]:
    """Return the classes to draw from: `labels`, or if there are none all classes that have axes.

    Raises JobError if one of the labels has no axes, or no class has any.
    """
    classes = sorted(row.label for row in axes.select("label").distinct().collect())
    missing = [label for label in labels if label not in classes]
    if missing or not classes:
        rest = f" and {len(classes) - NAMED:,} more" if len(classes) > NAMED else ""
        raise JobError(
            f"generate.labels: no axes of {', '.join(missing) or 'any class'}: a class needs two "
            f"images that differ; there are axes of {', '.join(classes[:NAMED]) or 'none'}{rest}"
        )
    return sorted(labels) or classes


def draw(stage_run: StageRun, labels: Sequence[str], settings: Generate) -> dict[str, Drawn]:
    """Draw `settings.count` points from the density of each class before removal."""
    of_classes = F.col("label").isin(list(labels))
    marginals = stored_marginals(stage_run, of_classes)
    table = stage_run.read("axes").where(of_classes).orderBy("label", "component").toArrow()
    drawn = {}
    for label, axes in arrow.groups(table.to_batches(), "label"):
        model = separable.Separable(marginals[label])
        sampled = settings.components or len(model.marginals)
        rng = generation.class_generator(settings.seed, label)
        points = generation.points(model, settings.count, sampled, rng)
        mean = arrow.matrix(axes.column("mean"))[0]
        latents = generation.latents(points, mean, arrow.matrix(axes.column("axis")))
        drawn[label] = Drawn(points, model.log_density(points), latents)
    return drawn


def stored_marginals(stage_run: StageRun, of_classes: Column) -> dict[str, list[marginal.Marginal]]:
    """Read the marginals of classes before removal, in order of component, by label."""
    marginals: dict[str, list[marginal.Marginal]] = {}
    stored = stage_run.read("density").where((F.col("rule") == "none") & of_classes)
    for row in stored.orderBy("label", "component").collect():
        cells = histogram.Histogram(row.origin, row.step, np.array(row.counts))
        marginals.setdefault(row.label, []).append(marginal.Marginal(cells))
    return marginals


def decode(stage_run: StageRun, model: Model, drawn: dict[str, Drawn]) -> dict[str, Pixels]:
    """Decode the latents of each class on the driver, on the device of `train.device`."""
    from udfs.autoencoder import inference
    from udfs.autoencoder.device import select_device
    from udfs.autoencoder.model import SIDE

    device = select_device(stage_run.settings.train.device)
    decoder = inference.decoder(model.weights, device=device, batch=stage_run.settings.encode.batch)
    return {
        label: decoder(of_class.latents).reshape(-1, SIDE, SIDE, 3)
        for label, of_class in drawn.items()
    }


def rows(drawn: dict[str, Drawn], nearest: NearestImages) -> list[tuple[object, ...]]:
    """The rows of the table `generated`."""
    return [
        (
            label,
            number,
            f"{FOLDER}/{file_name(label, number)}",
            float(density),
            *nearest.get((label, number), (None, None)),
            point.tolist(),
        )
        for label, of_class in drawn.items()
        for number, (point, density) in enumerate(
            zip(of_class.points, of_class.log_density, strict=True), 1
        )
    ]


def files_of(pictures: dict[str, Pixels]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each image's file, and last of the contact sheet."""
    from udfs.report import charts  # matplotlib takes long to import

    for label, of_class in pictures.items():
        for number, picture in enumerate(of_class, 1):
            yield file_name(label, number), charts.picture_png(Image.fromarray(picture))
    first = [(label, of_class[:COLUMNS]) for label, of_class in list(pictures.items())[:ROWS]]
    yield SHEET, charts.contact_sheet(first)


def file_name(label: str, number: int) -> str:
    """The path of an image below FOLDER."""
    return f"{folder_name(label)}/{number:03}.png"


def folder_name(label: str) -> str:
    """Turn a label into a folder's name (`safe_name`), which is not that of the contact sheet."""
    name = safe_name(label)
    return name.replace(".", "%2E") if name == SHEET else name


def summary(drawn: dict[str, Drawn], nearest: NearestImages) -> str:
    """How many images there are, and how similar they are to real ones."""
    images = sum(len(of_class.points) for of_class in drawn.values())
    similarity = [value for _, value in nearest.values()]
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
    example_flags="--set generate.count=12",
    message_if_disabled="set generate.count, such as 20: new images of each class",
    is_current=is_written,
    model_id=model_id,
    mistakes=mistakes,
)
