"""Two processes, each with a JVM of its own, take the lease of one warehouse at the same moment.

In every race both begin when both are ready, on a lease that was released or has expired, in turns.
One must win, and the other must be refused. The lease lies below a new folder of the given one.

    .venv/bin/python -m benchmarks.lease_races URI [--races 1500] [--conf NAME=VALUE ...]

--conf: settings of Spark, as spark.hadoop.fs.s3a.endpoint=...; and for s3a the folder with its jars
as spark.driver.extraClassPath=FOLDER/*.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from benchmarks.results import recorded
from benchmarks.session import start
from jobs.errors import JobError
from jobs.warehouse.lease import Lease, Owner
from jobs.warehouse.lease_files import HadoopLeaseFiles

RUNS = 2
# What a run sends for a race that it did not win.
REFUSED, HELD = 0, -1  # it lost when it created the file; it saw in time that the lease was held
PATIENCE = 300  # seconds that a process waits for the other, and for its Spark
SMALL = {"spark.driver.memory": "700m", "spark.ui.enabled": "false"}


class HeldError(Exception):
    """The lease is held, and the run would wait for a sign of life."""


@dataclass(frozen=True)
class Races:
    """The answers of each run: of each race the number that it won, or REFUSED, or HELD."""

    answers: list[list[int]]
    seconds: float

    @property
    def winners(self) -> list[list[int]]:
        """Of each race, the runs that got the lease."""
        return [
            [run for run, number in enumerate(numbers) if number > 0]
            for numbers in zip(*self.answers, strict=True)
        ]

    @property
    def numbers(self) -> list[int]:
        """Of each race, the lease's number after it."""
        return [max(numbers) for numbers in zip(*self.answers, strict=True)]

    @property
    def wrong(self) -> list[int]:
        """The races without a winner, or with two."""
        return [race for race, runs in enumerate(self.winners) if len(runs) != 1]


def race(uri: str, races: int, conf: Mapping[str, str]) -> Races:
    """Let two processes race for the lease of a new folder of `uri`.

    Raises RuntimeError if a process fails.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RUNS)
    root = f"{uri.rstrip('/')}/{secrets.token_hex(4)}"
    pipes = [context.Pipe(duplex=False) for _ in range(RUNS)]
    processes = [
        context.Process(target=_runs, args=(run, root, races, dict(conf), barrier, sending))
        for run, (_, sending) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, sending in pipes:
        sending.close()
    try:
        answers = [receiving.recv() for receiving, _ in pipes]
    except EOFError as ended:
        raise RuntimeError(f"a process ended without an answer; the lease is {root}") from ended
    finally:
        for process in processes:
            process.join(PATIENCE)
    return Races([numbers for numbers, _ in answers], answers[0][1])


def _runs(
    run: int, root: str, races: int, conf: dict[str, str], barrier: Barrier, sending: Connection
) -> None:
    """Take part in all races. Sends what it got in each of them, and the seconds of all."""
    spark = start(1, SMALL | conf)
    files = HadoopLeaseFiles(spark, root)
    files.now()  # the file system's classes are loaded
    barrier.wait(PATIENCE)
    began = time.monotonic()
    won = [_outcome(run, race, files, root, barrier) for race in range(races)]
    sending.send((won, time.monotonic() - began))
    sending.close()
    spark.stop()


def _outcome(run: int, race: int, files: HadoopLeaseFiles, root: str, barrier: Barrier) -> int:
    """Race once; return the number of the lease, or REFUSED, or HELD."""

    def waits(text: str) -> None:
        raise HeldError

    barrier.wait(PATIENCE)
    try:
        with Lease(files, root).hold(Owner(f"run {run}", run, "", ""), waits):
            number = max(files.numbers())
            barrier.wait(PATIENCE)  # it is held until the other one has its answer
    except JobError as refused:
        if "is in use by" not in str(refused):
            raise
        barrier.wait(PATIENCE)
        return REFUSED
    except HeldError:
        barrier.wait(PATIENCE)
        return HELD
    if race % 2:  # the next race is for a lease that expired
        said = {"run": "dead", "process": 0, "host": "", "user": "", "since": "", "token": "dead"}
        files.rewrite(number, json.dumps(said | {"duration": 0, "released": False}).encode())
    return number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("uri")
    parser.add_argument("--races", type=int, default=1500)
    parser.add_argument("--conf", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    conf = dict(setting.split("=", 1) for setting in given.conf)
    races = race(given.uri, given.races, conf)
    wins = Counter(run for runs in races.winners for run in runs)
    print(f"{given.races} races in {races.seconds:.0f} s; won: {dict(sorted(wins.items()))}")
    refusals = Counter(number for numbers in races.answers for number in numbers if number <= 0)
    print(f"lost when creating the file: {refusals[REFUSED]}; saw it held: {refusals[HELD]}")
    print(f"without one winner: {races.wrong or 'none'}")
    print(f"the numbers rise by one: {races.numbers == list(range(1, given.races + 1))}")


if __name__ == "__main__":
    recorded(main)
