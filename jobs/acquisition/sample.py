"""The job `sample`: writes a synthetic aerial survey to try the system on, and its ground truth.

The ground truth is a CSV file that says of every image which other image it is a copy of. A file
beside it records what was written (`Record`): the same command again renders nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import resources
from itertools import chain
from pathlib import Path

import numpy
import scipy
from PIL import features

from jobs.acquisition import listing
from jobs.errors import JobError
from jobs.runtime.console import Console
from jobs.runtime.process import cores, die_with_parent
from jobs.runtime.progress import Progress
from jobs.settings.acquisition import Sample
from jobs.settings.model import Settings
from udfs.acquisition import synthetic
from udfs.acquisition.synthetic import survey

TRUTH = ("image_id", "copy_of", "change", "overlap")
CHUNK = 8  # scenes that a process takes at once; they take it a fifth of a second
ENCODERS = ("pil", "jpg", "zlib", "webp", "libtiff")  # what Pillow writes files with


def main(settings: Settings) -> None:
    """Write images under --images, the truth to report.truth or to truth.csv beside the folder.

    The record of what was written is `<truth>.sample.json`.
    """
    root = Path(settings.images).resolve()
    truth = Path(settings.report.truth or root.parent / "truth.csv")
    labels = settings.sample.labels
    scenes = planned(settings.sample)
    shots = [shot for scene in scenes for shot in scene.shots]
    broken = survey.broken_files(scenes[0].label, settings.sample.side)
    names = [*(shot.image_id for shot in shots), *(name for name, _ in broken)]
    check_free(root, set(names))
    console = Console.of(settings)
    record = Record(truth.with_name(f"{truth.name}.sample.json"), recipe_of(settings.sample))
    is_there = record.holds(root, names)
    if settings.dry_run:
        console.line(
            f"  {len(shots):,} images in {labels} classes and {len(broken)} broken files "
            f"{'are there already' if is_there else 'would be written'} under {root}; nothing was "
            "done (--dry-run)"
        )
        return
    console.begin("sample")
    written = 0
    if not is_there:
        written = write_images(scenes, broken, root, settings.sample, console, record)
    put(truth, truth_csv(shots).encode("utf-8"))
    copies = sum(shot.copy_of is not None for shot in shots)
    console.line(
        f"  {len(shots):,} images in {labels} classes under {root}: {copies:,} are "
        f"near-copies of others; {len(broken)} broken files; {written:,} files written anew"
    )
    console.line(f"  truth     {truth}")


@dataclass(frozen=True)
class Record:
    """A file that tells what an earlier run wrote, so that nothing is rendered again.

    recipe: what decides the bytes of all files.
    """

    path: Path
    recipe: dict[str, object]

    def holds(self, root: Path, names: Iterable[str]) -> bool:
        """Whether all these files lie below a folder as a run with this recipe left them."""
        try:
            told = json.loads(self.path.read_bytes())
            return bool(told == self._content(state_of(root / name) for name in names))
        except (OSError, ValueError):  # there is none, or a file is gone, or a run was killed
            return False

    def write(self, states: Iterable[str]) -> None:
        """Tell of the files in these states, in the order of the plan."""
        put(self.path, json.dumps(self._content(states), indent=1).encode())

    def _content(self, states: Iterable[str]) -> dict[str, object]:
        return self.recipe | {"files": hashlib.sha256("\n".join(states).encode()).hexdigest()}


def recipe_of(settings: Sample) -> dict[str, object]:
    """Return what decides the bytes of all files: settings, code and versions of libraries."""
    code = hashlib.sha256()
    for file in sorted(resources.files(synthetic).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            code.update(file.read_bytes())
    decisive = ("labels", "scenes", "side", "seed")
    libraries = {name: features.version(name) for name in ENCODERS}
    return {
        "settings": {name: getattr(settings, name) for name in decisive},
        "code": code.hexdigest(),
        "libraries": libraries | {"numpy": numpy.__version__, "scipy": scipy.__version__},
    }


def state_of(path: Path) -> str:
    """Size and time of a file, by which one sees that it was not changed."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def write_images(
    scenes: list[survey.Scene],
    broken: list[tuple[str, bytes]],
    root: Path,
    settings: Sample,
    console: Console,
    record: Record,
) -> int:
    """Render all files, and record them; return how many were not there as they are now."""
    begun, written, states = time.monotonic(), 0, []
    shots = sum(len(scene.shots) for scene in scenes)
    for number, files in enumerate(chain(rendered(scenes, settings), [broken]), start=1):
        for name, data in files:
            written += put(root / name, data)
            states.append(state_of(root / name))
        share = min(1.0, number / len(scenes))
        console.progress("sample", Progress(time.monotonic() - begun, share, share * shots))
    record.write(states)
    return written


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
