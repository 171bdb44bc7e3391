"""A lease has one owner, whoever is paused or killed, and whenever."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.errors import JobError
from jobs.warehouse import arrow_frames, lease, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.lease import DURATION, Lease, Owner
from jobs.warehouse.lease_files import LeaseFile
from jobs.warehouse.spark_store import SparkStore
from tests.support.lease_folder import LocalLeaseFiles

ONE = Owner("run-one", 11, "here", "ann")
TWO = Owner("run-two", 22, "there", "bob")
COMMIT = CommitInfo("run", "anomalies", "mark")
SCHEMA = tables.TABLES["anomalies"].schema


class Clock:
    """The driver's own clock, which tests move on: then its process was paused."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "elapsed", clock)
    return clock


@pytest.fixture
def files(tmp_path: Path) -> LocalLeaseFiles:
    return LocalLeaseFiles(tmp_path / ".lease")


def silent(text: str) -> None:
    raise AssertionError(f"it waited: {text}")


def dead(
    files: LocalLeaseFiles, number: int = 1, seconds: float = DURATION, **more: object
) -> None:
    """Leave the lease of a run that was killed so many seconds ago."""
    said = {"run": "run-dead", "process": 1, "host": "gone", "user": "eve", "since": "noon"}
    said |= {"duration": DURATION, "token": f"t{number}", "released": False, **more}
    files.rewrite(number, json.dumps(said).encode())
    files.age(number, seconds)


def content(files: LocalLeaseFiles, number: int) -> dict[str, object]:
    return dict(json.loads(Path(files.path(number)).read_bytes()))


def test_each_owner_has_the_next_number_and_only_the_last_stays(files: LocalLeaseFiles) -> None:
    for number, owner in ((1, ONE), (2, TWO), (3, ONE)):
        with Lease(files, "W").hold(owner, silent):
            said = content(files, number)
            assert (said["run"], said["process"]) == (owner.run, owner.process)
            assert (said["host"], said["user"]) == (owner.host, owner.user)
            assert said["released"] is False
        assert content(files, number)["released"] is True
        assert files.numbers() == [number]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_it_is_released_if_the_run_fails(
    files: LocalLeaseFiles, failure: type[BaseException]
) -> None:
    with pytest.raises(failure), Lease(files, "W").hold(ONE, silent):
        raise failure
    assert content(files, 1)["released"] is True


def test_a_second_run_is_refused_when_the_first_shows_that_it_lives(
    files: LocalLeaseFiles,
) -> None:
    said: list[str] = []
    first = Lease(files, "W", duration=3)
    with (
        first.hold(ONE, silent),
        pytest.raises(JobError) as refused,
        Lease(files, "W").hold(TWO, said.append),
    ):
        pass
    assert "W is in use by run run-one (process 11 on here, user ann) since 2" in str(refused.value)
    assert "A run that is killed holds it for 3 s more" in str(refused.value)
    (waiting,) = said
    assert "W is held by run run-one (process 11 on here, user ann) since 2" in waiting
    assert "its lease expires in 3 s" in waiting
    assert f"delete {files.path(1)}" in waiting
    assert f"delete {files.path(1)}" in str(refused.value)
    assert files.numbers() == [1]


def test_an_expired_lease_is_taken_at_once(files: LocalLeaseFiles) -> None:
    dead(files)
    with Lease(files, "W").hold(ONE, silent):
        assert files.numbers() == [2]


def test_the_lease_of_a_killed_run_is_taken_when_it_expires(files: LocalLeaseFiles) -> None:
    dead(files, seconds=118.5)
    said: list[str] = []
    began = time.monotonic()
    # The run that waits looks every 0.1 s, since its own lease is short.
    with Lease(files, "W", duration=6).hold(ONE, said.append):
        assert time.monotonic() - began >= 1.4
        assert files.numbers() == [2]
    assert len(said) == 1
    assert "run-dead" in said[0]


def test_a_run_that_died_before_it_wrote_its_name_expires_too(files: LocalLeaseFiles) -> None:
    assert files.create(1, b"")
    files.age(1, 118.5)
    said: list[str] = []
    with Lease(files, "W", duration=6).hold(ONE, said.append):
        assert files.numbers() == [2]
    assert "a run that did not say who it is" in said[0]


