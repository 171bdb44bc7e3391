"""Anomalies are the images below a percentile of their class's density."""

from __future__ import annotations

import math

from pyspark.sql import SparkSession

from jobs.density import low_density
from jobs.warehouse import tables

QUANTILE = 0.2


def percentile(values: list[float], share: float) -> float:
    """The percentile, linear between the ranks below and above share · (n − 1)."""
    place = share * (len(values) - 1)
    below, above = math.floor(place), math.ceil(place)
    ordered = sorted(values)
    low, high = ordered[below], ordered[above]
    return low if low == high else (above - place) * low + (place - below) * high


def test_anomalies_are_as_defined(spark: SparkSession) -> None:
    """Also with ties, a class of one image, and a class without components."""
    density = {
        "even": [-9.0, -1.0, -2.0, -3.0, -4.0, -5.0],  # the cut at 0.2 is the second lowest itself
        "tied": [-7.0, -7.0, -7.0, -1.0, -1.0],  # and here one of three equal ones
        "pair": [-2.0, -2.0, -3.0, -3.0, *range(20)],
        "one": [-1.0],
        "none": [None, None],
    }
    rows = [
        (f"{label}/{i:02}", label, None if value is None else float(value))
        for label, values in density.items()
        for i, value in enumerate(values)
    ]
    frame = spark.createDataFrame(rows, "image_id string, label string, log_density double")
    found = low_density.low_density_images(frame.repartition(3), QUANTILE)
    assert found.schema.simpleString() == tables.TABLES["anomalies"].schema.simpleString()
    expected = []
    for label, values in sorted(density.items()):
        known = [(value, i) for i, value in enumerate(values) if value is not None]
        cut = percentile([value for value, _ in known], QUANTILE) if known else 0.0
        below = sorted((value, i) for value, i in known if value < cut)
        expected += [
            (f"{label}/{i:02}", label, value, cut, rank) for rank, (value, i) in enumerate(below, 1)
        ]
    assert [tuple(row) for row in found.collect()] == expected
    assert [row[0] for row in expected] == [
        "even/00",
        "pair/02",
        "pair/03",
        "pair/00",
        "pair/01",
        "pair/04",
    ]
