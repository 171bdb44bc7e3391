"""pipeline: every job after the other, and what came of it."""

from __future__ import annotations

from jobs import encode, ingest, prune, publish, train
from jobs.common import command
from jobs.common.run import Run


def main(run: Run) -> None:
    """Source files → every table, the report, and a summary on the console."""
    import time

    T = time.time()
    for job in (ingest, train, encode, prune, publish):
        job.main(run)
        print(time.time() - T)


if __name__ == "__main__":
    command.run("pipeline", main)