def test_a_lease_is_free_if_its_file_is_deleted(files: LocalLeaseFiles) -> None:
    dead(files, number=7, seconds=0)
    threading.Timer(0.5, files.delete, [7]).start()
    with Lease(files, "W", duration=6).hold(ONE, lambda text: None):
        assert files.numbers() == [1]


class OtherClock(LocalLeaseFiles):
    """A file system whose clock is an hour ahead of the driver's, or behind."""

    def __init__(self, folder: Path, ahead: float) -> None:
        super().__init__(folder)
        self.ahead = ahead

    def now(self) -> float:
        return super().now() + self.ahead

    def read(self, number: int) -> LeaseFile | None:
        file = super().read(number)
        return LeaseFile(file.data, file.modified + self.ahead) if file else None


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_only_the_file_systems_clock_counts(tmp_path: Path, ahead: float) -> None:
    files = OtherClock(tmp_path / ".lease", ahead)
    dead(files)
    with Lease(files, "W", duration=3).hold(ONE, silent):
        assert files.numbers() == [2]
        with (
            pytest.raises(JobError, match="in use"),
            Lease(files, "W").hold(TWO, lambda text: None),
        ):
            pass


def test_a_paused_owner_goes_on_by_a_new_number_if_nobody_took_over(
    files: LocalLeaseFiles, clock: Clock
) -> None:
    held = Lease(files, "W")
    with held.hold(ONE, silent):
        held.check()
        assert files.numbers() == [1]
        clock.ahead += DURATION * 0.7  # late, but not too late: the same number
        held.check()
        assert files.numbers() == [1]
        clock.ahead += DURATION
        held.check()
        assert files.numbers() == [2]
        held.check()
    assert content(files, 2)["released"] is True


def test_what_a_loss_ends_is_ended_though_the_first_try_fails(files: LocalLeaseFiles) -> None:
    """And a body that ends without an error after the loss is no success."""
    tries: list[int] = []
    again = threading.Event()

    def on_lost() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the JVM did not answer")
        again.set()

    held = Lease(files, "W", on_lost=on_lost)

    def run() -> None:
        with held.hold(ONE, silent):
            dead(files, number=2)
            with contextlib.suppress(JobError):
                held.check()
            assert again.wait(20)

    with pytest.raises(JobError, match="run-dead"):
        run()


def test_a_paused_owner_stops_if_another_took_over(files: LocalLeaseFiles, clock: Clock) -> None:
    lost: list[int] = []
    first = Lease(files, "W", on_lost=lambda: lost.append(1))
    stopped: list[str] = []

    def run() -> None:
        with first.hold(ONE, silent):
            clock.ahead += DURATION
            files.age(1, DURATION)
            with Lease(files, "W").hold(TWO, silent):
                for _ in range(2):
                    with pytest.raises(JobError, match="run-two") as caught:
                        first.check()
                    stopped.append(str(caught.value))
            raise ValueError("Spark's job was cancelled")

    with pytest.raises(JobError) as caught:
        run()
    text = str(caught.value)
    assert stopped == [text, text]
    assert (
        "lost the lease of W: run run-two (process 22 on there, user bob) took it over at 20"
        in text
    )
    assert "when the other run has ended, the same command goes on" in text
    assert lost
    assert files.numbers() == [2], "it left its successor's file alone"
    assert content(files, 2)["run"] == "run-two"


def test_an_owner_whose_file_was_deleted_stops(files: LocalLeaseFiles) -> None:
    held = Lease(files, "W")

    def run() -> None:
        with held.hold(ONE, silent):
            files.delete(1)
            held.check()

    with pytest.raises(JobError, match="somebody deleted its file"):
        run()
    assert files.numbers() == [], "it wrote nothing more"


def test_an_owner_whose_number_was_given_again_stops(files: LocalLeaseFiles) -> None:
    """Somebody deletes the file of a run that is alive, and another run begins."""
    held = Lease(files, "W")

    def run() -> None:
        with held.hold(ONE, silent):
            files.delete(1)
            assert files.create(1, json.dumps(content_of_two()).encode())
            held.check()

    with pytest.raises(JobError, match="run-two"):
        run()
    assert content(files, 1) == content_of_two(), "the first did not release what is not its own"


def content_of_two() -> dict[str, object]:
    return {
        "run": "run-two",
        "process": 22,
        "host": "there",
        "user": "bob",
        "since": "noon",
        "duration": DURATION,
        "token": "two",
        "released": False,
    }


