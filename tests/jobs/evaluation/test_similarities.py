"""The jobs `similarities` and `calibrate` on given latents, beside their definitions."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import spaces
from jobs.duplicates import groups
from jobs.evaluation import calibrate, pair_sampling, similarities
from jobs.evaluation.pair_sampling import SIMILARITIES_AND_PAIRS, ClassComparison
from jobs.settings.load import build
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.support.given_latents import FLAGS, GivenLatents
from tests.support.vectors import sim
from udfs.evaluation import pair_histogram, strata
from udfs.vectors.cosine import Matrix

EDGES = [0.2, 0.6, 0.8, 0.9, 0.945228, 0.97, 0.985, 0.9925, 1.0]  # of T = 0.8, 0.9, 0.97
PAIRS = 40
SAMPLED = 50  # of the large class's 90
SIZES = {"large": 90, "a/b": 30, "one": 1}
SPACES = ("prune.space=['raw', 'whitened']", f"calibrate.pairs={PAIRS}")
ORDER = "prune.order=['-size_bytes']"


@pytest.fixture(scope="module")
def compared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> GivenLatents:
    """A warehouse after `similarities`; the tables of `whiten` and `prune` are made up for it."""
    images = GivenLatents(spark, tmp_path_factory.mktemp("alike"), SIZES)
    images.latents["a/b/0003ü.png"] = np.zeros(40, np.float32)
    images.latents["a/b/0005ü.png"] = images.latents["a/b/0004ü.png"]
    images.write()
    warehouse = open_store(spark, str(images.folder))
    rows = [
        (name, images.images[name]["label"], "", "", "", "", "whitened", "", vector_of(latent))
        for name, latent in images.latents.items()
    ]
    frame = spark.createDataFrame(rows, tables.TABLES["vectors"].schema)
    warehouse.write(frame, "vectors", CommitInfo("run", "whiten", "vectors"))
    thresholds = [
        (label, f"fixed:{t}", space, t, t, None, 1.0)
        for label, t, space in itertools.product(SIZES, (0.97, 0.9, 0.8), ("raw", "whitened"))
    ]
    table = tables.rows("thresholds", thresholds)
    warehouse.write(table, "thresholds", CommitInfo("run", "prune", "thresholds"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_sampling, "SAMPLED", SAMPLED)
        patch.setattr(pair_sampling, "HEAT_IMAGES", 25)
        images.job(similarities.STAGE, *SPACES, ORDER)
    return images


def vector_of(latent: Matrix) -> list[float]:
    return (latent[:6] - np.float32(0.1)).tolist() if latent.any() else [0.0] * 6


def rows_of(given: GivenLatents, table: str) -> list[dict[str, Any]]:
    return [
        row.asDict() for row in open_store(given.spark, str(given.folder)).read(table).collect()
    ]


def sample_of(given: GivenLatents, label: str) -> list[str]:
    names = [name for name, image in given.images.items() if image["label"] == label]
    names.sort(key=lambda name: hashlib.sha256(f"0|{name}".encode()).hexdigest())
    return sorted(names[:SAMPLED], key=str.encode)


def seen(given: GivenLatents, name: str, space: str) -> Matrix:
    latent = given.latents[name]
    return latent if space == "raw" else np.array(vector_of(latent), np.float32)


def values(given: GivenLatents, label: str, space: str = "raw") -> dict[tuple[str, str], float]:
    """Sim of all pairs of sampled images, without pairs that have none (a latent of zeros)."""
    names = sample_of(given, label)
    cosines = {
        (a, b): sim(seen(given, a, space), seen(given, b, space))
        for index, a in enumerate(names)
        for b in names[index + 1 :]
    }
    return {pair: value for pair, value in cosines.items() if not math.isnan(value)}


def test_histograms_and_heat_maps_are_as_defined(compared: GivenLatents) -> None:
    rows = rows_of(compared, "similarities")
    keys = {(row["label"], row["space"]) for row in rows}
    assert keys == set(itertools.product(SIZES, ("raw", "whitened")))
    for row in rows:
        size, space = SIZES[row["label"]], row["space"]
        assert (row["n"], row["sampled"]) == (size, min(size, SAMPLED))
        names = [name for name, image in compared.images.items() if image["label"] == row["label"]]
        names.sort(key=lambda name: (-compared.images[name]["size_bytes"], name.encode()))
        assert row["heat_ids"] == names[:25]
        vectors = np.array([seen(compared, name, space) for name in names[:25]])
        heat = np.frombuffer(row["heat"], np.uint8).reshape(len(vectors), -1)
        assert np.array_equal(
            heat, pair_histogram.heat_map(vectors, 0.0 if space == "raw" else -1.0)
        )
        expected = list(values(compared, row["label"], space).values())
        for cell, number in enumerate(row["counts"]):
            low = row["origin"] + cell * row["step"]
            assert number == sum(low <= value < low + row["step"] for value in expected)
        assert sum(row["counts"]) == len(expected)


def test_pairs_are_drawn_as_defined(compared: GivenLatents) -> None:
    assert strata.edges([0.97, 0.9, 0.8]) == EDGES
    rows = rows_of(compared, "pairs")
    assert len(rows) == PAIRS
    assert [row["pair_id"] for row in rows] == sorted(row["pair_id"] for row in rows)
    by_class = {label: values(compared, label) for label in ("a/b", "large")}
    scale = {"a/b": Fraction(1), "large": Fraction(90 * 89, 50 * 49)}
    for row in rows:
        assert by_class[row["label"]][row["image_id"], row["other_id"]] == row["similarity"]
        assert row["low"] < row["similarity"] <= row["high"]
        assert row["pair_id"] == pair_histogram.pair_id("raw", row["image_id"], row["other_id"])
        assert row["space"] == "raw"
    for low, high in itertools.pairwise(EDGES):
        inside = {
            label: [pair for pair, value in cosines.items() if low < value <= high]
            for label, cosines in by_class.items()
        }
        drawn = [row for row in rows if row["low"] == low]
        assert bool(drawn) == any(inside.values())
        population = sum(float(scale[label] * len(pairs)) for label, pairs in inside.items())
        assert sum(row["weight"] for row in drawn) == pytest.approx(population if drawn else 0)
        for row in drawn:
            assert row["population"] == pytest.approx(population)
            assert row["drawn"] == len(drawn)
        for label, pairs in inside.items():
            of_label = {
                (row["image_id"], row["other_id"]) for row in drawn if row["label"] == label
            }
            codes = {pair: key_of(pair) for pair in pairs}
            assert of_label == set(sorted(pairs, key=codes.__getitem__)[: len(of_label)])


def key_of(pair: tuple[str, str]) -> int:
    first, second = (pair_histogram.row_keys([name], 0) for name in pair)
    return int(pair_histogram.pair_keys(first, second)[0])


def test_tables_do_not_depend_on_the_order_of_rows_and_partitions(compared: GivenLatents) -> None:
    """The same rows come of 1, 7 and 64 partitions and tasks."""
    settings = build({}, (*FLAGS, ORDER, f"calibrate.pairs={PAIRS}"))
    warehouse = open_store(compared.spark, str(compared.folder))
    latents = {"raw": warehouse.read("latents").select(spaces.LATENTS.names)}
    candidates = groups.grouped(latents, warehouse.read("images"), None, settings.prune)
    counts = {row["group"]: row["count"] for row in candidates.groupBy("group").count().collect()}
    comparison = ClassComparison(counts, "raw", EDGES, PAIRS, 0)
    results = []
    for parts in (1, 7, 64):
        rows = pair_sampling.sampled_images(
            candidates.repartition(parts), counts, settings.prune, parts
        )
        frame = arrow_frames.mapped(rows, comparison.rows, SIMILARITIES_AND_PAIRS).cache()
        pairs = similarities.draw_pairs(frame, EDGES, settings.calibrate, "raw")
        results.append((sorted(map(repr, frame.collect())), pairs))
        frame.unpersist()
    assert results[0] == results[1] == results[2]
    assert len(results[0][1]) == PAIRS


def test_edges_are_thresholds_that_hold_in_all_classes() -> None:
    share = {"keep_share:0.5": [0.2, 0.4, 0.6]}
    fixed = {"fixed:0.9": [0.9, 0.9], "fixed:0.8": [0.8]}
    assert similarities.stratum_thresholds(fixed | share) == [0.8, 0.9]
    assert similarities.stratum_thresholds(share) == [0.3, 0.4, 0.5]


def same(first: str, second: str) -> bool:
    """An arbitrary truth: whether two images are copies of each other."""
    return (int(first[-8:-5]) + int(second[-8:-5])) % 4 > 0


def write_labels(given: GivenLatents, path: Path) -> None:
    rows = [
        f"{row['pair_id']},{int(same(row['image_id'], row['other_id']))}\n"
        for row in rows_of(given, "pairs")
    ]
    path.write_text("pair_id,same\n" + "".join(rows), encoding="utf-8-sig")


def test_true_labels_give_the_true_precision(compared: GivenLatents, tmp_path: Path) -> None:
    """With all pairs labelled it is exact; with forty it lies inside the interval."""
    every = [
        (sim(compared.latents[a], compared.latents[b]), same(a, b))
        for a, b in itertools.combinations(sorted(compared.images, key=str.encode), 2)
        if compared.images[a]["label"] == compared.images[b]["label"]
    ]
    for pairs in (100_000, PAIRS):
        path = tmp_path / "labels.csv"
        settings = compared.settings(*SPACES, f"calibrate.labels={path}")
        # All of them are more than a page may hold.
        settings = replace(settings, calibrate=replace(settings.calibrate, pairs=pairs))
        compared.run(similarities.STAGE, settings)
        write_labels(compared, path)
        run = compared.run(calibrate.STAGE, settings)
        rows = {row["rule"]: row for row in rows_of(compared, "calibration")}
        assert {"fixed:0.8", "fixed:0.9", "fixed:0.97", "edge:0.2"} <= rows.keys()
        for rule, row in rows.items():
            above = [alike for value, alike in every if value > row["threshold"]]
            truth = sum(above) / len(above)
            if pairs == PAIRS:
                assert row["precision_low"] <= truth <= row["precision_high"], rule
                continue
            assert row["pairs"] == len(above)
            assert row["precision"] == pytest.approx(truth, rel=1e-12)
            assert row["precision_high"] - row["precision_low"] < 1e-12
            copies = sum(alike for value, alike in every if value > EDGES[0])
            assert row["found"] == pytest.approx(sum(above) / copies)
    version = run.warehouse.version("calibration")
    run = compared.run(calibrate.STAGE, settings)
    assert run.warehouse.version("calibration") == version
