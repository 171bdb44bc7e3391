"""report: what the tables have to show, as one page, as figures and on the console."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobs.report import (
    findings,
    gallery,
    ground_truth,
    optional_tables,
    page_data,
    provenance,
    summary,
    thumbnails,
)
from jobs.runtime.stage import RunContext, Stage, StageRun, written_by
from jobs.warehouse.files import Files

VERSION = 3
FOLDER = "report"
HEAD = 1000  # bytes of the page, within which its fingerprint stands
SHEET = "generated_images/contact_sheet.png"


def main(stage_run: StageRun) -> None:
    """Every table → report/report.html, figures as PNG and SVG, summary.json; the console."""
    write(stage_run)


def reads(run: RunContext) -> dict[str, str]:
    """The tables of every pipeline, as the last stage leaves them, and optional ones there are."""
    decisions = ("images", "latents", "selection", "thresholds", "curated")
    effects = ("effect", "regression", "dependence")
    always = written_by(*decisions, *effects, rejects="encode", density="estimate")
    return always | optional_tables.present(run)


def depends(run: RunContext) -> dict[str, Any]:
    """The known copies that the selection is held against, and how many pictures are shown."""
    settings = run.settings.report
    return {"truth": ground_truth.mark(settings.truth), "pictures": settings.pictures}


def is_written(run: RunContext, fingerprint: str) -> bool:
    """Whether the page there is of this fingerprint."""
    return _is_written(run.warehouse.files, fingerprint)


def write(stage_run: StageRun) -> None:
    """Gather, draw, render; the page comes last, so a report is whole or the old one."""
    from jobs.report import figures, render  # they load matplotlib, which takes long

    stage_run.run.run_log.settle()
    ended = provenance.newest(stage_run.run)
    known = summary.gather(stage_run, ended)
    found = findings.gather(
        stage_run, optional_tables.states(stage_run.run, stage_run.reads, provenance.done(ended))
    )
    data = shown(stage_run, known, found)
    files = stage_run.warehouse.files
    drawn = figures.draw(known, files, FOLDER)
    figures.overviews(data, files, FOLDER)
    has_sheet = found.states["generated"].there and files.exists(SHEET)
    sheet = figures.sheet(files.read(SHEET)) if has_sheet else None
    text = render.render(known, found, data, drawn, sheet, stage_run.fingerprint)
    told = json.dumps(asdict(known), default=str, indent=1)
    files.write(f"{FOLDER}/summary.json", told.encode())
    files.write(f"{FOLDER}/report.html", text.encode())
    stage_run.rows["images_shown"] = sum(map(bool, data["pictures"]))
    stage_run.summary = files.path(f"{FOLDER}/report.html")


def shown(stage_run: StageRun, known: summary.Facts, found: findings.Findings) -> dict[str, Any]:
    """What the page's script gets: groups, lists, distributions, and the pictures of all these."""
    from jobs.report import class_plots  # it loads matplotlib, which takes long

    most = stage_run.settings.report.pictures
    keys = [(rule["rule"], rule["space"]) for rule in known.rules]
    budgets = gallery.budgets(keys, known.published_rule, most)
    labels = [row["label"] for row in page_data.classes(known)]
    members = gallery.members(most, len(labels))
    groups = gallery.gather(stage_run.read("selection"), budgets, known.classes, members)
    densities = class_plots.densities(stage_run, labels, known.rules, known.published_rule)
    similar = class_plots.similarities(stage_run, labels)
    pictures = thumbnails.Album(most)
    data = page_data.gather(known, groups, found, densities, similar, pictures)
    coded = thumbnails.coded(stage_run.read("images"), pictures.names[:most])
    return data | {"pictures": pictures.pictures(coded), "pairs_mark": _pairs_mark(stage_run)}


def _pairs_mark(stage_run: StageRun) -> str:
    """Names the pairs that were drawn: labels given in a browser belong to these."""
    commit = stage_run.warehouse.newest("pairs") if "pairs" in stage_run.reads else None
    return commit.fingerprint[:16] if commit else ""


def _is_written(files: Files, mark: str) -> bool:
    try:
        head = files.read(f"{FOLDER}/report.html")[:HEAD]
    except OSError:
        return False
    return f'content="{mark}"'.encode() in head and files.exists(f"{FOLDER}/summary.json")


STAGE = Stage(
    "report",
    main,
    reads=reads,
    depends=depends,
    version=VERSION,
    is_current=is_written,
    imports=("jobs.report.figures", "jobs.report.class_plots", "jobs.report.render"),
)
