"""report: what the tables have to show, as one page, as figures and on the console."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
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
HEAD = 1000  # characters of the page, within which its fingerprint stands
SHEET = "generated_images/contact_sheet.png"


def main(run: Run) -> None:
    """Every table → report/report.html, figures as PNG and SVG, summary.json; the console."""
    folder = Path(run.warehouse.root, "report")
    settings = run.settings.report
    with run.stage(
        "report",
        reads=READS | optional_tables.present(run),
        depends={"truth": ground_truth.mark(settings.truth), "pictures": settings.pictures},
        version=VERSION,
        finished=lambda mark: _is_written(folder, mark),
    ) as work:
        if not work.finished:
            write(work, folder)


def write(work: Work, folder: Path) -> None:
    """Gather, draw, render; the page comes last, so a report is whole or the old one."""
    work.run.ledger.settle()
    ended = provenance.newest(work.run)
    known = summary.gather(work, ended)
    found = findings.gather(
        work, optional_tables.states(work.run, work.reads, provenance.done(ended))
    )
    data = shown(work, known, found)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures.draw(known, folder)
    figures.overviews(data, folder)
    there = found.states["generated"].there
    sheet = figures.sheet(Path(work.run.warehouse.root, SHEET)) if there else None
    text = render.render(known, found, data, drawn, sheet, work.fingerprint)
    _replace(folder / "summary.json", json.dumps(asdict(known), default=str, indent=1))
    _replace(folder / "report.html", text)
    work.rows["images_shown"] = sum(map(bool, data["pictures"]))
    work.summary = str(folder / "report.html")


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


def _is_written(folder: Path, mark: str) -> bool:
    try:
        head = (folder / "report.html").read_text(encoding="utf-8")[:HEAD]
    except OSError:
        return False
    return f'content="{mark}"' in head and (folder / "summary.json").exists()


def _replace(path: Path, text: str) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
