"""Commits of others that come between what we read of a table and what we write to it.

`make test-faults` runs all: with Spark as the writer or as the other program a case takes seconds.
`make test-whole` runs some of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import UNFINISHED, CommitInfo
from jobs.warehouse.local_store import LocalStore
from jobs.warehouse.parquet_write import ArrowTransform, passthrough
from jobs.warehouse.store import FORCED, Store, open_store
from tests.support.foreign_hands import ADDING, CHANGES, UPKEEP, Hand

pytestmark = pytest.mark.spark

SCHEMA = tables.TABLES["anomalies"].schema
COMMIT = CommitInfo("run", "anomalies", "mark")


def content(*numbers: int) -> list[tuple[Any, ...]]:
    return [(f"{n:03}", "a", n / 8, 0.5, n) for n in numbers]


def rows(*numbers: int) -> pa.Table:
    return tables.rows("anomalies", content(*numbers))


def ids(store: Store) -> list[int]:
    found = store.read("anomalies").select("image_id").collect()
    return sorted(int(row.image_id) for row in found)


@pytest.fixture(params=["local", pytest.param("spark", marks=pytest.mark.faults)])
def store(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    return made(request.param, spark, tmp_path, monkeypatch)


def made(kind: str, spark: SparkSession, tmp_path: Path, patch: pytest.MonkeyPatch) -> Store:
    """A table of two versions: first 001, then 002 and 003 beside it, in a file of their own."""
    patch.setenv(FORCED, kind)
    store = open_store(spark, str(tmp_path))
    for n, numbers in enumerate(((1,), (2, 3))):
        store.write(rows(*numbers), "anomalies", COMMIT, append=n > 0)
    return store


def meanwhile(store: Store, hand: Hand) -> Callable[[], None]:
    """What others do to the table, once."""
    done: list[bool] = []

    def act() -> None:
        if not done:
            done.append(True)
            hand(store.spark, store.path("anomalies"), rows(7))

    return act


def frame(store: Store, *numbers: int) -> Any:
    return arrow_frames.frame(store.spark, content(*numbers), SCHEMA)


def acting(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, hand: str, folder: str, once: Path
) -> Iterator[pa.RecordBatch]:
    """Rows during whose making others do something to the table: a task does it, once."""
    for batch in batches:
        with suppress(FileExistsError):
            once.touch(exist_ok=False)
            (CHANGES | UPKEEP)[hand](None, folder, rows(7))
        yield batch.select(schema.names)


def lazy(store: Store, hand: str, *numbers: int) -> ArrowTransform:
    """Rows that tasks make; hand: what others do meanwhile."""
    path, once = store.path("anomalies"), Path(store.root, ".once")
    made = partial(acting, hand=hand, folder=path, once=once) if hand else passthrough
    return ArrowTransform(frame(store, *numbers), made, SCHEMA)


def between(store: Store, act: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Have others act between the last look at the table and the commit."""
    look = store._check_unchanged

    def checked(*arguments: Any) -> None:
        look(*arguments)
        act()

    patch.setattr(store, "_check_unchanged", checked)


class Case(NamedTuple):
    """When others do what, and how we write.

    early: between the stage's first look at the table and its last one, and while tasks make the
    rows, if they do; else between the last look and the commit. on_driver: the rows come from the
    driver, else tasks make them.
    """

    hand: str
    early: bool = False
    on_driver: bool = False


def cases(hands: Iterable[str]) -> list[Any]:
    """Every hand between look and commit; each way of writing with the hands of delta-rs."""
    listed = [Case(hand) for hand in hands]
    listed += [
        Case(hand, early, on_driver)
        for hand in hands
        if hand.startswith("rs")
        for early, on_driver in ((True, False), (True, True), (False, True))
    ]
    return [
        pytest.param(
            case,
            id="-".join(map(str, case)),
            marks=[pytest.mark.faults] if case.hand.startswith("spark") else [],
        )
        for case in listed
    ]


def write(
    store: Store,
    hands: dict[str, Hand],
    case: Case,
    patch: pytest.MonkeyPatch,
    **how: Any,
) -> None:
    """Write 004 and 005 while others do something."""
    store.version("anomalies")  # what a stage does when it starts
    act = meanwhile(store, hands[case.hand])
    if not case.early:
        between(store, act, patch)
    elif case.on_driver:
        act()
    of_tasks = case.hand if case.early else ""
    new = rows(4, 5) if case.on_driver else lazy(store, of_tasks, 4, 5)
    store.write(new, "anomalies", COMMIT, **how)


@pytest.mark.parametrize("case", cases(CHANGES))
def test_what_others_change_meanwhile_stops_an_overwrite(
    store: Store, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(JobError, match="changed by others while this run worked on its version 1"):
        write(store, CHANGES, case, monkeypatch)
    assert 4 not in ids(store)
    newest = open_store(store.spark, store.root).newest("anomalies")
    assert newest is not None
    if newest.fingerprint != UNFINISHED:  # Spark had made a commit, which was taken back
        assert (newest.version, len(newest.changes)) == (1, 1)


@pytest.mark.parametrize("case", cases(CHANGES))
def test_rows_are_added_beside_added_ones_alone(
    store: Store, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.hand in ADDING:
        write(store, CHANGES, case, monkeypatch, append=True)
        assert ids(store) == [1, 2, 3, 4, 5, 7]
        return
    with pytest.raises(JobError, match="changed by others while this run worked on its version 1"):
        write(store, CHANGES, case, monkeypatch, append=True)
    assert 4 not in ids(store)


@pytest.mark.parametrize("case", cases(UPKEEP))
@pytest.mark.parametrize("how", [{}, {"append": True}, {"where": "rank > 1"}], ids=str)
def test_upkeep_by_others_disturbs_no_write(
    store: Store, case: Case, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, UPKEEP, case, monkeypatch, **how)
    kept = [1, 2, 3] if "append" in how else [1] if "where" in how else []
    assert ids(store) == [*kept, 4, 5]
    again = open_store(store.spark, store.root)
    newest = again.newest("anomalies")
    assert newest is not None
    assert newest.version == again.version("anomalies") == store.version("anomalies") > 1
    assert newest.changes == ()


@pytest.mark.whole
@pytest.mark.parametrize("hand", ["rs_delete", "spark_delete", "rs_optimize", "spark_optimize"])
def test_spark_writes_beside_others(
    hand: str, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each kind, for the store whose tables Spark writes."""
    store = made("spark", spark, tmp_path, monkeypatch)
    if hand in UPKEEP:
        write(store, UPKEEP, Case(hand), monkeypatch)
        assert ids(store) == [4, 5]
        return
    with pytest.raises(JobError, match="changed by others while this run worked on its version 1"):
        write(store, CHANGES, Case(hand), monkeypatch)
    assert 4 not in ids(store)


def test_a_log_that_counts_no_rows_has_no_size(tmp_path: Path) -> None:
    """As other programs may write it."""
    store = LocalStore(cast(SparkSession, None), str(tmp_path))
    store.write(rows(1, 2), "anomalies", COMMIT)
    (log,) = Path(store.path("anomalies"), "_delta_log").glob("*.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    log.write_text("\n".join(map(json.dumps, lines)))
    assert store.size("anomalies") is None
    assert store.count("anomalies") == 2
