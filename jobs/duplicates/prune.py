"""prune: which images of each class are duplicates of which, by every rule (spec §3, §7)."""

from __future__ import annotations

import functools
import json
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.autoencoder import spaces
from jobs.duplicates import audit, window_search
from jobs.duplicates import groups as image_groups
from jobs.duplicates import thresholds as found_thresholds
from jobs.duplicates.cover_tasks import Plain, Progress, Pruning, Rules
from jobs.duplicates.rounds import PLACED, ROUNDS, Rounds, place
from jobs.runtime import session
from jobs.runtime.console import some
from jobs.runtime.run import Run, Work
from jobs.settings.load import RAW, Rule, Settings
from jobs.warehouse import partitioning, tables
from jobs.warehouse.local_store import JobError, Warehouse

VERSION = 4
SELECTION = tables.TABLES["selection"].schema


def main(run: Run) -> None:
    """Tables latents, vectors, images and sublabels → selection, thresholds, audit."""
    settings = run.settings.prune
    reads = spaces.reads((RAW, *settings.space))
    if image_groups.needs_images(settings):
        reads |= {"images": "ingest"}
    if image_groups.DENSITY in image_groups.names(settings.order):
        reads |= {"projections": "project"}
    if settings.by_sublabel:
        reads |= {"sublabels": "modes"}
    if run.settings.leaks.remove:
        reads |= {"leaks": "leaks"}
    with run.stage(
        "prune",
        reads=reads,
        writes=("selection", "thresholds", "audit"),
        depends=decided_by(run.settings) | {"mode": settings.mode},
        version=VERSION,
    ) as work:
        if work.finished:
            return
        members = grouped(work, run.settings)
        before = earlier(work, members, run.settings)
        leaks = leaked(work, run.settings)
        marked = image_groups.decisions(members, list(settings.rules), earlier=before, leaks=leaks)
        counts, images, mark = count(marked)
        rules = rules_of(marked, counts, run.settings, before)
        progress = Progress.begun(run.spark)
        selection = select(work, marked, counts, rules, run.settings, progress)
        if leaks is not None:
            new = marked.where("NOT known AND NOT protected").select("image_id")
            selection = selection.unionByName(leaks.join(new, on="image_id", how="left_semi"))
        with work.telling(lambda: progress.now(counts)):
            work.write(
                selection,
                "selection",
                append=before is not None,
                notes={"decided": decided_by(run.settings), "images": mark, "fit": fit(work)},
            )
        for table in (PLACED, ROUNDS):
            work.discard(table)
        chosen = run.warehouse.read("selection")
        counted = counts_of(work)
        work.write(thresholds(counted, run.settings), "thresholds")
        reference = reference_of(work, members, run.settings)
        chosen = audited(chosen, marked, run.settings)
        audit.check(work, chosen, members, images // len(settings.space), settings, reference)
        summarise(work, counted, len(counts) // len(settings.space))


def decided_by(settings: Settings) -> dict[str, Any]:
    """The settings that decide which image stays."""
    prune, leaks = settings.prune, settings.leaks
    found: dict[str, Any] = {
        "thresholds": list(prune.rules),
        "space": prune.space,
        "order": prune.order,
        "group_by": prune.group_by,
        "never_across": prune.never_across,
        "protect": prune.protect,
    }
    if any(rule.threshold is None for rule in prune.rules.values()):
        found["seed"] = prune.seed
    if leaks.remove:
        found["leaks"] = [leaks.split, leaks.warehouse, leaks.scope]
    return found


def grouped(work: Work, settings: Settings) -> DataFrame:
    """What is compared, with its group, its order and whether it is protected."""
    images = work.read("images") if "images" in work.reads else None
    if images is not None:
        image_groups.check(images, settings.prune)
    projections = work.read("projections") if "projections" in work.reads else None
    reference = settings.leaks.split if settings.leaks.remove else ()
    vectors = spaces.vectors(work, settings.prune.space)
    return image_groups.grouped(
        vectors, images, projections, settings.prune, reference, sublabels_of(work)
    )


def sublabels_of(work: Work) -> DataFrame | None:
    """The sub-label of every image, where they are asked for.

    Raises JobError where an image has none under its label.
    """
    if "sublabels" not in work.reads:
        return None
    sublabels = work.read("sublabels")
    keys = ["image_id", "label"]
    if not work.read("latents").join(sublabels, on=keys, how="left_anti").isEmpty():
        raise JobError(
            "the table sublabels was made of other images or labels: run ./spark-submit.sh project "
            "and modes first (or pipeline, which does all)"
        )
    return sublabels


def fit(work: Work) -> str | None:
    """Which fit the whitened vectors are of."""
    if "vectors" not in work.reads:
        return None
    found = work.query("vectors", "SELECT fit_id FROM rows LIMIT 1")
    return str(found[0]["fit_id"]) if found else None


def rules_of(
    marked: DataFrame, counts: dict[str, int], settings: Settings, before: DataFrame | None
) -> Rules:
    """Every rule's threshold in every group; those of earlier decisions hold."""
    prune = settings.prune
    if before is not None:
        groups = marked.where("known").select("image_id", "space", "group")
        before = before.join(groups, on=["image_id", "space"])
    compared = marked.where("standing != 0 OR undecided != 0")
    return found_thresholds.rules_of(compared, counts, prune, image_groups.in_order(prune), before)


def leaked(work: Work, settings: Settings) -> DataFrame | None:
    """Rows of `selection` of the images that are removed as leaks.

    Raises JobError where the leaks were looked for with other settings.
    """
    if not settings.leaks.remove:
        return None
    stamp = work.run.warehouse.newest("leaks", "leaks")
    newest = work.run.warehouse.newest(*spaces.table_of(settings.prune.space[0]))
    if (
        stamp is None
        or newest is None
        or stamp.notes.get("asked") != window_search.asked(settings)
        or stamp.notes.get("latents") != newest.content
    ):
        raise JobError(
            "leaks.remove: the table leaks was made with other thresholds, other settings of "
            "[leaks] or other latents: run ./spark-submit.sh leaks with these first (or pipeline, "
            "which does all)"
        )
    where = F.col("reference_warehouse")
    keeper = F.when(where.isNull(), F.col("reference_id")).otherwise(
        F.concat(where, F.lit("#"), "reference_id")
    )
    rows = work.read("leaks").withColumns({"kept": F.lit(False), "kept_id": keeper})
    return rows.select(*SELECTION.names)


def reference_of(work: Work, members: DataFrame, settings: Settings) -> DataFrame | None:
    """The images that leaks were looked for in, named as `selection` names them."""
    if not settings.leaks.remove:
        return None
    if not settings.leaks.warehouse:
        return members.where(F.col("split").isin(list(settings.leaks.split)))
    other = Warehouse(work.run.spark, settings.leaks.warehouse)
    name = F.concat(F.lit(f"{other.root}#"), "image_id")
    seen = spaces.elsewhere(work.run.warehouse, other, settings.prune.space[0])
    return seen.withColumn("image_id", name)


def earlier(work: Work, members: DataFrame, settings: Settings) -> DataFrame | None:
    """In mode append the decisions that hold.

    Raises JobError where they were made otherwise, or of images that changed or vanished since.
    """
    stamp = work.run.warehouse.newest("selection", work.stage)
    if settings.prune.mode != "append" or stamp is None:
        return None
    # As the notes have it, which are JSON: lists for tuples.
    if stamp.notes.get("decided") != json.loads(json.dumps(decided_by(settings))):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            f"other settings ({json.dumps(stamp.notes.get('decided'))}): set these again, or "
            "decide all anew with prune.mode = all"
        )
    # Pinned: what this run appends is none of them.
    selection = work.run.warehouse.read("selection", stamp.version)
    if stamp.notes.get("fit") != fit(work):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, which were made with "
            "vectors whitened otherwise: decide all anew with prune.mode = all"
        )
    ids = selection.select("image_id", "space")
    known = members.join(ids, on=["image_id", "space"], how="left_semi")
    there = known.select("image_id", mark_of().alias("mark")).agg(
        F.count("*").alias("images"), F.bit_xor("mark").alias("mark")
    )
    if list(there.collect()[0]) != stamp.notes.get("images"):
        raise JobError(
            "prune.mode = append keeps the decisions of the table selection, but images that were "
            "decided have vanished since, or have other content, another label or group, or "
            "latents of another model or machine: decide all anew with prune.mode = all"
        )
    return selection


