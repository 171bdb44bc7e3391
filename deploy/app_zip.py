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
# The page's templates, styles and scripts among them, and the model that comes along.
SUFFIXES = (".py", ".j2", ".css", ".js", ".json", ".safetensors")
PACKED = (".safetensors",)  # what deflating makes no smaller, and takes time


def write_zip(target: Path) -> None:
    """Write all code of the jobs, with the files that it reads."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            for path in sorted((ROOT / package).rglob("*")):
                if path.suffix in SUFFIXES:
                    how = zipfile.ZIP_STORED if path.suffix in PACKED else None
                    archive.write(path, path.relative_to(ROOT), how)


if __name__ == "__main__":
    write_zip(Path(sys.argv[1]))
