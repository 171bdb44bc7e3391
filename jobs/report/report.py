"""report: what the tables have to show, as one page, as figures and on the console."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobs.report import (
    class_plots,
    figures,
    findings,
    gallery,
    ground_truth,
    optional_tables,
    page_data,
    provenance,
    render,
    summary,
    thumbnails,
)
from jobs.runtime.run import Run, Work
from jobs.warehouse.files import Files

VERSION = 3
READS = {
    "images": "ingest",
    "latents": "encode",
    "rejects": "encode",
    "selection": "prune",
    "thresholds": "prune",
    "curated": "publish",
    "density": "estimate",
    "effect": "estimate",
    "regression": "estimate",
    "dependence": "estimate",
}
FOLDER = "report"
HEAD = 1000  # bytes of the page, within which its fingerprint stands
SHEET = "generated_images/contact_sheet.png"


def main(run: Run) -> None:
    """Every table → report/report.html, figures as PNG and SVG, summary.json; the console."""
    settings = run.settings.report
    with run.stage(
        "report",
        reads=READS | optional_tables.present(run),
        depends={"truth": ground_truth.mark(settings.truth), "pictures": settings.pictures},
        version=VERSION,
        finished=lambda mark: _is_written(run.warehouse.files, mark),
    ) as work:
        if not work.finished:
            write(work)


def write(work: Work) -> None:
    """Gather, draw, render; the page comes last, so a report is whole or the old one."""
    work.run.ledger.settle()
    ended = provenance.newest(work.run)
    known = summary.gather(work, ended)
    found = findings.gather(
        work, optional_tables.states(work.run, work.reads, provenance.done(ended))
    )
    data = shown(work, known, found)
    files = work.run.warehouse.files
    drawn = figures.draw(known, files, FOLDER)
    figures.overviews(data, files, FOLDER)
    has_sheet = found.states["generated"].there and files.exists(SHEET)
    sheet = figures.sheet(files.read(SHEET)) if has_sheet else None
    text = render.render(known, found, data, drawn, sheet, work.fingerprint)
    told = json.dumps(asdict(known), default=str, indent=1)
    files.write(f"{FOLDER}/summary.json", told.encode())
    files.write(f"{FOLDER}/report.html", text.encode())
    work.rows["images_shown"] = sum(map(bool, data["pictures"]))
    work.summary = files.path(f"{FOLDER}/report.html")


def shown(work: Work, known: summary.Facts, found: findings.Findings) -> dict[str, Any]:
    """What the page's script gets: groups, lists, distributions, and the pictures of all these."""
    most = work.run.settings.report.pictures
    keys = [(rule["rule"], rule["space"]) for rule in known.rules]
    budgets = gallery.budgets(keys, known.published_rule, most)
    labels = [row["label"] for row in page_data.classes(known)]
    members = gallery.members(most, len(labels))
    groups = gallery.gather(work.read("selection"), budgets, known.classes, members)
    densities = class_plots.densities(work, labels, known.rules, known.published_rule)
    similar = class_plots.similarities(work, labels)
    pictures = thumbnails.Album(most)
    data = page_data.gather(known, groups, found, densities, similar, pictures)
    coded = thumbnails.coded(work.read("images"), pictures.names[:most])
    return data | {"pictures": pictures.pictures(coded), "pairs_mark": _pairs_mark(work)}


def _pairs_mark(work: Work) -> str:
    """Names the pairs that were drawn: labels given in a browser belong to these."""
    commit = work.run.warehouse.newest("pairs") if "pairs" in work.reads else None
    return commit.fingerprint[:16] if commit else ""


def _is_written(files: Files, mark: str) -> bool:
    try:
        head = files.read(f"{FOLDER}/report.html")[:HEAD]
    except OSError:
        return False
    return f'content="{mark}"'.encode() in head and files.exists(f"{FOLDER}/summary.json")
