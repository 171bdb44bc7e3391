"""Photographs of rendered ground that overlap in known ways, and a page that shows the proofs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jobs.report import proofs, render, thumbnails
from jobs.report.evidence import Evidence
from jobs.report.gallery import Group, Groups, Member
from jobs.report.page_data import page_data
from jobs.report.summary import Summary
from tests.support import example_report
from udfs.acquisition import decode
from udfs.acquisition.synthetic import terrain

GROUND = 420  # px of a side of the ground
LABELS = ("harbour", "town")


@dataclass(frozen=True)
class View:
    """A photograph: its size in px, its centre on the ground, ground px per px, and its turn.

    angle: of the camera, in degrees, anticlockwise as seen in the photograph that is not turned.
    orientation: which of the eight orientations of the stored picture is the camera's.
    """

    width: int
    height: int
    centre: tuple[float, float]
    size: float = 1.0
    angle: float = 0.0
    orientation: int = 0

    @property
    def unit(self) -> float:
        """Half the root of the area on the ground: the unit in which scales are measured."""
        return self.size * math.sqrt(self.width * self.height) / 2

    @property
    def stored_aspect(self) -> float:
        """Width / height of the stored picture, which is turned back."""
        aspect = self.width / self.height
        return 1 / aspect if self.orientation % 2 else aspect

    def on_ground(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points of the camera's frame [−1, 1] lie on the ground, (2, …)."""
        right, down = x * self.width / 2 * self.size, y * self.height / 2 * self.size
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return np.stack(
            [
                self.centre[0] + cosine * right + sine * down,
                self.centre[1] - sine * right + cosine * down,
            ]
        )

    def is_inside(self, ground: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points of the ground, (2, …), lie in the photograph."""
        right, down = ground[0] - self.centre[0], ground[1] - self.centre[1]
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        x = (cosine * right - sine * down) / (self.width / 2 * self.size)
        y = (sine * right + cosine * down) / (self.height / 2 * self.size)
        return np.asarray((np.abs(x) <= 1) & (np.abs(y) <= 1))

    def picture(self, ground: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The stored picture as 64×64 pixels, sampled finely and averaged."""
        fine = 4 * decode.SIDE
        steps = (np.arange(fine) + 0.5) / (fine / 2) - 1
        x, y = self.on_ground(*np.meshgrid(steps, steps))
        levels = [
            ndimage.map_coordinates(channel, [y - 0.5, x - 0.5], order=1, mode="nearest")
            for channel in np.moveaxis(ground, 2, 0)
        ]
        seen = np.stack(levels, axis=2).reshape(decode.SIDE, 4, decode.SIDE, 4, 3).mean(axis=(1, 3))
        back = np.rot90(seen, -(self.orientation % 4))
        stored = back[:, ::-1] if self.orientation >= 4 else back
        return np.asarray(np.rint(255 * np.clip(stored, 0, 1)), np.uint8)


def evidence(view: View, other: View, registration: float) -> Evidence:
    """The registration of a view with another one that is not turned, by the definition."""
    assert (other.angle, other.orientation) == (0.0, 0)
    steps = (np.arange(200) + 0.5) / 100 - 1
    inside = other.is_inside(view.on_ground(*np.meshgrid(steps, steps)))
    right, down = (np.array(view.centre) - other.centre).tolist()
    return Evidence(
        registration=registration,
        agreement=1.0,
        overlap=float(inside.mean()),
        scale=view.unit / other.unit,
        rotation=view.angle,
        shift_x=32 * right / (other.width / 2 * other.size),
        shift_y=32 * down / (other.height / 2 * other.size),
        shift_x_source=right / view.size,
        shift_y_source=down / view.size,
        orientation=view.orientation,
    )


KEPT = View(216, 144, (210.0, 210.0))
REMOVED = (
    View(216, 144, (240.0, 226.0)),  # moved
    View(108, 108, (200.0, 220.0), 0.9),  # a crop of another aspect
    View(216, 144, (214.0, 205.0), 0.85, 12.0),  # nearer, and turned a little
    View(120, 150, (225.0, 200.0), 1.1, -9.0),  # of another aspect, moved and turned
    View(216, 144, (205.0, 214.0), 1.0, 5.0, 1),  # turned by a quarter
    View(180, 120, (222.0, 215.0), 1.1, 0.0, 4),  # mirrored
    View(150, 120, (200.0, 204.0), 1.0, -6.0, 7),  # mirrored and turned by three quarters
)
RULES = (("overlap:0.9", "raw"), ("overlap:0.7", "raw"), ("fixed:0.95", "raw"))


def image(label: str, number: int) -> str:
    """The id of a photograph: the kept one has the number 0."""
    return f"{label}/{number:02}.jpg"


def pictures() -> dict[str, NDArray[np.uint8]]:
    """All photographs of a ground of each class, by id: (64, 64, 3)."""
    found = {}
    for seed, label in enumerate(LABELS):
        ground = terrain.render(label, GROUND, np.random.default_rng(seed))
        for number, view in enumerate((KEPT, *REMOVED)):
            found[image(label, number)] = view.picture(ground)
    return found


def aspects() -> dict[str, float]:
    """Width / height of each stored photograph by id."""
    views = list(enumerate((KEPT, *REMOVED)))
    return {image(label, number): view.stored_aspect for label in LABELS for number, view in views}


def member(label: str, number: int, least: float) -> Member:
    """A removed photograph; the registrations fall while the numbers rise."""
    proof = evidence(REMOVED[number - 1], KEPT, 0.97 - 0.05 * number)
    margin = proof.overlap - least
    return Member(image(label, number), label, 0.9 - 0.01 * number, margin, proof)


def groups() -> dict[tuple[str, str], Groups]:
    """A group of each class and rule; under the number's rule the removals have no proof."""
    found = {}
    for rule, space in RULES:
        kind, _, target = rule.partition(":")
        shown = []
        for label in LABELS:
            members = [member(label, n, float(target)) for n in range(1, len(REMOVED) + 1)]
            if kind == "fixed":
                members = [
                    replace(each, similarity=0.96, margin=0.01, evidence=None) for each in members
                ]
            else:
                members = [each for each in members if each.margin >= 0]
            members.sort(key=lambda each: (each.margin, each.image_id))
            shown.append(Group(image(label, 0), label, len(members), tuple(members)))
        found[rule, space] = Groups(len(shown), tuple(shown))
    return found


def summary() -> Summary:
    """Counts of the rules; `overlap:0.7` is published."""
    each = 1 + len(REMOVED)
    rules: list[dict[str, Any]] = []
    for rule, space in RULES:
        kind, _, target = rule.partition(":")
        removed = sum(len(group.members) for group in groups()[rule, space].shown)
        kept = len(LABELS) * each - removed
        title = f"overlap ≥ {target}" if kind == "overlap" else f"T = {target}"
        rules.append(
            {"rule": rule, "space": space, "title": title, "finds": False, "kept": kept}
            | {"threshold": None if kind == "overlap" else float(target)}
            | {"overlap": float(target) if kind == "overlap" else None}
            | {"share": kept / (len(LABELS) * each)}
        )
    cells = [{"kept": rule["kept"] // len(LABELS), "found": None} for rule in rules]
    return replace(
        example_report.summary(LABELS),
        images=each * len(LABELS),
        images_encoded=each * len(LABELS),
        published="overlap:0.7",
        published_kept=rules[1]["kept"],
        rules=rules,
        by_class=[{"label": label, "images": each, "cells": cells} for label in LABELS],
    )


def pairs() -> list[dict[str, Any]]:
    """Pairs to label: each removed photograph with the kept one; either of them comes first."""
    rows = []
    for label in LABELS:
        for number in range(1, len(REMOVED) + 1):
            ids = image(label, number), image(label, 0)
            one, other = ids if number % 2 else ids[::-1]
            rows.append(
                {"pair_id": f"{label}{number}", "label": label, "space": "raw"}
                | {"image_id": one, "other_id": other, "similarity": 0.9}
            )
    return rows


def report() -> example_report.Report:
    """A page with all of this, and a pair to label that was never registered."""
    numbers, optional = summary(), example_report.optional_tables(LABELS)
    strange = {"pair_id": "strange", "label": LABELS[0], "space": "raw", "similarity": 0.7}
    strange |= {"image_id": image(LABELS[0], 0), "other_id": image(LABELS[1], 0)}
    optional.rows |= {"pairs": [*pairs(), strange], "conflicts": [], "leaks": [], "anomalies": []}
    images = thumbnails.Thumbnails(100)
    data = page_data(numbers, groups(), optional, [], [], images)
    encoded = {
        name: thumbnails.Encoded(decode.jpeg(pixels, 90), aspects()[name])
        for name, pixels in pictures().items()
    }
    known = proofs.of_groups(groups())
    data |= {"pictures": images.pictures(encoded), "pairs_id": "overlaps"}
    data |= {"proofs": proofs.rows(data, known, aspects())}
    return example_report.Report(render.render(numbers, optional, data, [], None, "0" * 64), data)
