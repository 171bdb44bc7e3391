"""Whether half of a set, and the rest as a new batch, keep the same images as one run over all.

The files of each class are halved in the order of their names, which is the order that greedy
pruning takes images in; so one run over all decides in the order of the two batches. The second
batch is pruned with `prune.mode = "append"`: its images alone are encoded and compared, with each
other and with what was kept. Of raw latents: whitening is fitted on the first batch and held, where
one run fits it on all.

    .venv/bin/python -m benchmarks.batches IMAGES --model WEIGHTS [--tile 64] [--stride 32]

IMAGES: a folder by class; WEIGHTS: a weights.safetensors, or its folder. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import polars as pl

from benchmarks.pipeline import submit
from benchmarks.results import recorded

SETTINGS = (
    "prune.space=raw",
    "prune.thresholds=[0.97, 0.95, 0.93]",
    "publish.space=raw",
    "publish.rule=fixed:0.95",
)
ROW = ("image_id", "label", "rule", "space", "threshold", "kept", "kept_id", "similarity")


def halves(root: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder by class, by the earlier and the later half of each class's names."""
    first: list[Path] = []
    rest: list[Path] = []
    for folder in sorted(each for each in root.iterdir() if each.is_dir()):
        found = (path for path in folder.rglob("*") if path.is_file())
        files = sorted(found, key=lambda path: path.relative_to(root).as_posix().encode())
        first += files[: len(files) // 2]
        rest += files[len(files) // 2 :]
    return first, rest


def copied(files: list[Path], root: Path, folder: Path) -> None:
    """The files where they lie below root, below another folder."""
    for path in files:
        place = folder / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def pipeline(
    name: str, given: argparse.Namespace, images: Path, warehouse: Path, *more: str
) -> None:
    """Run the pipeline on a folder and print the row of this run."""
    on_folder = argparse.Namespace(**vars(given) | {"images": str(images)})
    clock = time.monotonic()
    submit(on_folder, "pipeline", str(warehouse), [*SETTINGS, *more])
    seconds = time.monotonic() - clock
    count = sum(path.is_file() for path in images.rglob("*"))
    print(f"| {name} | {count:,} | {seconds:.1f} | {encoded(warehouse):,} |", flush=True)


def selection(warehouse: Path) -> pl.DataFrame:
    """The decisions, row for row in one order."""
    rows = pl.read_delta(str(warehouse / "selection"))
    return rows.select(ROW).sort("rule", "label", "image_id")


def encoded(warehouse: Path) -> int:
    """How many latents the newest commit of the table wrote."""
    newest = max((warehouse / "latents/_delta_log").glob("*.json"))
    actions = map(json.loads, newest.read_text().splitlines())
    added = [json.loads(action["add"]["stats"]) for action in actions if "add" in action]
    return sum(stats["numRecords"] for stats in added)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tile", type=int, default=64, help="px; 0: whole frames")
    parser.add_argument("--stride", type=int, default=32)
    given = parser.parse_args()
    first, rest = halves(given.images)
    print("| run | files | seconds | latents written |\n| --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="latent-dedup-") as folder:
        growing, batches, whole = (Path(folder, name) for name in ("images", "batches", "whole"))
        copied(first, given.images, growing)
        pipeline("first half", given, growing, batches)
        before = selection(batches)
        copied(rest, given.images, growing)
        pipeline("the rest, append", given, growing, batches, "prune.mode=append")
        pipeline("one run", given, growing, whole)
        print()
        after, once = selection(batches), selection(whole)
    told(before, after, once)


def told(before: pl.DataFrame, after: pl.DataFrame, once: pl.DataFrame) -> None:
    """What stays by rule, and how many rows are not the same."""
    print("| rule | images | kept of two batches | kept of one run | rows that differ |")
    print("| --- " * 5 + "|")
    for rule in sorted(once["rule"].unique(), reverse=True):
        mine, theirs = (rows.filter(pl.col("rule") == rule) for rows in (after, once))
        unlike = mine.join(theirs, on=ROW, how="anti", nulls_equal=True).height
        unlike += theirs.join(mine, on=ROW, how="anti", nulls_equal=True).height
        kept = (f"{rows['kept'].sum():,}" for rows in (mine, theirs))
        print(f"| {rule} | {theirs.height:,} | {' | '.join(kept)} | {unlike:,} |")
    held = before.join(after, on=ROW, how="anti", nulls_equal=True).height
    print(f"\nDecisions of the first batch that the second changed: {held:,} of {before.height:,}.")


if __name__ == "__main__":
    recorded(main)
