"""sample: a synthetic aerial survey to try everything on, with the truth about its copies."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from jobs.common import command, files
from jobs.common.console import Console
from jobs.common.settings import Settings
from jobs.common.storage import JobError
from udfs import survey

TRUTH = ("image_id", "copy_of", "change", "overlap")


def main(settings: Settings) -> None:
    """Images under --images; the truth at report.truth, else truth.csv beside their folder."""
    root = Path(settings.images).resolve()
    truth = Path(settings.report.truth or root.parent / "truth.csv")
    wanted = settings.sample
    rendered = list(
        survey.survey(
            labels=wanted.labels, scenes=wanted.scenes, side=wanted.side, seed=wanted.seed
        )
    )
    check_free(root, {file.image_id for file in rendered})
    written = sum(put(root / file.image_id, file.data) for file in rendered)
    put(truth, truth_csv(rendered).encode("utf-8"))
    console = Console(settings.quiet)
    copies = sum(file.copy_of is not None for file in rendered)
    broken = sum(file.broken for file in rendered)
    console.line(
        f"  {len(rendered):,} files in {wanted.labels} classes under {root}: {copies:,} are "
        f"near-copies of others, {broken} are broken; {written:,} written anew"
    )
    console.line(f"  truth     {truth}")


def check_free(root: Path, names: set[str]) -> None:
    """Refuse a folder that holds anything else: it would be taken for part of the survey."""
    if not root.exists():
        return
    others = [file.relative for file in files.walk(str(root)) if file.relative not in names]
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


def truth_csv(rendered: list[survey.Rendered]) -> str:
    """One row an image: what it is a copy of, by what change, with what overlap of a shift."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(TRUTH)
    for file in rendered:
        if not file.broken:
            overlap = "" if file.overlap is None else f"{file.overlap:.4f}"
            writer.writerow((file.image_id, file.copy_of or "", file.change or "", overlap))
    return target.getvalue()


if __name__ == "__main__":
    command.run_plain("sample", main)