def mark_of() -> Column:
    """A number that changes with all that a decision on an image was made of."""
    made_of = ("image_id", "sha256", "model_id", "encoded_on", "label", "group", "protected")
    return F.xxhash64(*made_of)


def count(marked: DataFrame) -> tuple[dict[str, int], int, list[int]]:
    """Images to be compared in each group that has something to decide.

    And all images, once a space, and what tells later whether they are the same: number and mark.
    """
    some = (F.col("standing") != 0) | (F.col("undecided") != 0)
    rows = (
        marked.groupBy("group")
        .agg(
            F.count("*").alias("images"),
            F.count_if(some).alias("compared"),
            F.count_if(F.col("undecided") != 0).alias("undecided"),
            F.bit_xor(mark_of()).alias("mark"),
        )
        .collect()
    )
    total = sum(row["images"] for row in rows)
    mark = functools.reduce(operator.xor, (row["mark"] for row in rows), 0)
    counts = {row["group"]: int(row["compared"]) for row in rows if row["undecided"]}
    return counts, total, [total, mark]


def select(
    work: Work,
    marked: DataFrame,
    counts: dict[str, int],
    rules: Rules,
    settings: Settings,
    progress: Progress,
) -> DataFrame:
    """Rows of `selection`: small groups whole in tasks, large ones in rounds, and what is fixed."""
    prune = settings.prune
    compared = marked.where("standing != 0 OR undecided != 0")
    order = image_groups.in_order(prune)
    width = partitioning.width_stored(work)
    fits = image_groups.fitting(prune.largest_class, width)
    small = {name: n for name, n in counts.items() if n <= fits}
    large = {name: n for name, n in counts.items() if n > fits}
    pruning = Pruning(rules, progress)
    selection = scanned(work, small, pruning, settings)
    if selection is None:
        selection = whole(work.run.spark, compared, small, pruning, order)
    if prune.protect or settings.leaks.remove:
        selection = selection.unionByName(fixed(marked, rules))
    if large:
        place(work, compared, large, order)
        rounds = Rounds(work, rules, image_groups.fitting(prune.window, width))
        rounds.settle(list(large))
        selection = selection.unionByName(rounds.selection(list(large)))
    return selection


