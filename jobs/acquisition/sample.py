"""The job `sample`: writes a synthetic aerial survey to try the system on, and its ground truth.

The ground truth is a CSV file that says of every image which other image it is a copy of.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from jobs.acquisition import listing
from jobs.errors import JobError
from jobs.runtime.console import Console
from jobs.runtime.process import die_with_parent
from jobs.runtime.progress import Progress
from jobs.settings.acquisition import Sample
from jobs.settings.model import Settings
from udfs.acquisition.synthetic import survey

TRUTH = ("image_id", "copy_of", "change", "overlap")
CHUNK = 8  # scenes that a process takes at once; they take it a fifth of a second


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
    console, begun, written = Console.of(settings), time.monotonic(), 0
    console.begin("sample")
    for number, scene in enumerate(rendered(scenes, settings.sample), start=1):
        written += sum(put(root / name, data) for name, data in scene)
        share = number / len(scenes)
        progress = Progress(time.monotonic() - begun, share, share * len(shots))
        console.progress("sample", progress)
    written += sum(put(root / name, data) for name, data in broken)
    put(truth, truth_csv(shots).encode("utf-8"))
    copies = sum(shot.copy_of is not None for shot in shots)
    console.line(
        f"  {len(shots):,} images in {labels} classes under {root}: {copies:,} are "
        f"near-copies of others; {len(broken)} broken files; {written:,} files written anew"
    )
    console.line(f"  truth     {truth}")


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
