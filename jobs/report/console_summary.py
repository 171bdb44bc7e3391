"""The summary of a pipeline on the console."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from jobs.runtime.run import Run
from jobs.settings.duplicates import Prune


def summarise(run: Run) -> None:
    """The end of a pipeline on the console: counts, rejects, where things lie, what to try."""
    files = run.warehouse.files
    known = json.loads(files.read("report/summary.json"))
    say = run.console.line
    say()
    say(f"  {known['images']:,} images in {known['classes']:,} classes")
    width = max(len(rule["title"]) for rule in known["rules"])
    for rule in known["rules"]:
        published = (rule["rule"], rule["space"]) == (known["published"], known["published_space"])
        chosen = "  ← curated" if published else ""
        if published and known["published_kept"] < rule["kept"]:
            chosen += f" ({known['published_kept']:,} of them)"  # without anomalies
        removed = known["images_encoded"] - rule["kept"]
        say(
            f"    {rule['title']:<{width}} {rule['kept']:>9,} stay ({rule['share']:.1%}), "
            f"{removed:,} are near-copies of one that stays{chosen}"
        )
    for row in known["truth"]:
        recall = ", ".join(f"{kind} {share:.0%}" for kind, share in row["recall"].items())
        precision = "–" if row["precision"] is None else f"{row['precision']:.1%}"
        say(f"    {row['title']:<{width}} known copies: precision {precision}; found: {recall}")
    if known["zero_latents"]:
        say(f"  {known['zero_latents']:,} images have a latent of zeros alone: they all stay")
    if known["rejected"]:
        codes = ", ".join(f"{row['code']} {row['files']:,}" for row in known["codes"])
        say(f"  {known['rejected']:,} files could not be used: {codes} (table rejects)")
    say(f"  seconds: {', '.join(f'{name} {seconds:.1f}' for name, seconds in run.seconds.items())}")
    say()
    say(f"  report    {files.path('report/report.html')}")
    say(f"  curated   {run.warehouse.path('curated')}  (a Delta table: read it from anywhere)")
    others = [rule["rule"] for rule in known["rules"] if rule["rule"] != known["published"]]
    if others:
        warehouse = shlex.quote(_relative(run.warehouse.root))
        space = known["published_space"]
        named = "" if (space,) == Prune().space else f" --set publish.space={space}"
        say(
            f"  next      ./spark-submit.sh publish --warehouse {warehouse} "
            f"--set publish.rule={others[0]}{named}"
        )


def _relative(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
