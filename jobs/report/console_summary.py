"""Prints the summary of a pipeline on the console, from the report's `summary.json`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from jobs.paths import is_mounted
from jobs.runtime.console import percentage
from jobs.runtime.run import Run
from jobs.settings.duplicates import GRADIENTS, Rule, usual_space

# Paths that are the same in a URI: below others Polars' own reader of Delta finds no file
# (docs/tables.md names what it stumbles over).
POLARS_FINDS = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@-]*")


def summarise(run: Run) -> None:
    """Print what a pipeline kept at each rule, what was rejected, and where the results lie."""
    summary = json.loads(run.warehouse.files.read("report/summary.json"))
    lines = ["", f"  {summary['images']:,} images in {summary['classes']:,} classes"]
    width = max(len(rule["title"]) for rule in summary["rules"])
    lines += [_kept(summary, rule, width) for rule in summary["rules"]]
    lines += [_known_copies(row, width) for row in summary["truth"]]
    if summary["zero_latents"] and summary["published_space"] != GRADIENTS:
        lines.append(
            f"  {summary['zero_latents']:,} images have a latent of zeros alone: they all stay"
        )
    if summary["flat"]:
        lines.append(
            f"  {summary['flat']:,} images show one colour or next to nothing (images.levels): "
            "of these only copies with the same pixels are removed"
        )
    if summary["rejected"]:
        codes = ", ".join(f"{row['code']} {row['files']:,}" for row in summary["codes"])
        files = "1 file" if summary["rejected"] == 1 else f"{summary['rejected']:,} files"
        lines.append(f"  {files} could not be used: {codes} (table rejects)")
    seconds = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.seconds.items())
    lines += [f"  seconds: {seconds}", "", *_results(run), *_next_command(run, summary)]
    for line in lines:
        run.console.line(line)


def _kept(summary: dict[str, Any], rule: dict[str, Any], width: int) -> str:
    """Return how many images stay at a rule, and whether its selection was published."""
    published = (rule["rule"], rule["space"]) == (summary["published"], summary["published_space"])
    mark = "  ← curated" if published else ""
    if published and summary["published_kept"] < rule["kept"]:  # publish left out anomalies
        mark += f" ({summary['published_kept']:,} of them)"
    removed = summary["images_encoded"] - rule["kept"]
    return (
        f"    {rule['title']:<{width}} {rule['kept']:>9,} stay ({percentage(rule['share'], 1)}), "
        f"{removed:,} are near-copies of one that stays{mark}"
    )


def _known_copies(row: dict[str, Any], width: int) -> str:
    """Return precision and recall of a rule against the known copies."""
    recall = ", ".join(f"{kind} {percentage(share)}" for kind, share in row["recall"].items())
    precision = "–" if row["precision"] is None else percentage(row["precision"], 1)
    return f"    {row['title']:<{width}} known copies: precision {precision}; found: {recall}"


def _results(run: Run) -> list[str]:
    """Return where the report and the curated table lie."""
    return [
        f"  report    {run.report_path}",
        f"  curated   {run.warehouse.path('curated')}  ({_read_by(run.warehouse.path('curated'))})",
    ]


def _read_by(path: str) -> str:
    """Say what reads a table: in file systems of Hadoop's this depends on the program's set-up."""
    if not is_mounted(path):
        return "a Delta table"
    if POLARS_FINDS.fullmatch(path):
        return "a Delta table: Spark, delta-rs, Polars, DuckDB and pandas read it"
    return "a Delta table: Polars reads it by read_delta(…, use_pyarrow=True)"


def _next_command(run: Run, summary: dict[str, Any]) -> list[str]:
    """Return the command that publishes at another rule, if one was computed."""
    others = [rule["rule"] for rule in summary["rules"] if rule["rule"] != summary["published"]]
    if not others:
        return []
    warehouse = shlex.quote(_relative(run.warehouse.root))
    space = summary["published_space"]
    usual = usual_space([Rule.of(others[0])])
    flag = "" if space == usual else f" --set publish.space={space}"
    return [
        f"  next      ./spark-submit.sh publish --warehouse {warehouse} "
        f"--set publish.rule={others[0]}{flag}"
    ]


def _relative(path: str) -> str:
    """Return a path below the working directory without the latter; another path as it is."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
