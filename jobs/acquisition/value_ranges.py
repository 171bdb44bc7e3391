"""Fixes which values of pictures of more than 8 bits become black and white, before they are read.

A range belongs to the pictures of one class whose samples are of one kind. It is fitted to a sample
of the files that bring the first of them, stands in the commits of `images`, and stays the same for
all later files; so the order of files, the batches they come in and the number of executors change
no pixel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial, reduce
from operator import or_
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.acquisition.image_reader import SPREAD
from jobs.acquisition.sources import NARROW, ByClass, Source
from jobs.runtime import session
from jobs.runtime.stage import StageRun
from jobs.warehouse import arrow_frames
from jobs.warehouse.commits import fingerprint
from udfs import arrow
from udfs.acquisition import samples
from udfs.acquisition.metadata import PNG
from udfs.acquisition.ranges import AUTO, FULL, Depth, Range, Spread, fitted, pooled

TOLD = 5  # ranges that the console names
FILES = 1000  # of a class that a range is fitted to, at most
KEY = "ranges"  # in the metadata of a commit of `images`
_FITTED = arrow_frames.struct("label string, kind string, low double, high double")


@dataclass(frozen=True)
class ValueRanges:
    """The ranges of all classes, and what they were fitted by.

    of: the hash of the rule, the bands and the root. epoch: "" until a range becomes another one
    than an earlier run had decoded files with; then a hash of the ranges, so that what was computed
    of those pixels is no longer valid. rule, bands: as in `ranges.Depth`.
    """

    of: str = ""
    epoch: str = ""
    by_class: ByClass = field(default_factory=dict)
    rule: str | Range = FULL
    bands: tuple[int, ...] = ()

    @classmethod
    def recorded(cls, metadata: Mapping[str, Any]) -> ValueRanges | None:
        """Return what a commit of `images` recorded; None of earlier versions, which did not."""
        if KEY not in metadata:
            return None
        values = metadata[KEY]
        by_class = {
            label: {kind: (low, high) for kind, (low, high) in kinds.items()}
            for label, kinds in values["by_class"].items()
        }
        rule = values.get("rule", AUTO)  # the first version that fitted ranges did not record it
        return cls(
            values["of"],
            values["epoch"],
            by_class,
            rule if isinstance(rule, str) else (rule[0], rule[1]),
            tuple(values.get("bands", ())),
        )

    def metadata(self) -> dict[str, Any]:
        """Return what a commit of `images` records.

        `content`: what depends on `images` depends on the epoch, which no setting tells.
        """
        return {KEY: asdict(self)} | ({"content": self.epoch} if self.epoch else {})

    def depth(self, label: str) -> Depth:
        """Return how deep pictures of a class are shown."""
        return Depth(self.rule, self.by_class.get(label, {}), self.bands)

    def of_kinds(self) -> dict[tuple[str, str], Range]:
        """Return the ranges by label and kind."""
        return {
            (label, kind): values
            for label, kinds in self.by_class.items()
            for kind, values in kinds.items()
        }


def fixed(stage_run: StageRun, source: Source, new: DataFrame) -> ValueRanges:
    """Return the ranges that candidates are decoded with: recorded ones, and those of new kinds.

    new: the candidates that no finished run has decoded. With --overwrite all ranges are fitted
    anew.
    """
    ingest = stage_run.settings.ingest
    of = fingerprint([ingest.range, ingest.bands, source.root])
    commit = stage_run.previous_commit("images")
    before = ValueRanges.recorded(commit.metadata) if commit else ValueRanges()
    known = before if before and before.of == of and not stage_run.is_overwritten else ValueRanges()
    ranges = known.of_kinds()
    if isinstance(ingest.range, str) and ingest.range != FULL and source.may_be_deep():
        ranges = _fitted(stage_run, source, new) | ranges
        _log(stage_run, ranges)
    by_class: dict[str, dict[str, Range]] = {}
    for (label, kind), values in sorted(ranges.items()):
        by_class.setdefault(label, {})[kind] = values
    rule = ingest.range if isinstance(ingest.range, str) else (ingest.range[0], ingest.range[1])
    return ValueRanges(of, _epoch(before, ranges), by_class, rule, tuple(ingest.bands))


def _log(stage_run: StageRun, ranges: Mapping[tuple[str, str], Range]) -> None:
    """Tell which values are black and white, and in how many classes."""
    classes = Counter((kind, values) for (_, kind), values in ranges.items())
    for (kind, (low, high)), count in classes.most_common(TOLD):
        where = f"{count:,} classes" if count > 1 else "one class"
        stage_run.console.line(f"    {kind} pictures of {where}: {low:g} … {high:g} are shown")
    if len(classes) > TOLD:
        stage_run.console.line(f"    and {len(classes) - TOLD:,} other ranges: images.range_low")


def _epoch(before: ValueRanges | None, ranges: Mapping[tuple[str, str], Range]) -> str:
    """Return `ValueRanges.epoch`; before: what the last commit recorded, None of old versions."""
    if before is None:  # it took 16 bits as they were
        return _hash(ranges) if ranges else ""
    earlier = before.of_kinds()
    if any(ranges[key] != earlier[key] for key in ranges.keys() & earlier.keys()):
        return _hash(ranges)
    return before.epoch


def _hash(ranges: Mapping[tuple[str, str], Range]) -> str:
    return fingerprint([[*key, *values] for key, values in sorted(ranges.items())])


def _fitted(stage_run: StageRun, source: Source, new: DataFrame) -> dict[tuple[str, str], Range]:
    """Fit a range to the new files of each class and kind, FILES of a class at most."""
    candidates = new.where("image_id IS NOT NULL AND label <> ''").where(_may_be_deep())
    in_order = Window.partitionBy("label").orderBy(F.sha2("image_id", 256), "image_id")
    chosen = candidates.select("label", "image_id", F.row_number().over(in_order).alias("_place"))
    chosen = chosen.where(F.col("_place") <= FILES).select("image_id")
    sample = candidates.join(chosen, on="image_id", how="left_semi").select(new.columns)
    slots = session.slots(stage_run.spark)
    reader = source.image_reader(stage_run.settings.ingest)
    read = source.with_contents(sample.repartition(slots), slots)
    spreads = arrow_frames.mapped(read, reader.spread_rows, SPREAD)
    grouped = spreads.groupBy("label", "kind").agg(
        F.collect_list("edges").alias("edges"), F.collect_list("quantiles").alias("quantiles")
    )
    fit = partial(_fit_rows, rule=str(stage_run.settings.ingest.range))
    rows = arrow_frames.mapped(grouped, fit, _FITTED).collect()
    return {(row.label, row.kind): (row.low, row.high) for row in rows}


def _may_be_deep() -> Column:
    """Whether a candidate may be a picture of more than 8 bits, by its first bytes or its name."""
    content, path = F.col("content"), F.coalesce(F.col("path"), F.lit(""))

    def starts(text: bytes) -> Column:
        return F.substring(content, 1, len(text)) == F.lit(text)

    depth = F.substring(content, samples.PNG_DEPTH + 1, 1)
    narrow = reduce(or_, map(starts, samples.NARROW))
    narrow = narrow | (starts(PNG) & (depth != F.lit(b"\x10")))
    named = reduce(or_, (F.lower(path).endswith(ending) for ending in NARROW))
    return F.when(content.isNull(), ~named).otherwise(~narrow)


def _fit_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, rule: str
) -> Iterator[pa.RecordBatch]:
    """The range of each class and kind, by the spreads of its files, which take 2 KB each."""
    for batch in batches:
        for row in batch.to_pylist():
            parts = zip(row["edges"], row["quantiles"], strict=True)
            spreads = [Spread(tuple(edges), tuple(quantiles)) for edges, quantiles in parts]
            low, high = fitted(row["kind"], pooled(spreads), rule)
            columns = {"label": [row["label"]], "kind": [row["kind"]], "low": [low], "high": [high]}
            yield arrow.record_batch(columns, schema)
