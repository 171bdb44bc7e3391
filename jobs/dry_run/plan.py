"""A dry run: what a command would do and what it would take, without doing any of it.

The jobs themselves say what they read, write and depend on: a `Plan` stands in for their `Run`, and
every stage that they open is weighed and then handed back as finished. It takes no lock, for
Delta's readers need none, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from pyspark.sql import SparkSession

from jobs.acquisition import sources
from jobs.acquisition.sources import Source
from jobs.dry_run import cost, rates, reasons, workload
from jobs.dry_run.cost import Estimate, Volume
from jobs.dry_run.reasons import Last
from jobs.dry_run.workload import Files
from jobs.errors import MissingError
from jobs.runtime import session
from jobs.runtime.console import named, some
from jobs.runtime.progress import duration
from jobs.runtime.run import Run, Work, check_whole, mark_of
from jobs.settings.load import Settings


@dataclass(frozen=True)
class Step:
    """A stage of a plan, and why it would be done or not."""

    stage: str
    redo: bool
    why: str
    writes: tuple[str, ...] = ()
    depends: Any = None


class Plan(Run):
    """As a Run for the jobs, but nothing is done."""

    def __init__(self, spark: SparkSession, settings: Settings, job: str) -> None:
        super().__init__(spark, settings, job)
        self.steps: list[Step] = []
        self.source: Source | None = None  # what ingest would read, where it would be done
        self.files: Files | None = None  # what ingest would find; None: as it was
        self.history = self.warehouse.query("runs")
        # What a stage to be done would leave in a table; None where only doing it would tell.
        self._promised: dict[tuple[str, str], str | None] = {}

    def perform(self, job: ModuleType) -> None:
        """A job that lacks what an earlier one would make would follow it."""
        try:
            job.main(self)
        except MissingError:
            if not self.redone:
                raise
            name, writes = job.__name__.rpartition(".")[2], getattr(job, "WRITES", ())
            self.steps.append(Step(name, True, f"{self.redone[-1]} would be done", writes))
            self._promised |= {(table, name): None for table in writes}

    @contextmanager
    def stage(
        self,
        name: str,
        *,
        reads: Mapping[str, str] | None = None,
        writes: tuple[str, ...] = (),
        depends: Any = None,
        version: int = 1,
        finished: Callable[[str], bool] | None = None,
    ) -> Iterator[Work]:
        """Weigh a stage, and hand it out as if there were nothing to do."""
        reads = reads or {}
        contents = {table: self._content(table, writer, name) for table, writer in reads.items()}
        known = {table: content for table, content in contents.items() if content is not None}
        whole = len(known) == len(contents)
        if whole:
            check_whole(reads, {table: content.split("|")[0] for table, content in known.items()})
        mark = mark_of(name, version, depends, known)
        pending = self._pending(name, writes, mark, finished) if whole else ["output"]
        if pending:
            why = self._why(name, reads, depends)
            self.steps.append(Step(name, True, why, writes, depends))
            self._promised |= {
                (table, name): self._to_be(table, name, mark) if whole else None for table in writes
            }
        else:
            self.steps.append(Step(name, False, "up to date", writes, depends))
        yield Work(self, name, mark, {}, writes, [], datetime.now(UTC))

    @property
    def redone(self) -> list[str]:
        """The stages that would be done so far."""
        return [step.stage for step in self.steps if step.redo]

    def _content(self, table: str, writer: str, reader: str) -> str | None:
        if (table, writer) in self._promised:
            return self._promised[table, writer]
        return self._input(table, writer, reader).output_id

    def _to_be(self, table: str, stage: str, mark: str) -> str:
        """With what a commit leaves open as it is now: the machine that encodes."""
        commit = self.warehouse.newest(table, stage)
        more = commit.metadata.get("content") if commit else None
        return f"{mark}|{more}" if more else mark

    def _why(self, name: str, reads: Mapping[str, str], depends: Any) -> str:
        last = Last.of(self.history, name)
        if name == "ingest":
            self.source = sources.find(self.spark, self.settings)
        if name == "ingest" and self.source is not None:
            commit = self.warehouse.newest("images", "ingest")
            anew = commit is None or commit.metadata.get("decoding") != depends["decoding"]
            anew = anew or name in self.settings.overwrite
            self.files = workload.of_source(self.source, self.warehouse, anew=anew)
        if name in self.settings.overwrite:
            return f"--overwrite {name}"
        settings = self.settings.sections()
        found = str(self.files) if self.files else ""
        if name == "ingest" and found and last is not None:
            return some([*reasons.changed(name, last.settings, settings), f"{found} files"])
        redone = [writer for writer in dict.fromkeys(reads.values()) if writer in self.redone]
        commits = {table: self.warehouse.newest(table, writer) for table, writer in reads.items()}
        versions = {table: commit.version for table, commit in commits.items() if commit}
        return reasons.reason(name, last, settings, versions, redone)

    def say(self) -> None:
        """Every stage with its reason, and what the whole would take."""
        cores = session.slots(self.spark)
        now = cost.volume(self.warehouse, self.settings, self.source, self.files)
        found = cost.measured(self.history, now, self.warehouse, cores)
        to_encode = self._to_encode(now)
        taken = {
            step.stage: cost.estimate(
                step.stage, step.writes, now, to_encode, self.settings, found, cores
            )
            for step in self.steps
            if step.redo
        }
        for step in self.steps:
            self._say_step(step, taken.get(step.stage))
        seconds = sum((one.seconds for one in taken.values()), rates.START)
        total = Estimate(
            now.images,
            taken["prune"].pairs if "prune" in taken else 0.0,
            seconds if taken else 0.0,
            sum(one.bytes for one in taken.values()),
        )
        self._say_total(now, total, cores, [stage for stage in taken if stage in found.factors])

    def _to_encode(self, now: Volume) -> float:
        """Images without a latent."""
        step = next((step for step in self.steps if step.stage == "encode"), None)
        if step is None or not step.redo:
            return 0.0
        if now.anew or "train" in self.redone or "encode" in self.settings.overwrite:
            return now.images
        if not self.warehouse.exists("images"):
            return now.images
        commit = self.warehouse.newest("latents", "encode")
        if commit and commit.orientations != self.settings.encode.orientations:
            return now.images
        lacking = workload.without_latents(self.warehouse, str(step.depends["model_id"]))
        return lacking + now.fresh

    def _say_step(self, step: Step, taken: Estimate | None) -> None:
        fields: dict[str, Any] = {"redo": step.redo, "why": step.why}
        if taken is None:
            text = f"{named(step.stage)} {step.why}"
            self.console.line(text, stage=step.stage, event="planned", **fields)
            return
        much = f"{taken.images:,.0f} images"
        if taken.pairs:
            much = f"{taken.pairs:,.0f} pairs at most"
        text = f"{named(step.stage)} {much}, about {duration(taken.seconds)}: {step.why}"
        fields |= {"images": round(taken.images), "pairs": round(taken.pairs)}
        fields |= {"seconds": round(taken.seconds, 1), "bytes": round(taken.bytes)}
        self.console.line(text, stage=step.stage, event="planned", **fields)

    def _say_total(self, now: Volume, total: Estimate, cores: int, measured: Sequence[str]) -> None:
        say = self.console.line
        say()
        if self.files is not None:
            found = str(self.files) or "none new"
            say(f"  {self.files.count:,} files ({found}), {now.images:,.0f} images")
        if total.pairs:
            kept = workload.kept_share(self.warehouse)
            likely = "" if kept is None else f", {kept * total.pairs:,.0f} if {kept:.0%} stay"
            say(f"  {total.pairs:,.0f} pairs at most to compare, images with kept ones{likely}")
        hours = total.seconds * cores / 3600
        say(
            f"  {total.bytes / 1e9:,.2f} GB to be written; about {duration(total.seconds)} on "
            f"{cores} cores, {hours:,.2f} core-hours",
            event="plan",
            images=round(now.images),
            pairs=round(total.pairs),
            bytes=round(total.bytes),
            seconds=round(total.seconds, 1),
            cores=cores,
            core_hours=round(hours, 4),
            redo=self.redone,
        )
        if self.redone:
            here = f"this warehouse's own runs for {', '.join(measured)}" if measured else ""
            stated = "docs/results.md" if len(measured) < len(self.redone) else ""
            say(f"  rates: {' and '.join(part for part in (here, stated) if part)}")
        say("  nothing was done (--dry-run)")
