"""sample: a synthetic aerial survey to try everything on, with the truth about its copies."""

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
CHUNK = 8  # scenes a process takes at once: a fifth of a second


def main(settings: Settings) -> None:
    """Images under --images; the truth at report.truth, else truth.csv beside their folder."""
    root = Path(settings.images).resolve()
    truth = Path(settings.report.truth or root.parent / "truth.csv")
    wanted = settings.sample
    scenes = planned(wanted)
    shots = [shot for scene in scenes for shot in scene.shots]
    broken = survey.broken_files(scenes[0].label, wanted.side)
    check_free(root, {shot.image_id for shot in shots} | {name for name, _ in broken})
    if settings.dry_run:
        Console.of(settings).line(
            f"  {len(shots):,} images in {wanted.labels} classes and {len(broken)} broken files "
            f"would be written under {root}; nothing was done (--dry-run)"
        )
        return
    console, begun, written = Console.of(settings), time.monotonic(), 0
    console.begin("sample")
    for number, scene in enumerate(rendered(scenes, wanted), start=1):
        written += sum(put(root / name, data) for name, data in scene)
        share = number / len(scenes)
        progress = Progress(time.monotonic() - begun, share, share * len(shots))
        console.progress("sample", progress)
    written += sum(put(root / name, data) for name, data in broken)
    put(truth, truth_csv(shots).encode("utf-8"))
    copies = sum(shot.copy_of is not None for shot in shots)
    console.line(
        f"  {len(shots):,} images in {wanted.labels} classes under {root}: {copies:,} are "
        f"near-copies of others; {len(broken)} broken files; {written:,} files written anew"
    )
    console.line(f"  truth     {truth}")


def planned(wanted: Sample) -> list[survey.Scene]:
    """What the settings ask for, before anything is rendered."""
    return list(
        survey.plan(labels=wanted.labels, scenes=wanted.scenes, side=wanted.side, seed=wanted.seed)
    )


def rendered(scenes: list[survey.Scene], wanted: Sample) -> Iterator[list[tuple[str, bytes]]]:
    """The files of each scene, in the order of the scenes, by `sample.processes` processes."""
    render = partial(survey.photograph, side=wanted.side, seed=wanted.seed)
    processes = wanted.processes or cores()
    if processes == 1:
        yield from map(render, scenes)
        return
    # Spawned, not forked: numpy's and the JVM gateway's threads do not survive a fork.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, die_with_parent) as pool:
        yield from pool.map(render, scenes, chunksize=CHUNK)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_free(root: Path, names: set[str]) -> None:
    """Refuse a folder that holds anything else: it would be taken for part of the survey."""
    if not root.exists():
        return
    others = [file.relative for file in listing.walk(str(root)) if file.relative not in names]
    if others:
        raise JobError(
            f"--images {root}: holds {len(others):,} other files ({sorted(others)[0]}): give an "
            "empty folder, or remove what an earlier sample with other settings wrote"
        )


def put(path: Path, data: bytes) -> bool:
    """Write a file unless it is there as it should be: an untouched one is not read again."""
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return True


def truth_csv(shots: Iterable[survey.Shot]) -> str:
    """One row an image: what it is a copy of, by what change, with what overlap of a shift."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(TRUTH)
    for shot in shots:
        overlap = "" if shot.overlap is None else f"{shot.overlap:.4f}"
        writer.writerow((shot.image_id, shot.copy_of or "", shot.change or "", overlap))
    return target.getvalue()
