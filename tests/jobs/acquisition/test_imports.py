"""What the tasks of `ingest` load before they read the first image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_reading_images_loads_none_of_the_large_packages() -> None:
    """Each takes a second or two, in every worker; a package may leave them out."""
    program = (
        "import sys, jobs.acquisition.ingest, jobs.acquisition.image_reader\n"
        "print([name for name in ('torch', 'numba', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
