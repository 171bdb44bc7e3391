"""Calls that do not need each other, at the same time: queries of a stage, work of the driver.

Spark runs the jobs of several threads beside each other. So while the driver plans one query,
collects another or computes something itself, the slots have work. A store serves one thread (see
`Store`): of calls at the same time one at most may query it or write to it; the others read frames.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@overload
def gather(first: Callable[[], A], second: Callable[[], B], /) -> tuple[A, B]: ...


@overload
def gather(
    first: Callable[[], A], second: Callable[[], B], third: Callable[[], C], /
) -> tuple[A, B, C]: ...


@overload
def gather(
    first: Callable[[], A],
    second: Callable[[], B],
    third: Callable[[], C],
    fourth: Callable[[], D],
    /,
) -> tuple[A, B, C, D]: ...


def gather(*calls: Callable[[], Any]) -> tuple[Any, ...]:
    """Call functions at the same time, each in a thread; return their results in their order.

    Where some raise, the error of the first of these is raised when all have ended: nothing goes on
    behind a stage that failed. Ctrl-C waits for none: their jobs end with Spark.
    """
    pool = ThreadPoolExecutor(len(calls), thread_name_prefix="gather")
    try:
        futures = [pool.submit(call) for call in calls]
        wait(futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(future.result() for future in futures)
