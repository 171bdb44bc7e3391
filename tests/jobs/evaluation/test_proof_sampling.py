"""Pairs to be labelled under rules that ask for a proof, and the precision of these rules."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.evaluation import calibrate, similarities
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents
from udfs.evaluation import strata

RULES = ("overlap:0.9", "overlap:0.5")
FLAGS = (
    f"prune.thresholds={list(RULES)}".replace("'", '"'),
    "prune.candidates=0.6",
    "prune.proof=0.5",
    "prune.agreement=0.6",
    "publish.rule=overlap:0.5",
)
EDGES = strata.registration_edges(0.5)
SIZES = {"large": 24, "small": 8, "one": 1}


def alignment(number: int, image: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Made-up evidence, of all strata and on both sides of every condition."""
    zero = ("scale", "rotation", "shift_x", "shift_y", "shift_x_source", "shift_y_source")
    return dict.fromkeys(zero, 0.0) | {
        "image_id": image["image_id"],
        "other_id": other["image_id"],
        "image_content": image["pixels_sha256"],
        "other_content": other["pixels_sha256"],
        "space": "raw",
        "similarity": 0.5 + 0.5 * (number % 11) / 10,
        "registration": None if number % 17 == 0 else 0.1 + 0.9 * (number % 13) / 12,
        "agreement": 0.3 + 0.7 * (number % 3) / 2,
        "blocks": 60,
        "overlap": 0.4 + 0.6 * (number % 7) / 6,
        "overlap_other": 0.5,
        "orientation": 0,
        "flat": number % 17 == 0,
    }


class Registered(GivenLatents):
    """A warehouse with the table `alignments`."""

    alignments: list[dict[str, Any]]


@pytest.fixture(scope="module")
def registered(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """A warehouse after `prune`, whose tables are made up."""
    given = Registered(spark, tmp_path_factory.mktemp("registered"), SIZES)
    for image in given.images.values():
        image["pixels_sha256"] = f"shows {image['image_id']}"
    given.write()
    pairs = list(itertools.permutations(sorted(given.images, key=str.encode), 2))
    rows = [
        alignment(number, given.images[first], given.images[second])
        for number, (first, second) in enumerate(pairs)
        if first > second or number % 5 == 0  # some pairs were registered both ways
    ]
    rows[3]["image_content"] = rows[4]["other_content"] = "something else"
    rows[5]["space"] = "whitened"
    warehouse = open_store(spark, str(given.folder))
    given.alignments = rows
    prune = CommitInfo("run", "prune", "made up")
    warehouse.write(tables.rows("alignments", rows), "alignments", prune)
    thresholds = [(label, rule, "raw", None, 0.5, 0.6, 1.0) for label in SIZES for rule in RULES]
    warehouse.write(tables.rows("thresholds", thresholds), "thresholds", prune)
    return given


def expected(given: Registered) -> dict[frozenset[str], dict[str, Any]]:
    """The pairs that may be drawn, by their images: by definition."""
    pairs: dict[frozenset[str], dict[str, Any]] = {}
    for row in sorted(given.alignments, key=lambda row: str(row["image_id"]).encode()):
        images = [given.images[row[name]] for name in ("image_id", "other_id")]
        if (
            images[0]["label"] == images[1]["label"]
            and row["space"] == "raw"
            and row["similarity"] > 0.6
            and not row["flat"]
            and images[0]["pixels_sha256"] == row["image_content"]
            and images[1]["pixels_sha256"] == row["other_content"]
        ):
            pairs.setdefault(frozenset((row["image_id"], row["other_id"])), row)
    return {pair: row for pair, row in pairs.items() if row["registration"] > EDGES[0]}


def drawn(given: GivenLatents) -> list[dict[str, Any]]:
    rows = open_store(given.spark, str(given.folder)).read("pairs").collect()
    return [row.asDict() for row in rows]


def is_proved(row: dict[str, Any]) -> bool:
    return bool(row["registration"] >= 0.5 and row["agreement"] >= 0.6)


def is_same(row: dict[str, Any]) -> bool:
    """An arbitrary truth."""
    return len(f"{row['image_id']}{row['similarity']:.3f}") % 3 > 0 or row["overlap"] > 0.95


def test_pairs_are_drawn_in_strata_of_registration(registered: Registered) -> None:
    every = expected(registered)
    for most in (40, 1000):
        registered.job(similarities.STAGE, *FLAGS, f"calibrate.pairs={most}")
        rows = drawn(registered)
        assert len(rows) == min(most, len(every))
        for row in rows:
            of_pair = every[frozenset((row["image_id"], row["other_id"]))]
            shown = ("image_id", "similarity", "registration", "agreement", "overlap")
            assert all(row[name] == of_pair[name] for name in shown)
            assert row["low"] < row["registration"] <= row["high"]
            assert row["proved"] == is_proved(of_pair)
        for low, high in itertools.pairwise(EDGES):
            of_stratum = [row for row in rows if row["low"] == low]
            inside = sum(low < row["registration"] <= high for row in every.values())
            assert sum(row["weight"] for row in of_stratum) == pytest.approx(inside)
            assert {row["population"] for row in of_stratum} == {inside}
    counts = [sum(row["low"] == low for row in rows) for low in EDGES[:-1]]
    assert min(counts) > 0


def test_the_precision_of_each_rule_follows_from_the_labels(
    registered: Registered, tmp_path: Path
) -> None:
    """With all pairs labelled it is exact; with some the interval holds it."""
    every = expected(registered).values()
    path = tmp_path / "labels.csv"
    for most in (1000, 60):
        flags = (*FLAGS, f"calibrate.pairs={most}", f"calibrate.labels={path}")
        registered.job(similarities.STAGE, *flags)
        lines = [f"{row['pair_id']},{int(is_same(row))}\n" for row in drawn(registered)]
        path.write_text("pair_id,same\n" + "".join(lines))
        run = registered.job(calibrate.STAGE, *flags)
        rows = {row["rule"]: row for row in run.warehouse.query("calibration")}
        assert rows.keys() == set(RULES)
        for rule, row in rows.items():
            overlap = float(rule.partition(":")[2])
            inside = [each for each in every if is_proved(each) and each["overlap"] >= overlap]
            truth = sum(map(is_same, inside)) / len(inside)
            assert row["threshold"] is None
            if most == 60:
                assert row["precision_low"] - 1e-12 <= truth <= row["precision_high"] + 1e-12
                continue
            assert row["precision"] == pytest.approx(truth)
            assert row["pairs"] == len(inside)
            copies = sum(map(is_same, every))
            assert row["found"] == pytest.approx(sum(map(is_same, inside)) / copies)