def scanned(
    work: Work, counts: dict[str, int], pruning: Pruning, settings: Settings
) -> DataFrame | None:
    """As `whole`, of latents that workers read by themselves; None where that does not do.

    It does where groups are the classes of one space, in the order of the ids, and nothing is
    fixed: then all that decides lies in one table.
    """
    prune = settings.prune
    table, _ = spaces.table_of(prune.space[0])
    if (
        len(prune.space) > 1
        or not image_groups.by_label(prune)
        or image_groups.needs_images(prune)
        or prune.order
        or prune.mode == "append"
        or settings.leaks.remove
        or not all("/" in group for group in counts)  # of images without a label
    ):
        return None
    stored = work.stored(table)
    labels = {image_groups.rest_of(group): n for group, n in counts.items()}
    tasks = partitioning.dealt(labels, session.slots(work.run.spark), cost)
    plain = Plain(pruning, prune.space[0], spaces.column_of(prune.space[0]))
    scan = stored.by_class(plain.columns, tasks) if stored else None
    return scan.through(plain.selection_rows, SELECTION).mapped() if scan else None


def cost(n: int) -> float:
    """Of comparing so many images, for dealing them out."""
    return float(n) * n


def whole(
    spark: SparkSession,
    compared: DataFrame,
    counts: dict[str, int],
    pruning: Pruning,
    order: list[Column],
) -> DataFrame:
    """The greedy cover of every small group, as tasks on the executors."""
    slots = session.slots(spark)
    tasks = partitioning.placed(compared, counts, slots, cost, order, key="group")
    columns = ("image_id", "label", "group", "standing", "undecided", "latent")
    return tables.mapped(tasks.select(*columns), pruning.selection_rows, SELECTION)


