"""Writes the zip of the code that executors import; a wheel would be importable on the driver only.

    python deploy/app_zip.py TARGET

It needs the standard library alone, since spark-submit.sh runs it on every start.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jobs", "udfs")
SUFFIXES = (".py", ".j2", ".css", ".js")  # the page's templates, styles and scripts among them


def write_zip(target: Path) -> None:
    """Write all code of the jobs, with the files that it reads."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            for path in sorted((ROOT / package).rglob("*")):
                if path.suffix in SUFFIXES:
                    archive.write(path, path.relative_to(ROOT))


if __name__ == "__main__":
    write_zip(Path(sys.argv[1]))
