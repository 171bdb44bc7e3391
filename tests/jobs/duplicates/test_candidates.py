"""For each rule an image is a reference, pending, or neither."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.duplicates.candidates import COMPARED, with_masks

RULES = ("fixed:0.9", "fixed:0.8")
NONE, FIRST, SECOND, BOTH = 0b00, 0b01, 0b10, 0b11


def test_protection_earlier_decisions_and_leaks_set_the_masks(spark: SparkSession) -> None:
    names = ("plain", "protected", "earlier", "removed earlier", "leak", "leak in another space")
    rows = [(name, "raw", name == "protected") for name in names]
    members = spark.createDataFrame(rows, "image_id string, space string, protected boolean")
    members = members.withColumn("alone", F.lit(False))
    decisions = [
        ("earlier", "raw", RULES[0], True),
        ("earlier", "raw", RULES[1], False),
        ("removed earlier", "raw", RULES[0], False),
        ("removed earlier", "raw", RULES[1], False),
    ]
    columns = "image_id string, space string, rule string, kept boolean"
    earlier = spark.createDataFrame(decisions, columns)
    leaked = [("leak", "raw", RULES[1], False), ("leak in another space", "w", RULES[0], False)]
    leaks = spark.createDataFrame(leaked, columns)
    candidates = with_masks(members, RULES, earlier=earlier, leaks=leaks)
    masks = {
        row.image_id: (row.reference_mask, row.pending_mask, row.decided_earlier)
        for row in candidates.collect()
    }
    assert masks == {
        "plain": (NONE, BOTH, False),
        "protected": (BOTH, NONE, False),
        "earlier": (FIRST, NONE, True),
        "removed earlier": (NONE, NONE, True),
        "leak": (NONE, FIRST, False),
        "leak in another space": (NONE, BOTH, False),
    }
    assert candidates.where(COMPARED).count() == 5
    added = ["reference_mask", "pending_mask", "decided_earlier", "fixed"]
    assert candidates.columns == [*members.columns, *added]
