"""Vectors that resemble each other, and the plain definitions of what is computed of them.

Use `images` for small sets of the kinds that are hard to decide, `spectral` for vectors like
latents, and `definition` as what a greedy cover must equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.duplicates.cover_search import Cover, Flags
from udfs.vectors.byte_bound import Codes
from udfs.vectors.cosine import (
    Indices,
    Matrix,
    exact_similarity,
    margin,
    squared_norms,
    unit_rows,
)
from udfs.vectors.screen import BoundedVectors, Screen

KINDS = ["random", "clustered", "integers", "chain", "scales"]


def dot(a: Matrix, b: Matrix) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def sim(a: Matrix, b: Matrix) -> float:
    scale = math.sqrt(dot(a, a) * dot(b, b))
    return min(1.0, max(-1.0, dot(a, b) / scale)) if scale else math.nan


def definition(
    reference: Matrix,
    candidates: Matrix,
    threshold: float,
    order: Indices,
    reference_mask: Flags | None = None,
    pending_mask: Flags | None = None,
) -> Cover:
    """A cover by its definition: in order, kept unless a kept image has Sim > T."""
    images = np.concatenate([reference, candidates])
    open_ = np.ones(len(candidates), np.bool_) if pending_mask is None else pending_mask
    kept = [i for i in range(len(reference)) if reference_mask is None or reference_mask[i]]
    keeper, similarity = {}, {}
    for image in (len(reference) + order[open_[order]]).tolist():
        for earlier in kept:
            if (found := sim(images[image], images[earlier])) > threshold:
                keeper[image], similarity[image] = earlier, found
                break
        else:
            kept.append(image)
    wanted = range(len(reference), len(images))
    return Cover(
        np.array([i not in keeper for i in wanted], np.bool_) & open_,
        np.array([keeper.get(i, -1) for i in wanted], np.int64),
        np.array([similarity.get(i, math.nan) for i in wanted], np.float64),
    )


def assert_same(found: Cover, expected: Cover) -> None:
    for name in ("kept", "keeper", "similarity"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert np.array_equal(a, b, equal_nan=name == "similarity"), (name, a, b)


@dataclass(frozen=True)
class Case:
    reference: Matrix
    candidates: Matrix
    thresholds: list[float]
    order: Indices

    def definitions(self) -> list[Cover]:
        return [definition(self.reference, self.candidates, t, self.order) for t in self.thresholds]


def images(random: np.random.Generator, kind: str, count: int, width: int) -> Matrix:
    """Rows of one of the shapes that a greedy cover may stumble over."""
    if kind == "random":
        rows = random.standard_normal((count, width))
    elif kind == "clustered":
        centres = random.random((max(1, count // 4), width))
        rows = centres[random.integers(0, len(centres), count)]
        rows = rows + random.choice([0, 1e-8, 1e-6, 1e-3, 0.1]) * random.random(rows.shape)
    elif kind == "integers":  # many equal cosines, many zero rows at small widths
        rows = random.integers(-1, 2, (count, width)).astype(np.float64)
    elif kind == "chain":  # each resembles its neighbours
        turn = random.random() * np.arange(count)[:, None] / 4
        rows = np.cos(turn + np.arange(width) * np.pi / 2) + 0.2
    else:
        rows = random.random((count, width)) * 10.0 ** random.uniform(-44, 37, (count, 1))
    rounded: Matrix = rows.astype(np.float32)
    rounded[random.random(count) < 0.1] = 0
    copied = random.random(count) < 0.2
    rounded[copied] = rounded[random.integers(0, max(1, count), copied.sum())]
    rounded[random.random(count) < 0.1] *= np.float32(0.5)
    return rounded


@st.composite
def cases(draw: st.DrawFn, largest: int = 22) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    width, count = draw(st.integers(1, 40)), draw(st.integers(0, largest))
    rows = images(random, draw(st.sampled_from(KINDS)), count, width)
    first = draw(st.one_of(st.just(0), st.integers(0, count)))
    thresholds = [float(draw(st.sampled_from([-1.5, -1, -0.3, 0, 0.5, 0.9, 0.97, 1, 1.5])))]
    for _ in range(draw(st.integers(0, 3)) if count else 0):
        near = sim(*rows[random.integers(0, count, 2)])
        if not math.isnan(near):
            thresholds += [near, np.nextafter(near, -9), np.nextafter(near, 9), near]
    order = random.permutation(count - first) if draw(st.booleans()) else np.arange(count - first)
    return Case(rows[:first], rows[first:], [float(t) for t in thresholds], order)


def record(results: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its results noted."""

    def recorded(*arguments: Any) -> Any:
        results.append(function(*arguments))
        return results[-1]

    return recorded


def units(rows: Matrix) -> Matrix:
    return unit_rows(rows, squared_norms(rows))


def prepared(screen: Screen, rows: Matrix) -> BoundedVectors:
    return screen.prepare(rows, squared_norms(rows))


def directed_images(seed: int, kind: str, count: int, width: int) -> Matrix:
    rows = images(np.random.default_rng(seed), kind, count, width)
    return rows[np.any(rows != 0, axis=1)]


def spectral(count: int, width: int, seed: int) -> Matrix:
    """Rows of a falling spectrum, as latents have."""
    random = np.random.default_rng(seed)
    scale = 0.9 ** np.arange(width)
    turned = np.linalg.qr(random.standard_normal((width, width)))[0]
    rows = (random.standard_normal((count, width)) * scale + 2 * scale) @ turned
    return np.asarray(rows, np.float32)


def check(screen: Screen, left: Matrix, right: Matrix, thresholds: list[float]) -> None:
    found = screen.candidates(prepared(screen, left), prepared(screen, right))
    order = found.row * len(right) + found.column
    assert (np.diff(order) > 0).all()
    whole = found.dense((len(left), len(right)))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            true = exact_similarity(a, b)
            if whole[i, j] == np.inf:
                assert true > max(thresholds)
            elif whole[i, j] == -np.inf:
                assert true <= min(thresholds)
            else:
                assert abs(whole[i, j] - true) <= margin(left.shape[1])


def decoded(left: Codes, right: Codes, words: int) -> NDArray[np.int64]:
    """Products of all rows, of which the last steps are of numbers of 16 bits."""
    steps = left.shape[1] - words
    parts = []
    for codes, more in ((left, 128), (right, 0)):
        narrow = np.ascontiguousarray(codes[:, :steps]).view(np.uint8 if more else np.int8)
        wide = np.ascontiguousarray(codes[:, steps:]).view(np.int16)
        parts.append(np.concatenate([narrow.astype(np.int64) - more, wide], axis=1))
    return np.asarray(parts[0] @ parts[1].T)


def cloud(seed: int, n: int, width: int) -> NDArray[np.float32]:
    """Rows around a point, with less and less spread from the first number to the last."""
    draw = np.random.default_rng(seed)
    spread = np.linspace(3, 0.2, width)
    return (draw.normal(size=(n, width)) * spread + draw.normal(size=width)).astype(np.float32)


def nearest_by_definition(vector: Matrix, ids: list[str], rows: Matrix) -> tuple[str | None, float]:
    found = [(exact_similarity(vector, row), name) for name, row in zip(ids, rows, strict=True)]
    known = [pair for pair in found if not np.isnan(pair[0])]
    if not known:
        return None, -np.inf
    best = max(pair[0] for pair in known)
    return min((name for value, name in known if value == best), key=str.encode), best
