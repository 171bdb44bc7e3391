"""The page: one file of HTML that asks for nothing (docs/method.md names what it shows)."""

from __future__ import annotations

import base64
import hashlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from jobs.report import page_data
from jobs.report.findings import Findings, audited
from jobs.report.summary import Facts
from udfs.evaluation import regression

FOLDER = "assets"  # the templates, the style, the scripts
SCRIPTS = (
    "elements.js",
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
UNSAFE = "<>&\u2028\u2029"  # what could end a script, and line ends of old JavaScript


def _decimal(number: float, digits: int) -> str:
    """With a true minus, and none before zero."""
    return f"{number:z.{digits}f}".replace("-", "−")


FILTERS = {
    "thousands": lambda number: f"{number:,}",
    "percent": lambda share: f"{100 * share:.1f}\u00a0%",
    "two": lambda number: _decimal(number, 2),
    "three": lambda number: _decimal(number, 3),
    "four": lambda number: _decimal(number, 4),
}


def asset(name: str) -> str:
    """A file of the page, from the folder or from the zip that spark-submit ships."""
    source = pkgutil.get_data("jobs.report", f"{FOLDER}/{name}")
    assert source is not None
    return source.decode("utf-8")


def script() -> str:
    """The page's scripts as one, in a scope of its own."""
    parts = "\n".join(asset(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def embedded(value: Any) -> str:
    """JSON that is safe in a script element: no name in it can end or comment it out."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in UNSAFE:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def policy(style: str, code: str) -> str:
    """A Content-Security-Policy: this style, this script, pictures in the page, no network."""
    hashes = [_hash(text) for text in (style, code)]
    return (
        f"default-src 'none'; img-src data:; style-src '{hashes[0]}'; script-src '{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def render(
    facts: Facts,
    findings: Findings,
    data: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    sheet: Mapping[str, Any] | None,
    fingerprint: str,
) -> str:
    """The page: self-contained, no request leaves it, at most MOST_BYTES.

    data: what the script gets (content.gather, with `pictures`, of which the last are left out
    where the page would be too large); sheet: the contact sheet of generated images, if any.
    """
    names = {"facts": facts, "findings": findings, "figures": figures, "sheet": sheet}
    text = _rendered(data, names, fingerprint)
    over = len(text.encode("utf-8")) - MOST_BYTES
    if over > 0:
        pictures = list(data["pictures"])
        for place in range(len(pictures) - 1, -1, -1):
            if over <= 0:
                break
            over -= len(pictures[place])
            pictures[place] = ""
        text = _rendered({**data, "pictures": pictures}, names, fingerprint)
    return text


def _rendered(data: Mapping[str, Any], names: Mapping[str, Any], fingerprint: str) -> str:
    style, code = asset("page.css"), script()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(asset),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    calibration = names["findings"].of("calibration")
    return environment.get_template("report.html.j2").render(
        **names,
        states=names["findings"].states,
        audited=[audited(calibration, rule) for rule in names["facts"].rules],
        calibration=calibration,
        classes=page_data.classes(names["facts"]),
        data=data,
        embedded=embedded,
        fingerprint=fingerprint,
        minimum=regression.MINIMUM_IMAGES,
        style=style,
        code=code,
        policy=policy(style, code),
    )
