"""The lock of a warehouse where there is no flock: hdfs, s3a, abfss, gs.

Below `<warehouse>/.lease/` lie files with numbers for names. The highest number is the lease: its
file says who holds it. A released or expired lease is taken by creating the next number, which of
several runs only one can do. The number is never given twice, so an owner that sees a higher one
has lost.

The owner rewrites its file every 20 seconds, and nobody else does. A file that is 120 seconds old
is an expired lease: by the time of a file that is written now, so only the file system's own clock
counts. An owner that was too late (it was paused, or the file system did not answer) may not
rewrite its file, because another run may already have seen that it expired: it must create the
next number too. So the lease never has two owners that both have reason to believe in it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from jobs.errors import JobError
from jobs.warehouse.lease_files import LeaseFile, LeaseFiles

DURATION = 120.0  # seconds
RENEWALS = 6  # in a lease's duration; one of them is the margin for the speed of clocks
LOOKS = 60  # in a lease's duration, of a run that waits for it
LOST_PAUSE = 0.5  # seconds from one call of `on_lost` to the next
# Seconds for a release after Ctrl-C. It ends the JVM as well, and what that does not answer any
# more would keep the command from saying that it was interrupted.
INTERRUPTED = 0.5


def elapsed() -> float:
    """Return the seconds since the machine's start, with those in which it was suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@dataclass(frozen=True)
class Owner:
    """Who holds a lease, for people: the run, and the process of its driver."""

    run: str
    process: int
    host: str
    user: str


@dataclass(frozen=True)
class Holder:
    """What a lease's file says."""

    text: str
    token: str
    since: str
    duration: float
    released: bool

    @classmethod
    def of(cls, file: LeaseFile | None) -> Holder:
        """Parse a file. A run that died while it wrote the file left one that says nothing."""
        try:
            said = json.loads(file.data) if file else {}
            text = "run {run} (process {process} on {host}, user {user})".format(**said)
            released = said["released"] is True
            return cls(text, said["token"], said["since"], float(said["duration"]), released)
        except (ValueError, KeyError, TypeError):
            return cls("a run that did not say who it is", "", "", DURATION, False)


