"""The job `sample`: writes a synthetic aerial survey to try the system on, and its ground truth.

The ground truth is a CSV file that says of every image which other image it is a copy of.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata, resources
from pathlib import Path

from jobs.acquisition import listing
from jobs.errors import JobError
from jobs.runtime.console import Console
from jobs.runtime.process import die_with_parent
from jobs.runtime.progress import Progress
from jobs.settings.acquisition import Sample
from jobs.settings.model import Settings
from udfs.acquisition import synthetic
from udfs.acquisition.synthetic import survey

TRUTH = ("image_id", "copy_of", "change", "overlap")
CHUNK = 8  # scenes that a process takes at once; they take it a fifth of a second
LIBRARIES = ("numpy", "scipy", "pillow")  # whose versions decide the bytes of the images


def main(settings: Settings) -> None:
    """Write images under --images, the truth to report.truth or to truth.csv beside the folder."""
    root = Path(settings.images).resolve()
    truth = Path(settings.report.truth or root.parent / "truth.csv")
    labels = settings.sample.labels
    scenes = planned(settings.sample)
    shots = [shot for scene in scenes for shot in scene.shots]
    broken = survey.broken_files(scenes[0].label, settings.sample.side)
    check_free(root, {shot.image_id for shot in shots} | {name for name, _ in broken})
    if settings.dry_run:
        Console.of(settings).line(
            f"  {len(shots):,} images in {labels} classes and {len(broken)} broken files "
            f"would be written under {root}; nothing was done (--dry-run)"
        )
        return
    console, written = Console.of(settings), 0
    console.begin("sample")
    record, recipe = truth.with_name(f"{truth.name}.json"), recipe_of(settings.sample)
    if not is_written(record, recipe, root):
        written = write_images(scenes, settings.sample, root, console)
        written += sum(put(root / name, data) for name, data in broken)
        put(record, json.dumps(made(recipe, root), indent=1).encode())
    put(truth, truth_csv(shots).encode("utf-8"))
    copies = sum(shot.copy_of is not None for shot in shots)
    console.line(
        f"  {len(shots):,} images in {labels} classes under {root}: {copies:,} are "
        f"near-copies of others; {len(broken)} broken files; {written:,} files written anew"
    )
    console.line(f"  truth     {truth}")


def write_images(scenes: list[survey.Scene], settings: Sample, root: Path, console: Console) -> int:
    """Render the files of all scenes; return how many were not there as they are now."""
    begun, written = time.monotonic(), 0
    shots = sum(len(scene.shots) for scene in scenes)
    for number, scene in enumerate(rendered(scenes, settings), start=1):
        written += sum(put(root / name, data) for name, data in scene)
        share = number / len(scenes)
        console.progress("sample", Progress(time.monotonic() - begun, share, share * shots))
    return written


def recipe_of(settings: Sample) -> dict[str, object]:
    """Return what decides the bytes of all files: settings, code and versions of libraries."""
    code = hashlib.sha256()
    for file in sorted(resources.files(synthetic).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            code.update(file.read_bytes())
    return {
        "settings": {
            name: getattr(settings, name) for name in ("labels", "scenes", "side", "seed")
        },
        "code": code.hexdigest(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def made(recipe: dict[str, object], root: Path) -> dict[str, object]:
    """Return the record of what lies below the folder: a recipe, and a hash of the files' states.

    The state of a file is its name, size and time, by which `ingest` knows that it was not changed.
    """
    files = sorted(
        (file.relative, file.size_bytes, file.modified_at) for file in listing.walk(str(root))
    )
    lines = "".join(f"{name}|{size}|{time.isoformat()}\n" for name, size, time in files)
    return recipe | {"files": hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()}


def is_written(record: Path, recipe: dict[str, object], root: Path) -> bool:
    """Whether an earlier run left this very record, so that there is nothing to render."""
    if not (record.exists() and root.exists()):
        return False
    try:
        found = json.loads(record.read_bytes())
    except ValueError:  # a run that was killed, or somebody else's file
        return False
    return bool(found == made(recipe, root))


def planned(settings: Sample) -> list[survey.Scene]:
    """The scenes that the settings ask for; nothing is rendered yet."""
    plan = survey.plan(
        labels=settings.labels, scenes=settings.scenes, side=settings.side, seed=settings.seed
    )
    return list(plan)


def rendered(scenes: list[survey.Scene], settings: Sample) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the files of each scene, in the order of scenes, from `sample.processes` processes."""
    render = partial(survey.photograph, side=settings.side, seed=settings.seed)
    processes = settings.processes or cores()
    if processes == 1:
        yield from map(render, scenes)
        return
    # Spawned, not forked: numpy's and the JVM gateway's threads do not survive a fork.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, die_with_parent) as pool:
        yield from pool.map(render, scenes, chunksize=CHUNK)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_free(root: Path, names: set[str]) -> None:
    """Raise JobError if the folder holds other files: ingest would take them for images.

    names: the files of this survey, as paths below the root.
    """
    if not root.exists():
        return
    others = [file.relative for file in listing.walk(str(root)) if file.relative not in names]
    if others:
        raise JobError(
            f"--images {root}: holds {len(others):,} other files ({sorted(others)[0]}): give an "
            "empty folder, or remove what an earlier sample with other settings wrote"
        )


def put(path: Path, data: bytes) -> bool:
    """Write a file and return True; False if it already holds these bytes and is left alone.

    `ingest` does not read a file again whose modification time is the same.
    """
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return True


def truth_csv(shots: Iterable[survey.Shot]) -> str:
    """Return CSV text, one row for each image: image_id, copy_of, change and overlap.

    overlap: the common area of a shifted copy and its original, 0 to 1; empty for other images.
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(TRUTH)
    for shot in shots:
        overlap = "" if shot.overlap is None else f"{shot.overlap:.4f}"
        writer.writerow((shot.image_id, shot.copy_of or "", shot.change or "", overlap))
    return target.getvalue()
