"""An invented report, made without Spark: its summary, groups, lists, and pictures of blobs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.report import class_plots, render, thumbnails
from jobs.report.gallery import Group, Groups, Member
from jobs.report.optional_tables import OPTIONAL, OptionalTables, writer_of
from jobs.report.page_data import page_data
from jobs.report.summary import Summary
from jobs.report.table_states import State
from tests.support.pictures import picture
from udfs.acquisition import decode

RULES = (
    ("fixed:0.97", "raw"),
    ("fixed:0.95", "raw"),
    ("fixed:0.93", "raw"),
    ("fixed:0.5", "whitened"),
    ("keep_share:0.5", "whitened"),
)
HOSTILE = '</script><script>alert("1")</script><!--'
LABELS = ("airfield", "forest", "harbour", HOSTILE, "vineyard & orchard")


def seed_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def coded(names: Sequence[str]) -> dict[str, thumbnails.Encoded]:
    """A picture of each id: copies ("…/0007b") look like what they are a copy of."""
    pixels = {name: picture(seed_of(name.rstrip("bcdefghi")), 64) for name in names}
    return {name: thumbnails.Encoded(decode.jpeg(pixels[name], 78)) for name in names}


def image(label: str, number: int, copy: str = "") -> str:
    return f"{label}/{number:04}{copy}"


def summary(labels: Sequence[str] = LABELS, each: int = 120) -> Summary:
    """Counts of five rules in two spaces; the second is published."""
    share = {rule: 0.9 - 0.11 * place for place, rule in enumerate(RULES)}
    by_class: list[dict[str, Any]] = []
    for number, label in enumerate(labels):
        cells = [
            {
                "kept": math.ceil(each * share[rule] * (1 - 0.07 * (number % 5))),
                "found": "0.6123" if rule[0].startswith("keep") else None,
            }
            for rule in RULES
        ]
        by_class.append({"label": label, "images": each + number % 7, "cells": cells})
    total = sum(row["images"] for row in by_class)
    rules: list[dict[str, Any]] = []
    for place, (rule, space) in enumerate(RULES):
        kept = sum(row["cells"][place]["kept"] for row in by_class)
        kind, _, asked = rule.partition(":")
        fixed = kind == "fixed"
        title = f"T = {asked} {space}" if fixed else f"{kind} {asked} {space}"
        rules.append(
            {"rule": rule, "space": space, "title": title, "finds": not fixed, "kept": kept}
            | {"overlap": None}
            | {"threshold": float(asked) if fixed else None, "share": kept / total}
        )
    example = {"example": "forest/0001.jpg", "message": "ends after 10 bytes"}
    return Summary(
        images=total,
        images_encoded=total,
        rejected=1,
        classes=len(by_class),
        zero_latents=0,
        published="fixed:0.95",
        published_space="raw",
        published_kept=rules[1]["kept"],
        rules=rules,
        by_class=by_class,
        lines=[],
        points=[],
        entropies=[],
        codes=[{"code": "truncated", "files": 1, "examples": [example]} | example],
        stages=[{"stage": "ingest", "state": "done", "seconds": "1.0", "finished": "2026-01-01"}],
        dependence={},
        draws=100,
        settings="[ingest]\nsource = folder",
        versions="Python 3\nmodel 0123\ntables read at version: images 1",
        flat=1200,
        flat_ids=[f"forest/{number:04}.png" for number in range(100)],
    )


def groups(labels: Sequence[str] = LABELS, each: int = 12) -> dict[tuple[str, str], Groups]:
    """`each` groups of every class and rule, of 2 to 9 removed images; in all twice as many."""
    found = {}
    for place, (rule, space) in enumerate(RULES):
        threshold = 0.97 - 0.02 * place
        shown = []
        for number in range(each):
            for label in labels:
                kept = image(label, number)
                sizes = 2 + (number * 3 + seed_of(label)) % 8
                members = tuple(
                    Member(image(label, number, copy), label, threshold + margin, margin)
                    for step, copy in enumerate("bcdefghi"[:sizes])
                    for margin in [0.0001 * (number + 1) + 0.002 * step]
                )
                shown.append(Group(kept, label, sizes, members))
        found[rule, space] = Groups(2 * len(shown), tuple(shown))
    return found


def optional_tables(labels: Sequence[str] = LABELS, computed: bool = True) -> OptionalTables:
    """Every optional table, or none of them."""
    states = {
        table: State(
            "present" if computed else "absent", (f"./spark-submit.sh {writer_of(table)}",)
        )
        for table in OPTIONAL
    }
    if not computed:
        return OptionalTables(states)
    pairs = [
        {"pair_id": f"p{n:03}", "label": labels[n % len(labels)], "space": "raw"}
        | {"image_id": image(labels[n % len(labels)], n), "similarity": 0.93 + n * 0.001 / 3}
        | {"other_id": image(labels[n % len(labels)], n, "b")}
        for n in range(40)
    ]
    two = [(labels[n % len(labels)], labels[(n + 1) % len(labels)]) for n in range(30)]
    conflicts = [
        {"image_id": image(one, n), "label": one, "other_id": image(other, n), "total": 57}
        | {"other_label": other, "similarity": 0.999 - 0.001 * n}
        for n, (one, other) in enumerate(two)
    ]
    leaks = [
        {"image_id": image(one, n), "label": one, "split": "train", "reference_split": "test"}
        | {"reference_id": image(other, n), "reference_label": other, "threshold": 0.97}
        | {"reference_warehouse": None, "similarity": 0.99 - 0.0001 * n, "total": 30}
        for n, (one, other) in enumerate(two)
    ]
    anomalies = [
        {"image_id": image(one, n), "label": one, "rank": 1 + n // 5, "total": 300}
        | {"log_density": -math.inf if n == 0 else -9.5 - n / 7}
        for n, (one, _) in enumerate(two)
    ]
    modes = [
        {"label": label, "component": 1, "modes": 3, "stable_modes": 2, "p_value": 0.004}
        | {"heterogeneous": label == "forest", "positions": [-1.5, 1.0]}
        for label in labels
    ]
    generated: list[dict[str, Any]] = [{"images": 60, "classes": 5, "median": 0.9, "nearest": 0.97}]
    calibration = [
        {"rule": "fixed:0.95", "space": "raw", "threshold": 0.95, "precision": 0.97}
        | {"precision_low": 0.95, "precision_high": 0.99, "pairs": 200},
        {"rule": "precision:0.99", "space": "raw", "threshold": 0.9612, "precision": 0.99}
        | {"precision_low": 0.97, "precision_high": 1.0, "pairs": 200},
    ]
    rows = {"pairs": pairs, "conflicts": conflicts, "leaks": leaks, "anomalies": anomalies}
    rows |= {"modes": modes, "generated": generated, "calibration": calibration}
    return OptionalTables(states, rows)


def densities(labels: Sequence[str] = LABELS) -> list[list[Any]]:
    """Bell-shaped counts of three components, before and after every rule."""
    cells = [1, 4, 9, 16, 22, 25, 20, 13, 7, 2, 1]
    fewer = [1, 3, 7, 11, 14, 15, 13, 9, 5, 2]
    after = {place: [0, fewer] for place in range(len(RULES))}
    return [
        [place, component, -2.5, 0.5, cells[component - 1 :], after]
        for place in range(len(labels))
        for component in (1, 2, 3)
    ]


def similarities(labels: Sequence[str] = LABELS) -> list[dict[str, Any]]:
    draw = np.random.default_rng(1)
    rows = []
    for label in labels:
        points = draw.normal(size=(60, 5)) + 2
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        cosines = np.clip(points @ points.T, 0, 1)
        counts, edges = np.histogram(cosines, bins=200, range=(0, 1))
        row = {"label": label, "space": "raw", "n": 120, "sampled": 60, "origin": 0.0}
        row |= {"step": edges[1], "counts": counts.tolist(), "heat_ids": ["x"] * 60}
        rows.append(row | {"heat": np.rint(255 * cosines).astype(np.uint8).tobytes()})
    return class_plots.similarity_rows(rows, {label: i for i, label in enumerate(labels)})


@dataclass(frozen=True)
class Report:
    """A page, and the data in it."""

    text: str
    data: dict[str, Any]


def report(computed: bool = True, pictures: int = 5000, most: int = 5000) -> Report:
    """The page of all this.

    computed: with the optional tables. pictures: how many images have one. most: how many may.
    """
    numbers, optional = summary(), optional_tables(computed=computed)
    plots = similarities() if computed else []
    images = thumbnails.Thumbnails(most)
    data = page_data(numbers, groups() if most else {}, optional, densities(), plots, images)
    encoded = coded(images.image_ids[:pictures])
    data |= {"pictures": images.pictures(encoded), "pairs_id": "invented", "proofs": {}}
    return Report(render.render(numbers, optional, data, [], None, "0" * 64), data)
