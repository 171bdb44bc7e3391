"""The stage `report`: shows the content of the tables as a page and as figures.

It writes report/report.html, the figures as PNG and SVG, and summary.json, from which the last
lines of a pipeline on the console are made.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from functools import partial
from typing import Any

from jobs.paths import mounted
from jobs.report import (
    gallery,
    ground_truth,
    optional_tables,
    proofs,
    provenance,
    table_states,
    thumbnails,
)
from jobs.report.optional_tables import OptionalTables
from jobs.report.page_data import page_data, shown_classes
from jobs.report.summary import Summary, summarise
from jobs.report.table_states import State
from jobs.runtime.concurrently import gather
from jobs.runtime.stage import NamedValues, RunContext, Stage, StageRun, written_by
from jobs.warehouse.files import LocalFiles

VERSION = 6
FOLDER = "report"
HEAD = 1000  # the fingerprint stands within so many bytes of the page
CONTACT_SHEET = "generated_images/contact_sheet.png"


def main(stage_run: StageRun) -> None:
    """Read, draw and render; the page is written last, so it is either complete or the old one."""
    from jobs.report import figures, render  # they load matplotlib, which takes long

    stage_run.run.run_log.settle()
    last_runs = provenance.last_runs(stage_run.run)
    summary = summarise(stage_run, last_runs)
    optional = optional_tables.load(stage_run, states(stage_run.run))
    files = stage_run.warehouse.files
    data, drawn = gather(  # Spark reads while matplotlib draws
        partial(script_data, stage_run, summary, optional),
        partial(figures.draw, summary, files, FOLDER),
    )
    figures.overviews(data, files, FOLDER)
    has_sheet = optional.states["generated"].has_rows and files.exists(CONTACT_SHEET)
    sheet = figures.contact_sheet(files.read(CONTACT_SHEET)) if has_sheet else None
    page = render.render(summary, optional, data, drawn, sheet, stage_run.fingerprint)
    numbers = json.dumps(asdict(summary), default=str, indent=1)
    files.write(f"{FOLDER}/summary.json", numbers.encode())
    files.write(f"{FOLDER}/report.html", page.encode())
    stage_run.rows["images_shown"] = sum(map(bool, data["pictures"]))
    stage_run.summary = stage_run.run.report_path


def reads(run: RunContext) -> dict[str, str]:
    """Return the tables that are read: those of every pipeline, and complete optional ones.

    Each comes with the stage that writes it last.
    """
    decisions = ("images", "latents", "selection", "thresholds", "curated")
    effects = ("effect", "regression", "dependence")
    always = written_by(*decisions, *effects, rejects="encode", density="estimate")
    return always | proofs.reads(run) | optional_tables.complete(run)


def depends(run: RunContext) -> dict[str, Any]:
    """Return what the page depends on beside its inputs.

    It is the CSV of known copies, the number of pictures, and which tables are out of date.
    """
    settings = run.settings.report
    stale = {table: list(state.commands) for table, state in states(run).items() if state.is_stale}
    return {
        "truth": ground_truth.file_identity(settings.truth),
        "pictures": settings.pictures,
        "stale": NamedValues({"report.stale": stale}, hashed=stale),
    }


def before(run: RunContext) -> None:
    """Raise JobError if the CSV of known copies cannot be read."""
    if run.settings.report.truth:
        ground_truth.read_known_images(run.settings.report.truth)


def states(run: RunContext) -> dict[str, State]:
    """Return the state of each table that the page shows or could show."""
    return optional_tables.states(run, reads(run))


def is_written(run: RunContext, fingerprint: str) -> bool:
    """Return whether the page in the warehouse has this fingerprint, and the summary exists."""
    files = run.warehouse.files
    try:
        head = files.read(f"{FOLDER}/report.html")[:HEAD]
    except OSError:
        return False
    is_same = f'content="{fingerprint}"'.encode() in head
    return is_same and files.exists(f"{FOLDER}/summary.json")


def finish(stage_run: StageRun) -> None:
    """Copy the report to where --report asks for it, and warn of tables that are out of date."""
    copy(stage_run)
    run = stage_run.run
    for line in table_states.lines(states(run), shlex.quote(run.settings.warehouse)):
        run.console.warn(line)


def copy(stage_run: StageRun) -> None:
    """Copy the report to the folder of the driver that --report names, if it does.

    A browser cannot open a page that lies in HDFS or in an object store.
    """
    if stage_run.settings.report_folder:
        files = stage_run.warehouse.files
        folder = LocalFiles(mounted(stage_run.settings.report_folder))
        for name in files.list(FOLDER):
            folder.write(name.removeprefix(f"{FOLDER}/"), files.read(name))


def script_data(stage_run: StageRun, summary: Summary, optional: OptionalTables) -> dict[str, Any]:
    """Return what the page's script reads: groups, lists, plots, and the pictures of all these."""
    from jobs.report import class_plots  # it loads matplotlib, which takes long

    most = stage_run.settings.report.pictures
    labels = [row["label"] for row in shown_classes(summary)]
    groups = sampled_groups(stage_run, summary, len(labels))
    densities = class_plots.densities(stage_run, labels, summary.rules, summary.published_index)
    similarities = class_plots.similarities(stage_run, labels)
    images = thumbnails.Thumbnails(most)
    data = page_data(summary, groups, optional, densities, similarities, images)
    encoded = thumbnails.encode(stage_run.read("images"), images.image_ids[:most])
    known = proofs.of_pairs(stage_run, optional.of("pairs"), encoded) | proofs.of_groups(groups)
    aspects = {image_id: picture.aspect for image_id, picture in encoded.items()}
    return data | {
        "pictures": images.pictures(encoded),
        "proofs": proofs.rows(data, known, aspects),
        "pairs_id": _pairs_id(stage_run),
    }


def sampled_groups(
    stage_run: StageRun, summary: Summary, classes: int
) -> dict[tuple[str, str], gallery.Groups]:
    """Return the groups that the gallery may show, by rule and space; classes: of the page."""
    most = stage_run.settings.report.pictures
    keys = [(rule["rule"], rule["space"]) for rule in summary.rules]
    budgets = gallery.budgets(keys, summary.published_index, most)
    members = gallery.members_per_group(most, classes)
    return gallery.sample_groups(stage_run.read("selection"), budgets, summary.classes, members)


def _pairs_id(stage_run: StageRun) -> str:
    """Return what identifies the drawn pairs: a browser keeps the labels of these alone."""
    commit = stage_run.warehouse.newest("pairs") if "pairs" in stage_run.reads else None
    return commit.fingerprint[:16] if commit else ""


STAGE = Stage(
    "report",
    main,
    reads=reads,
    depends=depends,
    version=VERSION,
    is_current=is_written,
    before=before,
    afterwards=finish,
    imports=("jobs.report.figures", "jobs.report.class_plots", "jobs.report.render"),
)