def test_a_renewal_that_failed_midway_is_no_loss(files: LocalLeaseFiles) -> None:
    held = Lease(files, "W")
    with held.hold(ONE, silent):
        files.rewrite(1, b"")
        held.check()
    assert content(files, 1)["released"] is True


class SlowFiles(LocalLeaseFiles):
    """Rewriting takes seconds of the driver's clock; then `meanwhile` happens."""

    def __init__(self, folder: Path, clock: Clock, seconds: float) -> None:
        super().__init__(folder)
        self.clock, self.seconds = clock, seconds

    def rewrite(self, number: int, data: bytes) -> None:
        super().rewrite(number, data)
        self.clock.ahead += self.seconds


@pytest.mark.parametrize(("seconds", "numbers"), [(25, [1]), (70, [2])])
def test_a_renewal_that_arrives_too_late_does_not_count(
    tmp_path: Path, clock: Clock, seconds: float, numbers: list[int]
) -> None:
    """Another run may have seen the lease expire meanwhile: the owner must win a number too."""
    files = SlowFiles(tmp_path / ".lease", clock, seconds)
    held = Lease(files, "W")
    with held.hold(ONE, silent):
        clock.ahead += 65
        held.check()
        assert files.numbers() == numbers


def test_a_file_system_that_is_too_slow_to_renew_stops_the_run(
    tmp_path: Path, clock: Clock
) -> None:
    files = SlowFiles(tmp_path / ".lease", clock, 40)

    def slow_create(number: int, data: bytes) -> bool:
        clock.ahead += 70
        return LocalLeaseFiles.create(files, number, data)

    held = Lease(files, "W")
    with held.hold(ONE, silent):
        files.create = slow_create  # type: ignore[method-assign]
        clock.ahead += 65
        with pytest.raises(JobError, match="took longer than 60 s"):
            held.check()


def test_a_run_that_was_paused_before_it_took_the_lease_is_refused(tmp_path: Path) -> None:
    """It saw 1 expire. Before it creates 2, others held 2 and 3, and 2 was deleted."""
    files = LocalLeaseFiles(tmp_path / ".lease")
    paused = LocalLeaseFiles(tmp_path / ".lease")
    dead(files)
    other = Lease(files, "W")

    with contextlib.ExitStack() as others:

        def late_create(number: int, data: bytes) -> bool:
            with Lease(files, "W").hold(TWO, silent):
                pass
            others.enter_context(other.hold(TWO, silent))
            assert number == 2
            assert files.create(number, data), "it is free again, and yet must not be given"
            return True

        paused.create = late_create  # type: ignore[method-assign]
        with (
            pytest.raises(JobError, match="in use by run run-two"),
            Lease(paused, "W").hold(ONE, silent),
        ):
            pass
        assert files.numbers() == [3]
        other.check()


