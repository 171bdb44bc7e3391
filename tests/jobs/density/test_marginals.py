"""Histograms count every image before and after removal."""

from __future__ import annotations

from jobs.runtime.run import Run


def test_density_counts_every_image_and_rule(finished: Run) -> None:
    kept = {
        (row.label, row.rule): row["count"]
        for row in finished.warehouse.read("selection")
        .where("kept")
        .groupBy("label", "rule")
        .count()
        .collect()
    }
    density = finished.warehouse.read("density").collect()
    assert {row.rule for row in density} == {"none", "fixed:0.999", "fixed:0.97"}
    for row in density:
        wanted = 24 if row.rule == "none" else kept[row.label, row.rule]
        assert sum(row.counts) == row.n == wanted
