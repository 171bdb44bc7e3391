"""Processes of their own that compile the loops, or find them compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import udfs

ROOT = Path(udfs.__file__).parent.parent
SCRIPT = """
import numpy as np
from udfs.vectors.kernels import loops
rows = np.arange(12, dtype=np.float32).reshape(3, 4)
some = np.array([0, 2])
assert loops.products_at(rows, rows, some, some).tolist() == [14, 366]
print(loops.__file__)
"""


def run(script: str, path: Path, **more: str) -> str:
    """What a process prints that imports from `path`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(path)} | more,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
