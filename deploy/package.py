"""Writes what is needed to submit the jobs from another machine, for `make package`.

python -m deploy.package FOLDER [--environment] [--leave-out PACKAGE ...]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.app_zip import ROOT, write_zip
from deploy.environment import write_archive
from deploy.pins import pinned, runtime_distributions


def write_package(folder: Path, environment: bool, leave_out: Sequence[str] = ()) -> None:
    """Write the code, the script, the settings, Delta's jars and the pinned packages.

    environment: write an archive of Python with the packages, too, but for those to leave out.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "app.zip").exists():
            raise SystemExit(f"{folder} holds files that are no package: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_zip(folder / "app.zip")
    shutil.copy(ROOT / "jobs/main.py", folder)
    shutil.copy(ROOT / "spark-submit.sh", folder)
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/doctor.py", folder / "deploy")
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copytree(ROOT / "build/ivy/jars", folder / "jars")
    (folder / "VERSION").write_text(_version(), encoding="utf-8")
    pins = pinned(runtime_distributions())
    (folder / "requirements.txt").write_text(pins, encoding="utf-8")
    if environment:
        write_archive(folder / "environment.tar.gz", runtime_distributions(leave_out))


def _version() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown\n"
    return answer.stdout or "unknown\n"


def main(arguments: Sequence[str]) -> None:
    """Write the package that the command line describes, and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--environment", action="store_true")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="PACKAGE")
    options = parser.parse_args(arguments)
    write_package(options.folder, options.environment, options.leave_out)
    for path in sorted(options.folder.rglob("*")):
        if path.is_file():
            size = path.stat().st_size / 1e6
            print(f"{size:10.1f} MB  {path.relative_to(options.folder)}")


if __name__ == "__main__":
    main(sys.argv[1:])