@pytest.mark.parametrize("ending", ["released", "expired"])
def test_of_many_that_take_a_free_lease_at_once_one_gets_it(
    files: LocalLeaseFiles, ending: str
) -> None:
    runs, races = 8, 50
    barrier = threading.Barrier(runs)
    winners: list[int] = []

    def waits(text: str) -> None:
        raise JobError("it would wait")

    def race(run: int) -> None:
        for number in range(races):
            barrier.wait()
            try:
                with Lease(files, "W").hold(Owner(str(run), run, "", ""), waits):
                    winners.append(number)
                    barrier.wait()
                if ending == "expired":
                    dead(files, max(files.numbers()))
            except JobError:
                barrier.wait()

    threads = [threading.Thread(target=race, args=(run,)) for run in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert winners == list(range(races))


class FailingFiles(LocalLeaseFiles):
    """A file system that can be cut off."""

    reachable = True

    def numbers(self) -> list[int]:
        if not self.reachable:
            raise JobError("no route to host")
        return super().numbers()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_lease_outlives_an_interruption_of_the_file_system(tmp_path: Path) -> None:
    files = FailingFiles(tmp_path / ".lease")
    held = Lease(files, "W", duration=1.2)
    with held.hold(ONE, silent):
        written = Path(files.path(1)).stat().st_mtime_ns
        until(lambda: Path(files.path(1)).stat().st_mtime_ns > written)
        files.reachable = False
        time.sleep(1.3)
        with pytest.raises(JobError, match="no route to host"):
            held.check()
        files.reachable = True
        until(lambda: max(files.numbers(), default=0) == 2)  # it had expired
        held.check()
    assert content(files, 2)["released"] is True


def test_a_loss_is_noticed_without_a_check(files: LocalLeaseFiles) -> None:
    lost = threading.Event()

    def run() -> None:
        with Lease(files, "W", on_lost=lost.set, duration=1.2).hold(ONE, silent):
            dead(files, number=2)
            assert lost.wait(20)
            raise ValueError

    with pytest.raises(JobError, match="run-dead"):
        run()


@pytest.fixture
def held_store(spark: SparkSession, tmp_path: Path) -> Iterator[tuple[SparkStore, LocalLeaseFiles]]:
    """A store that writes under a lease; both in a local folder, which Spark alone writes to."""
    files = LocalLeaseFiles(tmp_path / ".lease")
    cancel = spark.sparkContext.cancelAllJobs
    held = Lease(files, "W", on_lost=cancel, duration=6)
    store = SparkStore(spark, str(tmp_path / "w"), held)
    try:
        with held.hold(ONE, silent):
            yield store, files
    except JobError:
        pass


def commits(store: SparkStore, table: str) -> int:
    """How many there are, without Spark, whose jobs are cancelled after the loss."""
    return len(list(Path(store.path(table), "_delta_log").glob("*.json")))


@pytest.mark.spark
def test_a_store_that_lost_its_lease_changes_nothing(
    held_store: tuple[SparkStore, LocalLeaseFiles],
) -> None:
    store, files = held_store
    rows = arrow_frames.frame(store.spark, [("001", "a", 0.5, 0.5, 1)], SCHEMA)
    store.write(rows, "anomalies", COMMIT)
    store.files.write("models/one", b"1")
    store.files.replace("images", [("one", b"1")])
    dead(files, number=2)
    other = store.another()
    for change in (
        lambda: store.write(rows, "anomalies", COMMIT),
        lambda: other.write(rows, "anomalies", COMMIT, append=True),
        lambda: store.drop("anomalies"),
        lambda: store.files.write("models/one", b"2"),
        lambda: store.files.replace("images", [("one", b"2")]),
        lambda: store.files.delete("models"),
    ):
        with pytest.raises(JobError, match=r"run-dead|cancelled"):  # `hold` says why in the end
            change()
    assert commits(store, "anomalies") == 1
    assert store.files.read("models/one") == b"1"
    assert store.files.list("images") == ["images/one"]
    assert store.files.read("images/one") == b"1"


@pytest.mark.spark
def test_a_write_that_is_under_way_ends_without_a_commit(
    held_store: tuple[SparkStore, LocalLeaseFiles],
) -> None:
    store, files = held_store
    rows = arrow_frames.frame(store.spark, [("001", "a", 0.5, 0.5, 1)], SCHEMA)
    store.write(rows, "anomalies", COMMIT)

    def slowly(value: float) -> float:
        time.sleep(60)
        return value

    slow = F.udf(slowly, T.DoubleType(), useArrow=False)
    threading.Timer(2, lambda: dead(files, number=2)).start()
    began = time.monotonic()
    with pytest.raises(Exception, match="cancelled"):
        store.write(rows.withColumn("log_density", slow("log_density")), "anomalies", COMMIT)
    assert time.monotonic() - began < 30
    assert commits(store, "anomalies") == 1


@pytest.mark.spark
def test_a_write_whose_jobs_begin_after_the_loss_ends_without_a_commit(
    held_store: tuple[SparkStore, LocalLeaseFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, files = held_store
    rows = arrow_frames.frame(store.spark, [("001", "a", 0.5, 0.5, 1)], SCHEMA)
    store.write(rows, "anomalies", COMMIT)
    write = store._write_by_spark

    def after_the_loss(*arguments: object) -> int:
        dead(files, number=2)
        with pytest.raises(JobError, match="run-dead"):
            store.check_lease()
        return write(*arguments)  # type: ignore[arg-type]

    def slowly(value: float) -> float:
        time.sleep(20)
        return value

    slow = F.udf(slowly, T.DoubleType(), useArrow=False)
    monkeypatch.setattr(store, "_write_by_spark", after_the_loss)
    with pytest.raises(Exception, match="cancelled"):
        store.write(rows.withColumn("log_density", slow("log_density")), "anomalies", COMMIT)
    assert commits(store, "anomalies") == 1
