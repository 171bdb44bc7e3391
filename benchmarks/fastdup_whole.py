"""All that fastdup does with a folder by default: features, nearest neighbours, components.

    PYTHON benchmarks/fastdup_whole.py FOLDER WORK

For benchmarks/peers.py. PYTHON has fastdup 2 (see fastdup_features.py). WORK: where it writes.
"""

from __future__ import annotations

import sys


def main() -> None:
    import fastdup  # type: ignore[import-not-found]

    folder, work = sys.argv[1:]
    fastdup.create(input_dir=folder, work_dir=work).run()


if __name__ == "__main__":
    main()