class Lease:
    """The lease of one warehouse, taken at most once.

    root: the warehouse, for messages. on_lost: is called by any thread when it turns out that
    another run took the lease over, and again and again until `hold` is left: what it ends may
    begin anew, because a write has many jobs, and does not ask between them.
    """

    def __init__(
        self,
        files: LeaseFiles,
        root: str,
        on_lost: Callable[[], None] = lambda: None,
        duration: float = DURATION,
    ) -> None:
        self._files = files
        self._root = root
        self._on_lost = on_lost
        self._duration = duration
        self._owner = Owner("", 0, "", "")
        self._since = ""
        self._number = 0  # 0: not held
        self._token = ""
        self._renewed = 0.0  # by `elapsed`, when the last renewal that succeeded began
        self._lost = ""  # the message, if it was taken over
        self._busy = threading.RLock()  # a renewal or a check at a time
        self._ended = threading.Event()

    @contextmanager
    def hold(self, owner: Owner, log: Callable[[str], None]) -> Iterator[None]:
        """Take the lease, and renew it by a thread until the context is left.

        log: is told that another run's lease is waited for. Raises JobError that names the holder
        if it is alive. If the lease is lost meanwhile, JobError is raised whatever else failed: a
        stage that lost it fails in many ways.
        """
        self._take(owner, log)
        renewing = threading.Thread(target=self._keep, name="lease", daemon=True)
        renewing.start()
        patience = self._duration / RENEWALS  # the file system may not answer
        try:
            yield
        except KeyboardInterrupt:
            patience = INTERRUPTED
            raise
        except Exception as failure:
            if self._lost and str(failure) != self._lost:
                raise JobError(self._lost) from failure
            raise
        else:
            if self._lost:  # what was written last may be, beside the other run's
                raise JobError(self._lost)
        finally:
            self._ended.set()
            renewing.join(patience)

    def check(self) -> None:
        """Raise JobError if the lease was taken over. To be called before each commit.

        Then it holds for half its duration at least. It does nothing if the lease was never taken.
        """
        if not self._number:
            return
        with self._busy:
            if self._lost:
                raise JobError(self._lost)
            if not self._is_old():
                self._verify()
                return
            self._renew()
            if self._is_old():
                raise JobError(
                    f"the lease of {self._root} could not be renewed: its file system took longer "
                    f"than {self._duration / 2:.0f} s to answer; run the same command again later"
                )

    def _is_old(self) -> bool:
        """Return whether less than half of the duration is left."""
        return elapsed() > self._renewed + self._duration / 2

    def _take(self, owner: Owner, log: Callable[[str], None]) -> None:
        self._owner = owner
        self._since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        told = 0
        while True:
            # The clock is read first: an owner that renews in time has done so before it is read.
            now = self._files.now()
            number = max(self._files.numbers(), default=0)
            file = self._files.read(number) if number else None
            if number and file is None:
                continue  # it was deleted meanwhile
            left = _remaining(file, now)
            if left <= 0:
                if self._create(number + 1):
                    return
                self._refuse()
            if told != number:
                log(self._waiting(number, file, left))
                told = number
            self._wait(number, file, left)

    def _wait(self, number: int, file: LeaseFile | None, seconds: float) -> None:
        """Return when the lease was released, or did not change until it expired.

        Raises JobError if it was renewed, or taken by another run: then its holder is alive.
        """
        end = elapsed() + seconds
        while elapsed() < end:
            time.sleep(self._duration / LOOKS)
            latest = max(self._files.numbers(), default=0)
            if latest != number or self._files.read(number) != file:
                latest_file = self._files.read(latest) if latest else None
                if latest_file is not None and not Holder.of(latest_file).released:
                    self._refuse()
                return

    def _create(self, number: int) -> bool:
        """Become the owner by creating a number. Return False if another run was faster."""
        token, began = secrets.token_hex(8), elapsed()
        if not self._files.create(number, self._content(token)):
            return False
        numbers = self._files.numbers()
        if max(numbers, default=0) != number:
            # This run was paused since it looked, others came and went, and one of them deleted the
            # file of this number: they are at higher ones.
            self._files.delete(number)
            return False
        self._number, self._token, self._renewed = number, token, began
        # The highest number stays for ever, or one could be given twice; only lower ones go.
        for lower in numbers:
            if lower < number:
                with suppress(JobError):  # a later owner tries again
                    self._files.delete(lower)
        return True

    def _keep(self) -> None:
        """Renew the lease until the end, then release it. After a failure try more often."""
        interval = self._duration / RENEWALS
        pause = interval
        while not self._ended.wait(pause):
            try:
                with self._busy:
                    if self._lost:
                        return
                    self._renew()
                pause = interval
            except Exception:  # of the file system or, at the end, of a JVM that is gone
                pause = interval / 4
        self._release()

    def _renew(self) -> None:
        self._verify()
        until = self._renewed + self._duration - self._duration / RENEWALS
        began = elapsed()
        if began < until:
            self._files.rewrite(self._number, self._content(self._token))
            if elapsed() < until:
                self._renewed = began
                return
        # Others may have seen the lease expire before the file was rewritten, or may see it now.
        if not self._create(self._number + 1):
            self._lose()

    def _verify(self) -> None:
        """Raise JobError if this run's file is not the one of the highest number any more."""
        if max(self._files.numbers(), default=0) == self._number and self._is_mine():
            return
        self._lose()

    def _is_mine(self) -> bool:
        """Return whether the file is this run's, as an empty one is: a renewal failed midway."""
        file = self._files.read(self._number)
        return file is not None and (not file.data or Holder.of(file).token == self._token)

    def _lose(self) -> None:
        number = max(self._files.numbers(), default=0)
        holder = Holder.of(self._files.read(number)) if number else None
        other = (
            f"{holder.text} took it over" + (f" at {holder.since}" if holder.since else "")
            if holder and holder.token not in ("", self._token)
            else "somebody deleted its file"
        )
        self._lost = (
            f"this run lost the lease of {self._root}: {other}. It stops, so that two do not write "
            f"at once; the lease had not been renewed for {self._duration:.0f} s (the driver was "
            "paused, or did not reach the file system), or its file was deleted. What is finished "
            "stays: when the other run has ended, the same command goes on"
        )
        threading.Thread(target=self._end_what_begins, name="lost lease", daemon=True).start()
        raise JobError(self._lost)

    def _end_what_begins(self) -> None:
        """Call `on_lost` at once, and then again and again."""
        while True:
            with suppress(Exception):  # of a JVM that did not answer, or is gone
                self._on_lost()
            if self._ended.wait(LOST_PAUSE):
                return

    def _release(self) -> None:
        """Say that the lease is free. If that fails it expires by itself."""
        with suppress(Exception), self._busy:
            if not self._lost and self._is_mine():
                self._files.rewrite(self._number, self._content(self._token, released=True))

    def _content(self, token: str, released: bool = False) -> bytes:
        said = asdict(self._owner) | {
            "since": self._since,
            "renewed": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "duration": self._duration,
            "token": token,
            "released": released,
        }
        return json.dumps(said).encode()

    def _waiting(self, number: int, file: LeaseFile | None, left: float) -> str:
        holder = Holder.of(file)
        return (
            f"{self._root} is held by {_since(holder)}. If that run is dead its lease expires in "
            f"{left:.0f} s: waiting for that, or for a sign of life. To end it at once, if you "
            f"know that the run is dead, delete {self._files.path(number)}"
        )

    def _refuse(self) -> None:
        """Raise JobError that names the run which holds the lease and is alive."""
        number = max(self._files.numbers(), default=0)
        file = self._files.read(number)
        if file is not None and not file.data:  # it is writing who it is
            time.sleep(self._duration / LOOKS)
            file = self._files.read(number)
        holder = Holder.of(file)
        raise JobError(
            f"{self._root} is in use by {_since(holder)}, which is alive: wait for it, or end "
            f"it. A run that is killed holds it for {holder.duration:.0f} s more; to "
            f"end that at once, delete {self._files.path(number)}"
        )


def _remaining(file: LeaseFile | None, now: float) -> float:
    """Return the seconds until a lease expires; 0 or less if it may be taken."""
    holder = Holder.of(file)
    if file is None or holder.released:
        return 0.0
    return holder.duration - max(0.0, now - file.modified)


def _since(holder: Holder) -> str:
    return holder.text + (f" since {holder.since}" if holder.since else "")
