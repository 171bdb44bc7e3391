"""Draws the figures of the report: files as PNG and SVG, and data URIs for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from jobs.report.summary import Summary
from jobs.settings.duplicates import RAW
from jobs.warehouse.files import Files
from udfs.evaluation import regression
from udfs.report import charts

PREFIXES = ("kurtosis_", "marginals.", "similarities.")  # of the names of the files
MOST_EMBEDDED = 2_500_000  # bytes of all figures in the page; those of component 1 come first
MOST_SHEET = 1_200_000  # bytes of the contact sheet in the page
SHEET_ROWS, ROW = 60, 70  # rows of the sheet in the page, a class each; px of a row
MOST_PANELS = 4  # classes in an overview figure: the largest


def draw(summary: Summary, files: Files, folder: str) -> list[dict[str, Any]]:
    """Draw kurtosis before and after removal for each rule and component, and write the files.

    Those of component 1 are the paper's figures 1–3. Figures of thresholds that are no longer
    computed are deleted. In the result `uri` is empty if the page has no room for a figure.
    """
    for name in files.list(folder):
        if name.removeprefix(f"{folder}/").startswith(PREFIXES):
            files.delete(name)
    figures = [_kurtosis(summary, line, files, folder) for line in summary.lines]
    left = MOST_EMBEDDED
    for figure in sorted(figures, key=lambda figure: int(figure["component"])):
        left -= len(figure["uri"])
        if left < 0:
            figure["uri"] = ""
    return figures


def _kurtosis(
    summary: Summary, line: Mapping[str, Any], files: Files, folder: str
) -> dict[str, Any]:
    """Draw the classes and their regression line; one of Summary.lines tells rule and component."""
    points = [
        point
        for point in summary.points
        if all(point[key] == line[key] for key in ("rule", "space", "component"))
        and point["kurtosis_before"] is not None
        and point["kurtosis_after"] is not None
        and min(point["n_before"], point["n_after"]) >= regression.MINIMUM_IMAGES
    ]
    fitted = None if line["slope"] is None else (line["slope"], line["intercept"])
    figure = charts.kurtosis_regression(
        [point["kurtosis_before"] for point in points],
        [point["kurtosis_after"] for point in points],
        [point["label"] for point in points],
        fitted,
        None if line["control_low"] is None else (line["control_low"], line["control_high"]),
        f"Component {line['component']} at {line['title']}",
    )
    name = f"{folder}/kurtosis_component{line['component']}_{_named(line)}"
    slope = "no line" if fitted is None else f"slope {fitted[0]:.2f}, intercept {fitted[1]:.2f}"
    return {
        "component": line["component"],
        "uri": _store(figure, files, name),
        "alt": f"Excess kurtosis of {len(points)} classes before and after removal, component "
        f"{line['component']}, {line['title']}: {slope}",
    }


def _named(line: Mapping[str, Any]) -> str:
    """Return rule and space for a file's name: `T0.95`, `keep_share0.5_whitened`."""
    rule = str(line["rule"]).replace("fixed:", "T").replace(":", "")
    return rule if line["space"] == RAW else f"{rule}_{line['space']}"


def _store(figure: Figure, files: Files, name: str) -> str:
    """Write a figure as SVG and PNG; return the SVG as a data URI."""
    drawn = charts.svg(figure).encode("utf-8")
    files.write(f"{name}.svg", drawn)
    files.write(f"{name}.png", charts.png(figure))
    coded = base64.b64encode(drawn).decode("ascii")
    return f"data:image/svg+xml;base64,{coded}"


def overviews(data: Mapping[str, Any], files: Files, folder: str) -> None:
    """Draw the marginal densities and the similarities of the largest classes, a figure of each.

    data: that of the page (page_data.page_data).
    """
    sizes = data["images"]
    largest = sorted(range(data["classes"]), key=lambda index: -sizes[index])[:MOST_PANELS]
    labels, published = data["labels"], data["published"]
    marginals = [
        (labels[row[0]], row[1], row[2], row[3], row[4], row[5].get(published))
        for index in largest
        for row in data["densities"]
        if row[0] == index
    ]
    if marginals:
        _store(charts.marginals(marginals), files, f"{folder}/marginals")
    similarities = [
        (labels[row["class"]], row["space"], row["origin"], row["step"], row["counts"])
        for index in largest
        for row in data["similarities"]
        if row["class"] == index
    ]
    if similarities:
        _store(charts.similarities(similarities), files, f"{folder}/similarities")


def contact_sheet(png: bytes) -> dict[str, Any]:
    """Return the first rows of the contact sheet of generated images as JPEG for the page."""
    with Image.open(io.BytesIO(png)) as image:
        whole = image.convert("RGB")
    rows = (whole.height - charts.GAP) // ROW
    shown = whole.crop((0, 0, whole.width, min(whole.height, charts.GAP + SHEET_ROWS * ROW)))
    target = io.BytesIO()
    shown.save(target, format="jpeg", quality=80, optimize=True)
    if target.tell() > MOST_SHEET:
        target = io.BytesIO()
        shown.save(target, format="jpeg", quality=40, optimize=True)
    uri = f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode('ascii')}"
    return {
        "uri": uri,
        "width": shown.width,
        "height": shown.height,
        "rows": SHEET_ROWS,
        "cut": rows > SHEET_ROWS,
    }
