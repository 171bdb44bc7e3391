"""Renders the page: one file of HTML with style, script, data and pictures in it."""

from __future__ import annotations

import base64
import hashlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from jobs.report.optional_tables import OptionalTables, precision_text
from jobs.report.page_data import shown_classes
from jobs.report.summary import Summary
from udfs.evaluation import regression

FOLDER = "assets"  # of the templates, the style and the scripts
SCRIPTS = (
    "elements.js",
    "overlay.js",
    "viewer.js",
    "paging.js",
    "explorer.js",
    "gallery.js",
    "lists.js",
    "labelling.js",
    "classes.js",
    "start.js",
)
MOST_BYTES = 19_500_000  # of a page
UNSAFE = "<>&\u2028\u2029"  # could end the script element, or a line in old JavaScript


def _decimal(number: float, digits: int) -> str:
    """Return a number with a true minus sign, and none before zero."""
    return f"{number:z.{digits}f}".replace("-", "−")


FILTERS = {
    "thousands": lambda number: f"{number:,}",
    "percent": lambda share: f"{100 * share:.1f}\u00a0%",
    "two": lambda number: _decimal(number, 2),
    "three": lambda number: _decimal(number, 3),
    "four": lambda number: _decimal(number, 4),
}


def asset(name: str) -> str:
    """Return a file of assets/, from the folder or from the zip that spark-submit ships."""
    source = pkgutil.get_data("jobs.report", f"{FOLDER}/{name}")
    assert source is not None
    return source.decode("utf-8")


def script() -> str:
    """Return all scripts as one, in a scope of its own."""
    parts = "\n".join(asset(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def embedded(value: Any) -> str:
    """Return a value as JSON that no name in it can end or comment out in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in UNSAFE:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def policy(style: str, code: str) -> str:
    """Return a Content-Security-Policy that allows this style, this script and embedded pictures.

    It allows no request to the network.
    """
    hashes = [_hash(text) for text in (style, code)]
    return (
        f"default-src 'none'; img-src data:; style-src '{hashes[0]}'; script-src '{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """Return the sha256 of a text as a Content-Security-Policy writes it."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def render(
    summary: Summary,
    optional: OptionalTables,
    data: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    sheet: Mapping[str, Any] | None,
    fingerprint: str,
) -> str:
    """Return the page, self-contained and of at most MOST_BYTES.

    Args:
        summary: the numbers of the report.
        optional: the rows of the optional tables.
        data: what the script reads (page_data.page_data), with `pictures`; the last of these are
            left out if the page would be too large.
        figures: the drawn figures (figures.draw).
        sheet: the contact sheet of generated images (figures.contact_sheet), if there is one.
        fingerprint: that of the stage, by which a later run finds the page up to date.

    """
    names = {"summary": summary, "optional": optional, "figures": figures, "sheet": sheet}
    text = _rendered(data, names, fingerprint)
    excess = len(text.encode("utf-8")) - MOST_BYTES
    if excess > 0:
        pictures = list(data["pictures"])
        for number in range(len(pictures) - 1, -1, -1):
            if excess <= 0:
                break
            excess -= len(pictures[number])
            pictures[number] = ""
        text = _rendered({**data, "pictures": pictures}, names, fingerprint)
    return text


def _rendered(data: Mapping[str, Any], names: Mapping[str, Any], fingerprint: str) -> str:
    """Return the page with this data, whatever its size; names: what the templates use."""
    style, code = asset("page.css"), script()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(asset),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    summary, optional = names["summary"], names["optional"]
    calibration = optional.of("calibration")
    return environment.get_template("report.html.j2").render(
        **names,
        states=optional.states,
        audited=[precision_text(calibration, rule) for rule in summary.rules],
        calibration=calibration,
        classes=shown_classes(summary),
        data=data,
        embedded=embedded,
        fingerprint=fingerprint,
        minimum=regression.MINIMUM_IMAGES,
        style=style,
        code=code,
        policy=policy(style, code),
    )
