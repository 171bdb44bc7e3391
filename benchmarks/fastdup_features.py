"""The features that fastdup computes of pictures with its own model, for benchmarks/rates.py.

    PYTHON benchmarks/fastdup_features.py FOLDER OUT.npy

PYTHON has fastdup 2 (its requirements clash with those of this project, so it needs an environment
of its own). FOLDER: pictures named 0000000.png and so on. OUT: their features (n, width) float32,
in the order of the names.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()

    import fastdup  # type: ignore[import-not-found]
    import numpy as np

    with tempfile.TemporaryDirectory() as work:
        features_only = 1
        fastdup.run(str(given.folder), work_dir=work, run_mode=features_only, verbose=False)
        names, rows = fastdup.load_binary_feature(f"{work}/atrain_features.dat")
    places = np.array([int(Path(name).stem) for name in names])
    pictures = len(list(given.folder.glob("*.png")))
    if sorted(places.tolist()) != list(range(pictures)):
        raise SystemExit(f"fastdup left out {pictures - len(places)} of {pictures} pictures")
    features = np.empty((pictures, rows.shape[1]), np.float32)
    features[places] = rows
    np.save(given.out, features)


if __name__ == "__main__":
    main()
