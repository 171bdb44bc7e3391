"""Calls at the same time: they meet, keep their order, and leave nothing running."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from pyspark.sql import SparkSession

from jobs.runtime.concurrently import gather


def test_calls_run_at_the_same_time_and_results_keep_their_order() -> None:
    meeting = threading.Barrier(3, timeout=30)  # it breaks if one waits for another to end
    last = threading.Event()

    def first() -> str:
        meeting.wait()
        assert last.wait(30)
        return "first"

    def second() -> int:
        meeting.wait()
        return 2

    def third() -> float:
        meeting.wait()
        last.set()
        return 3.0

    assert gather(first, second, third) == ("first", 2, 3.0)


def test_the_error_of_the_first_that_fails_is_raised_when_all_have_ended() -> None:
    failed = threading.Event()
    ended = []

    def slow() -> None:
        assert failed.wait(30)
        ended.append("slow")

    def fails_late() -> None:
        assert failed.wait(30)
        raise ValueError("the first in order")

    def fails_at_once() -> None:
        failed.set()
        raise KeyError("the first in time")

    with pytest.raises(ValueError, match="the first in order"):
        gather(slow, fails_late, fails_at_once)
    assert ended == ["slow"]


def test_spark_runs_the_jobs_of_several_calls(spark: SparkSession) -> None:
    numbers = spark.range(100)
    even = numbers.where("id % 2 = 0")
    assert gather(numbers.count, even.count, even.collect)[:2] == (100, 50)


def test_ctrl_c_waits_for_no_call() -> None:
    released = threading.Event()

    def interrupts() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            gather(lambda: released.wait(600), interrupts)
    finally:
        signal.signal(signal.SIGINT, before)
        released.set()
