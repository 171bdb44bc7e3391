from __future__ import annotations

import pytest

from jobs.settings.noise import without_noise

LAUNCHER = "WARNING: Using incubator modules: jdk.incubator.vector\n"
FRAME = '  File "/opt/pyspark/python/lib/pyspark.zip/pyspark/daemon.py", line 262, in manager\n'
TRACEBACK = "Traceback (most recent call last):\n"
GIVEN_UP = [TRACEBACK, FRAME, "    length = read_int(stream)\n", "           ^^^^\n", "EOFError\n"]
PANIC = [
    "thread 'tokio-rt-worker' (59) panicked at /cargo/object_store-0.13.2/src/buffered.rs:369:4:\n",
    "Already shut down\n",
    "stack backtrace:\n",
    "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n",
]
SAID = "pipeline failed: the disk is full\n"


@pytest.mark.parametrize(
    "noise", [[LAUNCHER], GIVEN_UP, PANIC, PANIC[:2], PANIC * 2000, [*PANIC, *GIVEN_UP, LAUNCHER]]
)
def test_what_tells_a_user_nothing_is_left_out(noise: list[str]) -> None:
    assert list(without_noise(["before\n", *noise, SAID])) == ["before\n", SAID]
    assert list(without_noise(noise)) == []


@pytest.mark.parametrize(
    "block",
    [
        [TRACEBACK, FRAME, "ValueError: 3\n"],  # of a worker, but another error
        [TRACEBACK, '  File "jobs/main.py", line 1\n', "EOFError\n"],  # of no worker
        [TRACEBACK],
        [*GIVEN_UP[:-1]],  # cut off
        [PANIC[0], "index out of bounds\n", *PANIC[2:]],
        ["thread 'main' panicked at src/main.rs:1:1:\n", "Already shut down\n"],
        [PANIC[0]],
    ],
)
def test_all_else_is_told(block: list[str]) -> None:
    assert "".join(without_noise([*block, SAID])) == "".join([*block, SAID])
    assert "".join(without_noise(block)) == "".join(block)
