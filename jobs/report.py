"""report: the paper's tables and figures for this data set, as a page and on the console."""

from __future__ import annotations

import base64
import json
import os
import pkgutil
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from jobs.common import command
from jobs.common.facts import Facts, gather
from jobs.common.run import Run, Work
from jobs.common.settings import RAW
from udfs import charts, effect

VERSION = 2
READS = {
    "images": "ingest",
    "latents": "encode",
    "rejects": "encode",
    "selection": "prune",
    "thresholds": "prune",
    "curated": "publish",
    "effect": "estimate",
    "regression": "estimate",
    "dependence": "estimate",
}


def main(run: Run) -> None:
    """Every table → report/report.html, figures as PNG and SVG, summary.json; the console."""
    folder = Path(run.warehouse.root, "report")
    with run.stage(
        "report",
        reads=READS,
        depends={"truth": _truth_mark(run.settings.report.truth)},
        version=VERSION,
        finished=lambda mark: _is_written(folder, mark),
    ) as work:
        if not work.finished:
            write(work, folder)


def write(work: Work, folder: Path) -> None:
    """Gather, draw, render; the page comes last, so a report is whole or the old one."""
    facts = gather(work)
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw(facts, folder)
    page = render(facts, figures, work.fingerprint)
    _replace(folder / "summary.json", json.dumps(asdict(facts), default=str, indent=1))
    _replace(folder / "report.html", page)
    work.summary = str(folder / "report.html")


def draw(facts: Facts, folder: Path) -> list[dict[str, Any]]:
    """Figures 1-3 and the same for the other components; files, and what the page embeds."""
    for old in folder.glob("kurtosis_*"):  # of thresholds that are no longer computed
        old.unlink()
    figures = []
    for line in facts.lines:
        points = [
            point
            for point in facts.points
            if all(point[key] == line[key] for key in ("rule", "space", "component"))
            and point["kurtosis_before"] is not None
            and point["kurtosis_after"] is not None
            and min(point["n_before"], point["n_after"]) >= effect.MINIMUM_IMAGES
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
        name = f"kurtosis_component{line['component']}_{_named(line)}"
        figures.append(_store(figure, folder, name) | {"component": line["component"]})
        slope = "no line" if fitted is None else f"slope {fitted[0]:.2f}, intercept {fitted[1]:.2f}"
        figures[-1]["alt"] = (
            f"Excess kurtosis of {len(points)} classes before and after removal, component "
            f"{line['component']}, {line['title']}: {slope}"
        )
    return figures


def _named(line: dict[str, Any]) -> str:
    """A rule and a space in a file's name: `T0.95`, `keep_share0.5_whitened`."""
    rule = str(line["rule"]).replace("fixed:", "T").replace(":", "")
    return rule if line["space"] == RAW else f"{rule}_{line['space']}"


def _store(figure: Figure, folder: Path, name: str) -> dict[str, Any]:
    drawn = charts.svg(figure)
    (folder / f"{name}.svg").write_text(drawn, encoding="utf-8")
    (folder / f"{name}.png").write_bytes(charts.png(figure))
    coded = base64.b64encode(drawn.encode("utf-8")).decode("ascii")
    return {"uri": f"data:image/svg+xml;base64,{coded}"}


def render(facts: Facts, figures: list[dict[str, Any]], fingerprint: str) -> str:
    """The page: self-contained, no request leaves it."""
    source = pkgutil.get_data("jobs", "report.html.j2")
    assert source is not None
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {
        "thousands": lambda number: f"{number:,}",
        "percent": lambda share: f"{share:.1%}",
        "two": lambda number: f"{number:.2f}",
        "three": lambda number: f"{number:.3f}",
    }
    return environment.from_string(source.decode("utf-8")).render(
        facts=facts, figures=figures, fingerprint=fingerprint, minimum=effect.MINIMUM_IMAGES
    )


def summarise(run: Run) -> None:
    """The end of a pipeline on the console: counts, rejects, where things lie, what to try."""
    folder = Path(run.warehouse.root, "report")
    facts = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    say = run.console.line
    say()
    say(f"  {facts['images']:,} images in {facts['classes']:,} classes")
    width = max(len(rule["title"]) for rule in facts["rules"])
    for rule in facts["rules"]:
        published = (rule["rule"], rule["space"]) == (facts["published"], facts["published_space"])
        chosen = "  ← curated" if published else ""
        if published and facts["published_kept"] < rule["kept"]:
            chosen += f" ({facts['published_kept']:,} of them)"  # without anomalies
        removed = facts["images_encoded"] - rule["kept"]
        say(
            f"    {rule['title']:<{width}} {rule['kept']:>9,} stay ({rule['share']:.1%}), "
            f"{removed:,} are near-copies of one that stays{chosen}"
        )
    for row in facts["truth"]:
        recall = ", ".join(f"{kind} {share:.0%}" for kind, share in row["recall"].items())
        precision = "–" if row["precision"] is None else f"{row['precision']:.1%}"
        say(f"    {row['title']:<{width}} known copies: precision {precision}; found: {recall}")
    if facts["zero_latents"]:
        say(f"  {facts['zero_latents']:,} images have a latent of zeros alone: they all stay")
    if facts["rejected"]:
        codes = ", ".join(f"{row['code']} {row['files']:,}" for row in facts["codes"])
        say(f"  {facts['rejected']:,} files could not be used: {codes} (table rejects)")
    say(f"  seconds: {', '.join(f'{name} {seconds:.1f}' for name, seconds in run.seconds.items())}")
    say()
    say(f"  report    {folder / 'report.html'}")
    say(f"  curated   {run.warehouse.path('curated')}  (a Delta table: read it from anywhere)")
    others = [rule["rule"] for rule in facts["rules"] if rule["rule"] != facts["published"]]
    if others:
        warehouse = shlex.quote(_relative(run.warehouse.root))
        say(
            f"  next      ./spark-submit.sh publish --warehouse {warehouse} "
            f"--set publish.rule={others[0]}"
        )


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _truth_mark(path: str) -> str:
    """Path, size and time of the truth file, so that a new one makes a new report."""
    if not path or not Path(path).exists():
        return path
    status = Path(path).stat()
    return f"{path}|{status.st_size}|{status.st_mtime_ns}"


def _is_written(folder: Path, mark: str) -> bool:
    try:
        head = (folder / "report.html").read_text(encoding="utf-8")[:400]
    except OSError:
        return False
    return f'content="{mark}"' in head and (folder / "summary.json").exists()


def _replace(path: Path, text: str) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    command.run("report", main)
