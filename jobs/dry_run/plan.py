"""The dry run: which stages a command would do, why, on how many images, and for how long.

It asks the stages' declarations as a run does. The time is that of earlier runs on this warehouse.
Nothing is decoded or written, and no lock is taken, since readers of Delta tables need none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.acquisition import listing as files
from jobs.acquisition import sources
from jobs.errors import MissingError
from jobs.paths import is_mounted
from jobs.runtime.console import stage_column
from jobs.runtime.progress import duration
from jobs.runtime.run import Run, changed_by_others
from jobs.runtime.stage import NamedValues, Stage, check_consistent, hashed
from jobs.settings.redaction import redacted
from jobs.warehouse import given_file
from udfs.acquisition import decode
from udfs.acquisition.unusable import Unusable

COMPARING = ("prune", "leaks", "conflicts")  # stages whose work grows with the pairs of images
# In `depends` of ingest, the key of the hash of all files. It is not shown as a reason, since the
# counts of new, changed and vanished files say more.
LISTING = "content"
REASON_UNKNOWN = "its last run did not finish, or this version computes it differently"
HEADER = 1 << 20  # bytes of a file, in which the size in pixels stands
FRAMES = 64  # files whose size in pixels is taken as typical of all
FILE_KEY = ["path", "size_bytes", "modified_at"]
KNOWN = pa.schema(
    [("path", pa.string()), ("size_bytes", pa.int64()), ("modified_at", pa.timestamp("us", "UTC"))]
)


@dataclass
class Step:
    """A stage of a plan: whether it would be done and why.

    images: those that it would go through. pairs: those that it would compare at most. seconds:
    what that would take; None if the stage was never run in this warehouse.
    """

    stage: str
    would_run: bool
    reason: str
    images: float = 0.0
    pairs: float = 0.0
    seconds: float | None = None


class Plan:
    """The stages of a command, which are added one after the other by `add`.

    files: the counts of new, changed and vanished files, filled by `add(ingest)` if ingest would
    run. images: those of the table `images` after the run. history: the rows of the table `runs`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.steps: list[Step] = []
        self.files = ""
        self.history = run.warehouse.query("runs")
        self.images = self._count("images")
        self._sizes = [float(row["n"]) for row in self._class_sizes()]
        self._new_images = 0.0  # images to be decoded
        # A table's `output_id` after its stage; None if it cannot be known before the run.
        self._expected_ids: dict[tuple[str, str], str | None] = {}

    @property
    def running(self) -> list[str]:
        """The stages that would be done, of those added so far."""
        return [step.stage for step in self.steps if step.would_run]

    @property
    def _within_classes(self) -> bool:
        """Whether prune compares within groups, which are taken to be about the classes."""
        return bool(self.run.settings.prune.group_by or self.run.settings.prune.never_across)

    def add(self, stage: Stage) -> None:
        """Add a stage.

        Raises MissingError if an input is missing that no earlier stage writes, and SettingsError
        if the stage cannot run with these settings.
        """
        stage.check_enabled(self.run.settings)
        reads, outputs = stage.reads(self.run), stage.outputs(self.run)
        depends: Any = None
        input_ids: dict[str, str] | None = None
        try:
            depends = stage.depends(self.run)
            input_ids = self._input_ids(stage, reads)
        except MissingError:  # such as a model that is not trained yet
            if not self.running:
                raise
        fingerprint, pending = "", ["output"]
        if input_ids is not None:
            fingerprints = {table: value.split("|")[0] for table, value in input_ids.items()}
            check_consistent(reads, fingerprints)
            fingerprint = stage.fingerprint(depends, input_ids)
            pending = self.run.pending(stage, outputs, fingerprint)
        if not pending:
            self.steps.append(Step(stage.name, False, "up to date"))
            return
        causes = [writer for writer in dict.fromkeys(reads.values()) if writer in self.running]
        if input_ids is None:
            causes = causes or self.running[-1:]
        self.steps.append(Step(stage.name, True, self._reason(stage, depends, reads, causes)))
        known = fingerprint and not stage.disturbed_by(self.run)
        for table in outputs:
            output_id = self._output_id(table, stage, fingerprint) if known else None
            self._expected_ids[table, stage.name] = output_id

    def estimate(self) -> None:
        """Set images, pairs and seconds of the steps that would be done."""
        for step in self.steps:
            if step.would_run:
                step.images = self.images
                if step.stage == "ingest":
                    step.images = self._new_images
                elif step.stage == "encode":
                    encoded = 0 if "train" in self.running else self._count("latents")
                    step.images = min(self.images, max(self._new_images, self.images - encoded))
                elif step.stage in COMPARING:
                    step.pairs = sum(n * (n - 1) / 2 for n in self._sizes)
                step.seconds = self._seconds(step)

    def _input_ids(self, stage: Stage, reads: Mapping[str, str]) -> dict[str, str] | None:
        """The `output_id` that each input would have when the stage reads it.

        None if one of them cannot be known before the run. Raises MissingError if one does not
        exist.
        """
        input_ids = {}
        for table, writer in reads.items():
            if (table, writer) in self._expected_ids:
                input_ids[table] = self._expected_ids[table, writer]
            else:
                input_ids[table] = self.run.input(table, writer, stage).output_id
        certain = {table: value for table, value in input_ids.items() if value is not None}
        return certain if len(certain) == len(reads) else None

    def _output_id(self, table: str, stage: Stage, fingerprint: str) -> str:
        """The `output_id` of a table after its stage, if the encoding platform is as it was."""
        commit = self.run.warehouse.newest(table, stage.name)
        platform = commit.metadata.get("content") if commit else None
        return f"{fingerprint}|{platform}" if platform else fingerprint

    def _reason(
        self, stage: Stage, depends: Any, reads: Mapping[str, str], causes: Sequence[str]
    ) -> str:
        """Say what differs from the run that did the stage last.

        causes: the stages before it that would be done and because of which it would be done.
        """
        done = [row for row in self.history if (row["stage"], row["state"]) == (stage.name, "done")]
        last = max(done, key=lambda row: row["started"], default=None)
        before = last.get("depends") if last and depends is not None else None
        reasons = list(differences(before, depends, stage.name))
        if stage.name == "ingest":
            self._count_files(anew=self._decodes_anew(hashed(depends)["decoding"]))
            reasons += [f"{self.files} files"] if self.files and last else []
        if stage.name in self.run.settings.overwrite:
            return f"--overwrite {stage.name}"
        if last is None:
            return "never run in this warehouse"
        commits = {table: self.run.warehouse.newest(table, name) for table, name in reads.items()}
        versions = dict(last["versions_read"] or {})
        reasons += [f"{' and '.join(causes)} would be done"] if causes else []
        changed = {
            table: [c for c in commit.changes if c.version > versions.get(table, -1)]
            for table, commit in commits.items()
            if commit
        }
        for table, changes in {**changed, **stage.disturbed_by(self.run)}.items():
            reasons += [changed_by_others(table, changes)] if changes else []
        reasons += [
            f"{table} is at version {commit.version}, was {versions[table]}"
            for table, commit in commits.items()
            if not causes and commit and versions.get(table, commit.version) < commit.version
        ]
        return "; ".join(reasons) or REASON_UNKNOWN

    def _decodes_anew(self, decoding: str) -> bool:
        """Return whether `ingest` would also decode files that did not change.

        decoding: the fingerprint of how files are decoded, which the commit of `images` records.
        """
        commit = self.run.warehouse.newest("images", "ingest")
        as_before = commit is not None and commit.metadata.get("decoding") == decoding
        return not as_before or "ingest" in self.run.settings.overwrite

    def _count_files(self, *, anew: bool) -> None:
        """Count new, changed and vanished files, and the images that all of them become.

        anew: whether files that did not change would be decoded again too.
        """
        source = self.run.once(sources.of_run)
        commit = self.run.warehouse.newest("images", "ingest")
        new, changed, vanished, tiles = source.count, 0, 0, 1.0
        if source.listed is None:
            rows = source.frame.where("label IS NOT NULL").groupBy("label").count().collect()
            classes = [row["count"] for row in rows]
        else:
            listing = source.listed()
            classes = listing["label"].drop_null().value_counts().field("counts").to_pylist()
            tiles = self._tiles_per_file(listing)
            if commit and source.is_of(commit):
                new, changed, vanished = self._file_changes(listing)
                if not anew:
                    sql = "SELECT count(DISTINCT path) AS files FROM rows"
                    (row,) = self.run.warehouse.query("images", sql)
                    tiles = self.images / max(1, row["files"])
        parts = {"new": new, "changed": changed, "vanished": vanished}
        self.files = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
        self.images, self._sizes = source.count * tiles, [count * tiles for count in classes]
        if not self._within_classes:
            self._sizes = [sum(self._sizes)]
        self._new_images = (source.count if anew else new + changed) * tiles

    def _file_changes(self, listing: pa.Table) -> tuple[int, int, int]:
        """Return how many files of a folder are new, changed and vanished since the last ingest."""
        before = self._known_files("images", "path IS NOT NULL", is_image=True)
        where = "stage = 'ingest' AND error_code != 'vanished' AND path IS NOT NULL"
        rejects = self._known_files("rejects", where, is_image=False)
        rejects = rejects.join(before.select(["path"]), "path", join_type="left anti")
        before = pa.concat_tables([before, rejects.select(before.column_names)])
        present = pa.repeat(True, len(listing))
        now = listing.select(FILE_KEY).append_column("present", present)
        both = now.join(before, "path", join_type="full outer", right_suffix=" before")
        is_there, was_there = (both[name].is_valid() for name in ("present", "is_image"))
        changed = pc.and_(is_there, was_there)
        differs = pa.array(np.zeros(len(both), np.bool_))
        for name in FILE_KEY[1:]:
            sides = (both[name], both[f"{name} before"])
            numbers = (side.cast(pa.int64()).fill_null(-1) for side in sides)
            differs = pc.or_(differs, pc.not_equal(*numbers))
        vanished = pc.and_(pc.invert(is_there), both["is_image"].fill_null(False))
        masks = (pc.invert(was_there), pc.and_(changed, differs), vanished)
        new, other, gone = (pc.sum(mask).as_py() or 0 for mask in masks)
        return new, other, gone

    def _known_files(self, table: str, where: str, *, is_image: bool) -> pa.Table:
        """Return path, size and time of the files that a table tells of, and `is_image`."""
        sql = (
            "SELECT path, max(size_bytes) AS size_bytes, max(modified_at) AS modified_at "
            f"FROM rows WHERE {where} GROUP BY path"
        )
        found = self.run.warehouse.arrow(table, sql)
        rows = KNOWN.empty_table() if found is None else found.cast(KNOWN)
        return rows.append_column("is_image", pa.repeat(is_image, len(rows)))

    def _tiles_per_file(self, listing: pa.Table) -> float:
        """Estimate the images that a file becomes by the headers of some files.

        It is 1 if frames are not cut into tiles.
        """
        if self.run.settings.ingest.tiling is None:
            return 1.0
        tile, stride = self.run.settings.ingest.tiling
        paths = sorted(listing["path"].to_pylist())
        counts = []
        for path in paths[:: max(1, len(paths) // FRAMES)]:
            try:
                head = (
                    files.head(path, HEADER) if is_mounted(path) else given_file.read(path, HEADER)
                )
                size = decode.frame_size(head)
            except (OSError, ValueError, Unusable):
                continue
            across, down = ((side - tile) // stride + 1 for side in size)
            counts.append(max(0, across) * max(0, down))
        return fmean(counts) if counts else 1.0

    def _count(self, table: str) -> float:
        return float(self.run.warehouse.count(table)) if self.run.warehouse.exists(table) else 0.0

    def _class_sizes(self) -> list[dict[str, Any]]:
        """Count the images of each class, or all if prune does not compare within classes."""
        label = "label" if self._within_classes else "'all'"
        sql = f"SELECT {label} AS label, count(*) AS n FROM rows GROUP BY 1"
        return self.run.warehouse.query("images", sql)

    def _seconds(self, step: Step) -> float | None:
        """Scale the longest run of a stage to today's images; None if it never ran here.

        A stage that compares pairs is scaled by the square.
        """
        if step.stage == "train" and self.run.settings.train.model:
            return None  # earlier runs may have trained, and this one only takes a model over
        runs = [
            ((row["finished"] - row["started"]).total_seconds(), row["started"])
            for row in self.history
            if (row["stage"], row["state"]) == (step.stage, "done") and row["finished"]
        ]
        if not runs:
            return None
        longest, started = max(runs)
        ingested = [
            (row["started"], dict(row["row_counts"] or {}).get("images"))
            for row in self.history
            if row["stage"] == "ingest" and row["started"] <= started and row["state"] == "done"
        ]
        images = max(ingested)[1] if ingested else None
        ratio = step.images / images if images else 1.0
        return float(longest * (ratio**2 if step.pairs else ratio))


def differences(before: str | None, now: Any, stage: str) -> Iterator[str]:
    """Yield a message for each value in `depends` of a stage that differs from before.

    Args:
        before: the JSON that the table `runs` has; None if the version of then recorded none.
        now: what `Stage.depends` returns now.
        stage: the stage's name. It is also the section of settings whose names stand alone in
            `depends`, so `seed` of prune is shown as `prune.seed`.
    """
    if before is not None:
        yield from _differences(json.loads(before), now, stage)


def _differences(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(now, NamedValues):
        if before == _as_json(now.hashed):  # recorded by a version that did not name its values
            return
        if before is not None and not isinstance(before, dict):
            names = ", ".join(now.values)
            yield f"{names} = {json.dumps(now.hashed)}, was {json.dumps(before)}"
            return
        before, now = _with_full_names(before or {}, now.values), now.values
    if isinstance(before, dict) and isinstance(now, Mapping | None):
        now = now or {}
        for key in dict.fromkeys([*before, *now]):
            if key != LISTING:
                yield from _differences(before.get(key), now.get(key), _full_name(key, name))
    elif before != _as_json(now):
        yield f"{name} = {json.dumps(now)}, was {json.dumps(before)}"


def _full_name(key: str, name: str) -> str:
    """The name to show of a key in the part `name` of `depends`."""
    if "." in key:
        return key  # of NamedValues
    return name if key == name else f"{name}.{key}"  # `train` of train is the section


def _with_full_names(before: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Values as they are named now; versions before named a setting without its section."""
    full_names = {name.rpartition(".")[2]: name for name in names}
    named = {full_names.get(key, key): value for key, value in before.items()}
    return {key: value for key, value in named.items() if "." in key}


def _as_json(value: Any) -> Any:
    """Return a value as the table `runs` records it."""
    return json.loads(json.dumps(redacted(value)))


def log_plan(run: Run, stages: Sequence[Stage]) -> None:
    """Log on the console what would be done for stages, given in their order."""
    plan = Plan(run)
    for stage in stages:
        plan.add(stage)
    plan.estimate()
    for step in plan.steps:
        text, fields = step.reason, {"redo": step.would_run, "why": step.reason}
        if step.would_run:
            work = (
                f"{step.pairs:,.0f} pairs at most" if step.pairs else f"{step.images:,.0f} images"
            )
            time = "" if step.seconds is None else f", about {duration(step.seconds)}"
            text = f"{work}{time}: {step.reason}"
            fields |= {"images": round(step.images), "pairs": round(step.pairs)}
            fields |= {} if step.seconds is None else {"seconds": round(step.seconds, 1)}
        run.console.line(
            f"{stage_column(step.stage)} {text}", stage=step.stage, event="planned", **fields
        )
    _log_total(run, plan)


def _log_total(run: Run, plan: Plan) -> None:
    """Log files, images, stages and time of the whole plan."""
    log = run.console.line
    log()
    if "ingest" in plan.running:
        log(f"  {run.once(sources.of_run).count:,} files ({plan.files or 'none new'})")
    steps = [step for step in plan.steps if step.would_run]
    seconds = [step.seconds for step in steps if step.seconds is not None]
    never_done = [step.stage for step in steps if step.seconds is None]
    text = f"  {plan.images:,.0f} images; {len(steps)} of {len(plan.steps)} stages would be done"
    if seconds:
        text += f", about {duration(sum(seconds))} by earlier runs of this warehouse"
        text += f", beside {', '.join(never_done)}, which never ran in it" if never_done else ""
    log(
        text,
        event="plan",
        redo=plan.running,
        images=round(plan.images),
        pairs=round(sum(step.pairs for step in steps if step.stage == "prune")),
        seconds=round(sum(seconds), 1),
    )
    log("  nothing was done (--dry-run)")
