"""What one publication changed in `curated`, and why: the rows of the table `changes`.

Each publication appends the rows that lead from the version of `curated` before it to its own. So
whoever read a version can follow: the rows of all later ones, one after the other, give the ids of
any newer version. docs/tables.md says what the changes and their reasons mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.exclusions import protected
from jobs.runtime.stage import StageRun
from jobs.settings.model import published_space
from jobs.warehouse import tables
from jobs.warehouse.arrow_frames import frame

TABLE = "changes"
CAME, WENT, KEEPER, CHANGED = "came", "went", "another keeper", "changed"
# Reasons. That of an image that is no longer in `images` may be an error code of `rejects` as well.
NEW_FILE, NEW_CONTENT, NEW_LABEL = "new file", "new content", "new label"
VANISHED, ANOMALY, PROTECTED, LEAK = "vanished", "anomaly", "protected", "leak"
RULE, OVERLAP, SIMILARITY = "rule", "overlap", "similarity"
KEEPER_LEFT, DECIDED_ANEW = "keeper left", "decided anew"
NOT_KNOWN = "not known"  # the old versions that tell it are gone


@dataclass(frozen=True)
class Earlier:
    """The publication that `changes` told of last.

    version: of `curated`. rule, space: what was published. images, selection: the versions of these
    tables that it was made from; None where the log no longer tells.
    """

    version: int
    rule: str | None = None
    space: str | None = None
    images: int | None = None
    selection: int | None = None

    @classmethod
    def of(cls, stage_run: StageRun) -> Earlier | None:
        """The last publication; None if there is none, or its rows can no longer be read."""
        store = stage_run.warehouse
        if not store.exists(TABLE) or not store.exists("curated"):
            return None
        commit = stage_run.previous_commit(TABLE)
        if commit is not None and "to_version" in commit.metadata:
            known = dict(commit.metadata)
            earlier = cls(known.pop("to_version"), **known)
        else:
            (row,) = store.query(TABLE, "SELECT max(to_version) AS version FROM rows")
            if row["version"] is None:
                return None
            earlier = cls(row["version"])
        return earlier if store.is_readable("curated", earlier.version) else None

    def state(self, stage_run: StageRun) -> DataFrame:
        """The images then: `was_kept`, `old_label`, `old_sha256`, `old_keeper`, `was_there`.

        was_there: whether `images` had it. Both it and the keeper are null where old versions are
        gone.
        """
        store = stage_run.warehouse
        rows = store.read("curated", self.version).select(
            "image_id",
            F.lit(True).alias("was_kept"),
            F.col("label").alias("old_label"),
            F.col("sha256").alias("old_sha256"),
        )
        if not self.is_known(stage_run):
            nothing = {"old_keeper": F.lit(None).cast("string")}
            return rows.withColumns(nothing | {"was_there": F.lit(None).cast("boolean")})
        of_rule = (F.col("rule") == self.rule) & (F.col("space") == self.space)
        removed = store.read("selection", self.selection).where(of_rule & ~F.col("kept"))
        there = store.read("images", self.images).select(
            "image_id",
            F.lit(True).alias("was_there"),
            F.col("label").alias("other_label"),
            F.col("sha256").alias("other_sha256"),
        )
        keepers = removed.select("image_id", F.col("kept_id").alias("old_keeper"))
        rows = rows.join(there, on="image_id", how="full_outer")
        return rows.join(keepers, on="image_id", how="left").select(
            "image_id",
            F.coalesce("was_kept", F.lit(False)).alias("was_kept"),
            F.coalesce("old_label", "other_label").alias("old_label"),
            F.coalesce("old_sha256", "other_sha256").alias("old_sha256"),
            F.when(~F.coalesce("was_kept", F.lit(False)), F.col("old_keeper")).alias("old_keeper"),
            F.coalesce("was_there", F.lit(False)).alias("was_there"),
        )

    def is_known(self, stage_run: StageRun) -> bool:
        """Whether the tables that it was made from can still be read."""
        versions = {"images": self.images, "selection": self.selection}
        return all(
            version is not None and stage_run.warehouse.is_readable(name, version)
            for name, version in versions.items()
        )


def write_changes(stage_run: StageRun, decided: DataFrame, published: DataFrame) -> None:
    """Append what changed in `curated`, which was just written.

    Args:
        stage_run: the publication.
        decided: the rows of `selection` of the rule that is published.
        published: the same, without what was left out besides.
    """
    earlier = Earlier.of(stage_run)
    now = state(stage_run, decided, published)
    version = stage_run.writes["curated"]
    changed = changes(stage_run, now, earlier, version)
    metadata: dict[str, Any] = {
        "to_version": version,
        "rule": stage_run.settings.publish.rule,
        "space": published_space(stage_run.settings),
        "images": stage_run.reads["images"],
        "selection": stage_run.reads["selection"],
    }
    append = stage_run.warehouse.exists(TABLE)
    stage_run.write(changed, TABLE, append=append, metadata=metadata)


def state(stage_run: StageRun, decided: DataFrame, published: DataFrame) -> DataFrame:
    """The images now: `is_kept`, `label`, `sha256`, `kept_id`, `is_there` and why they are removed.

    is_anomaly, is_leak, by_protected: whether it is left out as an anomaly, removed as a leak, or
    for an image that is never removed. is_protected: whether it is never removed itself.
    """
    images = stage_run.read("images")
    never = protected(images, stage_run.settings)
    kept = decided.where("kept").select("image_id", F.lit(True).alias("was_decided_kept"))
    rows = published.select("image_id", F.col("kept").alias("is_kept"), "kept_id")
    rows = rows.join(kept, on="image_id", how="left")
    rows = rows.join(never.withColumn("is_protected", F.lit(True)), on="image_id", how="left")
    keepers = never.select(F.col("image_id").alias("kept_id"), F.lit(True).alias("by_protected"))
    rows = rows.join(keepers, on="kept_id", how="left")
    if stage_run.settings.leaks.remove:
        leaks = stage_run.warehouse.read("leaks", _leaks_version(stage_run))
        leaks = leaks.where(F.col("rule") == stage_run.settings.publish.rule)
        leaks = leaks.select("image_id").distinct()
        rows = rows.join(leaks.withColumn("is_leak", F.lit(True)), on="image_id", how="left")
    else:
        rows = rows.withColumn("is_leak", F.lit(None).cast("boolean"))
    there = images.select("image_id", "label", "sha256", F.lit(True).alias("is_there"))
    rows = there.join(rows, on="image_id", how="left")
    is_anomaly = F.col("was_decided_kept") & ~F.col("is_kept")
    return rows.withColumn("is_anomaly", is_anomaly).drop("was_decided_kept")


def _leaks_version(stage_run: StageRun) -> int | None:
    """The version of `leaks` that the decisions are of; None, the newest, if it is gone."""
    versions = stage_run.inputs["selection"].metadata.get("versions", {})
    version: int | None = versions.get("leaks")
    if version is None or not stage_run.warehouse.is_readable("leaks", version):
        return None
    return version


def changes(
    stage_run: StageRun, now: DataFrame, earlier: Earlier | None, version: int
) -> DataFrame:
    """Rows of `changes` from an earlier publication, or from nothing, to this version."""
    names = tables.TABLES[TABLE].schema.names
    if earlier is None:
        first = now.where("is_kept").withColumns(
            {
                "change": F.lit(CAME),
                "reason": F.lit(NEW_FILE),
                "kept_id": F.lit(None).cast("string"),
                "from_version": F.lit(None).cast("bigint"),
                "to_version": F.lit(version).cast("bigint"),
            }
        )
        return first.select(names).sort("label", "image_id")
    rows = now.join(earlier.state(stage_run), on="image_id", how="full_outer")
    if earlier.is_known(stage_run):
        rows = rows.withColumn("was_there", F.coalesce("was_there", F.lit(False)))
    rows = rows.join(rejected(stage_run), on="image_id", how="left")
    still = now.select(F.col("image_id").alias("old_keeper"), F.lit(True).alias("keeper_is_there"))
    rows = rows.join(still, on="old_keeper", how="left")
    false = F.lit(False)
    was, now_kept = F.coalesce("was_kept", false), F.coalesce("is_kept", false)
    other_content = F.col("sha256") != F.col("old_sha256")
    other_label = F.col("label") != F.col("old_label")
    other_keeper = F.col("kept_id") != F.col("old_keeper")
    change = (
        F.when(now_kept & ~was, CAME)
        .when(was & ~now_kept, WENT)
        .when(now_kept & (other_content | other_label), CHANGED)
        .when(~now_kept & other_keeper, KEEPER)
    )
    settings = stage_run.settings
    other_rule = earlier.rule is not None and (earlier.rule, earlier.space) != (
        settings.publish.rule,
        published_space(settings),
    )
    rows = rows.withColumns(
        {
            "change": change,
            "reason": reason(change, other_content, F.lit(other_rule), settings.publish.rule),
            "from_version": F.lit(earlier.version).cast("bigint"),
            "to_version": F.lit(version).cast("bigint"),
            "label": F.coalesce("label", "old_label"),
        }
    )
    return rows.where("change IS NOT NULL").select(names).sort("label", "image_id")


def reason(change: Column, other_content: Column, other_rule: Column, rule: str) -> Column:
    """Why an image changed, by the columns of both states; the first that holds."""
    keeper_left = F.col("old_keeper").isNotNull() & F.col("keeper_is_there").isNull()
    came = (
        F.when(F.col("was_there").isNull(), NOT_KNOWN)
        .when(~F.col("was_there"), NEW_FILE)
        .when(other_content, NEW_CONTENT)
        .when(other_rule, RULE)
        .when(F.col("is_protected"), PROTECTED)
        .when(keeper_left, KEEPER_LEFT)
        .otherwise(DECIDED_ANEW)
    )
    went = (
        F.when(F.col("is_there").isNull(), F.coalesce("error_code", F.lit(VANISHED)))
        .when(F.col("is_anomaly"), ANOMALY)
        .when(F.col("is_leak"), LEAK)
        .when(other_content, NEW_CONTENT)
        .when(other_rule, RULE)
        .when(F.col("by_protected"), PROTECTED)
        .otherwise(OVERLAP if rule.startswith("overlap:") else SIMILARITY)
    )
    keeper = (
        F.when(other_content, NEW_CONTENT)
        .when(other_rule, RULE)
        .when(keeper_left, KEEPER_LEFT)
        .otherwise(DECIDED_ANEW)
    )
    return (
        F.when(change == CAME, came)
        .when(change == WENT, went)
        .when(change == KEEPER, keeper)
        .when(other_content, NEW_CONTENT)
        .otherwise(NEW_LABEL)
    )


def rejected(stage_run: StageRun) -> DataFrame:
    """The error codes of files that were rejected, by image."""
    store, schema = stage_run.warehouse, tables.TABLES["rejects"].schema
    rows = store.read("rejects") if store.exists("rejects") else frame(stage_run.spark, [], schema)
    rows = rows.where("image_id IS NOT NULL")
    return rows.groupBy("image_id").agg(F.min("error_code").alias("error_code"))