def fixed(marked: DataFrame, rules: Rules) -> DataFrame:
    """Protected images stay by every rule."""
    new = marked.where("protected AND NOT known").select("image_id", "label", "space", "group")
    given = zip(rules.names, rules.common, strict=True)
    spark = marked.sparkSession
    named = tables.frame(spark, given, tables.struct("rule string, threshold double"))
    every = new.crossJoin(F.broadcast(named))
    if rules.own:
        found = [
            (group, *pair)
            for group, values in rules.own.items()
            for pair in zip(rules.names, values, strict=True)
        ]
        columns = tables.struct("group string, rule string, own double")
        own = tables.frame(spark, found, columns)
        every = every.join(F.broadcast(own), on=["group", "rule"], how="left")
        every = every.withColumn("threshold", F.coalesce("own", "threshold"))
    # A group of protected images alone has no T of a rule that finds its own: null.
    return every.select(
        "image_id",
        "label",
        "rule",
        "space",
        F.nanvl("threshold", F.lit(None).cast("double")).alias("threshold"),
        F.lit(True).alias("kept"),
        F.lit(None).cast("string").alias("kept_id"),
        F.lit(None).cast("double").alias("similarity"),
    )


def audited(selection: DataFrame, marked: DataFrame, settings: Settings) -> DataFrame:
    """A selection with each image's group, and whether it was `fixed`: it stays whatever it is."""
    prune = settings.prune
    fixes = prune.protect or prune.mode == "append" or settings.leaks.remove
    if image_groups.by_label(prune) and not fixes:
        group = F.concat_ws("/", "space", "label")
        return selection.withColumns({"group": group, "fixed": F.lit(False)})
    fixed = F.col("protected").alias("fixed")
    groups = marked.select("image_id", "space", "group", fixed)
    return selection.join(groups, on=["image_id", "space"])


@dataclass(frozen=True)
class Counted:
    """What a threshold does to a class."""

    label: str
    rule: str
    space: str
    threshold: float | None
    images: int
    kept: int


def counts_of(work: Work) -> list[Counted]:
    """Images and kept ones of each class, rule, space and threshold."""
    keys = "label, rule, space, threshold"
    counted = work.query(
        "selection",
        f"SELECT {keys}, count(*) AS images, count(*) FILTER (WHERE kept) AS kept "
        f"FROM rows GROUP BY {keys}",
    )
    rows = [Counted(**row) for row in counted]
    return sorted(rows, key=lambda row: (row.label, row.space, -(row.threshold or 0)))


def thresholds(counted: list[Counted], settings: Settings) -> pa.Table:
    """Per class, rule and space: the threshold, what was asked and the share kept."""
    asked = {name: rule.asked for name, rule in settings.prune.rules.items()}
    rows = [
        (row.label, row.rule, row.space, row.threshold, asked[row.rule], row.kept / row.images)
        for row in counted
    ]
    return tables.rows("thresholds", rows)


def summarise(work: Work, counted: list[Counted], groups: int) -> None:
    """Kept counts for `runs` and the console."""
    prune = work.run.settings.prune
    kept: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for row in counted:
        kept[row.space, row.rule] += row.kept
        total[row.space, row.rule] += row.images
    shares = []
    for space in prune.space:
        of = f" {space}" if len(prune.space) > 1 else ""
        for rule in in_turn(prune.rules.values()):
            short = rule.name if rule.threshold is None else f"{rule.threshold:g}"
            key = (space, rule.name)
            work.rows[f"kept_{short}{of.replace(' ', '_')}"] = kept[key]
            shares.append(f"{kept[key] / total[key]:.0%} at {short}{of}")
    word = "classes" if image_groups.by_label(prune) else "groups"
    work.summary = f"{groups:,} {word}; kept {some(shares)}"


def in_turn(rules: Iterable[Rule]) -> list[Rule]:
    """Given thresholds first, the highest before the others; then those that are found."""
    return sorted(rules, key=lambda rule: (rule.threshold is None, -(rule.threshold or 0)))
