"""A dry run: which stages a command would do, why, of how much, and how long that took here before.

The stages' own declarations are asked, as a run asks them. Nothing is decoded or written, and no
lock is taken, since readers of Delta tables need none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from PIL import Image
from pyspark.sql import functions as F

from jobs.acquisition import sources
from jobs.errors import MissingError
from jobs.runtime.console import stage_column
from jobs.runtime.progress import duration
from jobs.runtime.run import Run
from jobs.runtime.stage import Stage, check_consistent, recorded

COMPARING = ("prune", "leaks", "conflicts")  # their work grows with the pairs of images
LISTING = "content"  # what `ingest` depends on beside settings: told by counts of files
FRAMES = 64  # files whose size in pixels stands for all
FILE_KEY = ["size_bytes", "modified_at"]


@dataclass
class Step:
    """A stage of a plan: whether it would be done, and why; of how many images and pairs."""

    stage: str
    redo: bool
    why: str
    images: float = 0.0
    pairs: float = 0.0
    seconds: float | None = None


class Plan:
    """The stages of a command, looked at one after the other."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.steps: list[Step] = []
        self.files = ""  # what `ingest` would find, where it would be done
        self.history = run.warehouse.query("runs")
        self.images = self._count("images")
        self._sizes = [float(row["n"]) for row in self._classes()]
        self._fresh = 0.0  # images to be decoded
        # The `output_id` that a stage to be done would leave; None where only doing it would tell.
        self._promised: dict[tuple[str, str], str | None] = {}

    @property
    def redone(self) -> list[str]:
        """The stages that would be done so far."""
        return [step.stage for step in self.steps if step.redo]

    def look_at(self, stage: Stage) -> None:
        """Add a stage; raises MissingError where no earlier one of the plan makes its inputs."""
        reads, outputs = stage.reads(self.run), stage.outputs(self.run)
        depends: Any = None
        ids: dict[str, str | None] = {}
        try:
            depends = stage.depends(self.run)
            ids = {table: self._id(table, writer, stage) for table, writer in reads.items()}
            known = {table: output_id for table, output_id in ids.items() if output_id is not None}
            is_known = len(known) == len(reads)
        except MissingError:  # such as a model that is not trained yet
            if not self.redone:
                raise
            known, is_known = {}, False
        mark, pending = "", ["output"]
        if is_known:
            check_consistent(reads, {table: value.split("|")[0] for table, value in known.items()})
            mark = stage.fingerprint(depends, known)
            pending = self.run.pending(stage, outputs, mark)
        if not pending:
            self.steps.append(Step(stage.name, False, "up to date"))
            return
        redone = [writer for writer in dict.fromkeys(reads.values()) if writer in self.redone]
        if not is_known:
            redone = redone or self.redone[-1:]
        self.steps.append(Step(stage.name, True, self._why(stage, depends, reads, redone)))
        for table in outputs:
            self._promised[table, stage.name] = self._left(table, stage, mark) if mark else None

    def measure(self) -> None:
        """How much each stage would go through, and how long that took here before."""
        for step in self.steps:
            if step.redo:
                step.images = self.images
                if step.stage == "ingest":
                    step.images = self._fresh
                elif step.stage == "encode":
                    known = 0 if "train" in self.redone else self._count("latents")
                    step.images = min(self.images, max(self._fresh, self.images - known))
                elif step.stage in COMPARING:
                    step.pairs = sum(n * (n - 1) / 2 for n in self._sizes)
                step.seconds = self._seconds(step)

    def _id(self, table: str, writer: str, reader: Stage) -> str | None:
        if (table, writer) in self._promised:
            return self._promised[table, writer]
        return self.run.input(table, writer, reader).output_id

    def _left(self, table: str, stage: Stage, mark: str) -> str:
        """What a stage would leave; the platform that encodes is taken to be that of before."""
        commit = self.run.warehouse.newest(table, stage.name)
        platform = commit.metadata.get("content") if commit else None
        return f"{mark}|{platform}" if platform else mark

    def _why(
        self, stage: Stage, depends: Any, reads: Mapping[str, str], redone: Sequence[str]
    ) -> str:
        """What differs from the run that did the stage last."""
        done = [row for row in self.history if (row["stage"], row["state"]) == (stage.name, "done")]
        last = max(done, key=lambda row: row["started"], default=None)
        then = last.get("depends") if last and depends is not None else None
        reasons = list(differences(then, recorded(depends), stage.name))
        if stage.name == "ingest":
            self._look_at_files(anew=bool(reasons) or "ingest" in self.run.settings.overwrite)
            reasons += [f"{self.files} files"] if self.files and last else []
        if stage.name in self.run.settings.overwrite:
            return f"--overwrite {stage.name}"
        if last is None:
            return "never done here"
        commits = {table: self.run.warehouse.newest(table, name) for table, name in reads.items()}
        versions = dict(last["versions_read"] or {})
        reasons += [f"{' and '.join(redone)} would be done"] if redone else []
        reasons += [
            f"{table} is at version {commit.version}, was {versions[table]}"
            for table, commit in commits.items()
            if not redone and commit and versions.get(table, commit.version) < commit.version
        ]
        return "; ".join(reasons) or "it was not finished, or is done otherwise by this version"

    def _look_at_files(self, *, anew: bool) -> None:
        """Count the files that are new, changed or gone; anew: known ones are read again too."""
        source = self.run.once(sources.of_run)
        counted = source.frame.where("label IS NOT NULL").groupBy("label").count().collect()
        commit = self.run.warehouse.newest("images", "ingest")
        new, changed, vanished, each = source.count, 0, 0, self._tiles_a_file(source)
        if commit and source.is_folder and commit.metadata.get("root") == source.root:
            images = self.run.warehouse.read("images")
            was = images.select("path", *FILE_KEY, F.lit(True).alias("image"))
            if self.run.warehouse.exists("rejects"):
                rejects = self.run.warehouse.read("rejects").where(
                    "stage = 'ingest' AND error_code != 'vanished'"
                )
                was = was.unionByName(
                    rejects.select("path", *FILE_KEY, F.lit(False).alias("image"))
                )
            was = was.dropDuplicates(["path"]).select(
                "path", F.struct(*FILE_KEY).alias("was"), "image"
            )
            now = source.frame.select("path", F.struct(*FILE_KEY).alias("now"))
            counts = now.join(was, on="path", how="full").agg(
                F.count_if(F.col("was").isNull()),
                F.count_if(F.col("was") != F.col("now")),
                F.count_if(F.col("now").isNull() & F.col("image")),
            )
            new, changed, vanished = counts.collect()[0]
            if not anew:
                each = self.images / max(1, images.select("path").distinct().count())
        parts = {"new": new, "changed": changed, "vanished": vanished}
        self.files = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
        self.images, self._sizes = source.count * each, [row["count"] * each for row in counted]
        self._fresh = (source.count if anew else new + changed) * each

    def _tiles_a_file(self, source: sources.Source) -> float:
        """Images that a file becomes, by the headers of some; 1 where frames stay whole."""
        if self.run.settings.ingest.tiling is None or not source.is_folder:
            return 1.0
        tile, stride = self.run.settings.ingest.tiling
        paths = [row.path for row in source.frame.select("path").sort("path").collect()]
        counts = []
        for path in paths[:: max(1, len(paths) // FRAMES)]:
            try:
                with Image.open(path) as image:
                    width, height = image.size
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            across, down = ((side - tile) // stride + 1 for side in (width, height))
            counts.append(max(0, across) * max(0, down))
        return fmean(counts) if counts else 1.0

    def _count(self, table: str) -> float:
        return float(self.run.warehouse.count(table)) if self.run.warehouse.exists(table) else 0.0

    def _classes(self) -> list[dict[str, Any]]:
        """Images of each class, within which prune compares; of all where it compares all."""
        prune = self.run.settings.prune
        label = "label" if prune.group_by or prune.never_across else "'all'"
        sql = f"SELECT {label} AS label, count(*) AS n FROM rows GROUP BY 1"
        return self.run.warehouse.query("images", sql)

    def _seconds(self, step: Step) -> float | None:
        """The longest run of a stage here, scaled to today's images; None where there is none."""
        runs = [
            ((row["finished"] - row["started"]).total_seconds(), row["started"])
            for row in self.history
            if (row["stage"], row["state"]) == (step.stage, "done") and row["finished"]
        ]
        if not runs:
            return None
        longest, started = max(runs)
        counted = [
            (row["started"], dict(row["row_counts"] or {}).get("images"))
            for row in self.history
            if row["stage"] == "ingest" and row["started"] <= started and row["state"] == "done"
        ]
        then = max(counted)[1] if counted else None
        ratio = step.images / then if then else 1.0
        return float(longest * (ratio**2 if step.pairs else ratio))


def differences(then: str | None, now: Any, name: str) -> Iterator[str]:
    """What a stage depends on that is not as it was; then: the JSON that was recorded."""
    if then is not None:  # versions before recorded nothing
        yield from _differences(json.loads(then), json.loads(json.dumps(now)), name)


def _differences(then: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            if key != LISTING:
                path = name if key == name else f"{name}.{key}"  # the section of the same name
                yield from _differences(then.get(key), now.get(key), path)
    elif then != now:
        yield f"{name} = {json.dumps(now)}, was {json.dumps(then)}"


def say(run: Run, stages: Sequence[Stage]) -> None:
    """Look at stages in their order, and tell of each what would be done."""
    plan = Plan(run)
    for stage in stages:
        plan.look_at(stage)
    plan.measure()
    for step in plan.steps:
        text, fields = step.why, {"redo": step.redo, "why": step.why}
        if step.redo:
            much = (
                f"{step.pairs:,.0f} pairs at most" if step.pairs else f"{step.images:,.0f} images"
            )
            taken = "" if step.seconds is None else f", about {duration(step.seconds)}"
            text = f"{much}{taken}: {step.why}"
            fields |= {"images": round(step.images), "pairs": round(step.pairs)}
            fields |= {} if step.seconds is None else {"seconds": round(step.seconds, 1)}
        run.console.line(
            f"{stage_column(step.stage)} {text}", stage=step.stage, event="planned", **fields
        )
    _say_total(run, plan)


def _say_total(run: Run, plan: Plan) -> None:
    say = run.console.line
    say()
    if "ingest" in plan.redone:
        say(f"  {run.once(sources.of_run).count:,} files ({plan.files or 'none new'})")
    steps = [step for step in plan.steps if step.redo]
    known = [step.seconds for step in steps if step.seconds is not None]
    unknown = [step.stage for step in steps if step.seconds is None]
    text = f"  {plan.images:,.0f} images; {len(steps)} of {len(plan.steps)} stages would be done"
    if known:
        text += f", about {duration(sum(known))} by earlier runs of this warehouse"
        text += f", beside {', '.join(unknown)}, which it never did" if unknown else ""
    say(
        text,
        event="plan",
        redo=plan.redone,
        images=round(plan.images),
        pairs=round(sum(step.pairs for step in steps if step.stage == "prune")),
        seconds=round(sum(known), 1),
    )
    say("  nothing was done (--dry-run)")
