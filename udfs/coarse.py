"""The first bound of `bounds` in bytes: whole numbers whose product is never below the cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from udfs.cosine import Bytes

Flags = NDArray[np.bool_]

STEP = 0.003  # of coordinates
MOST_PARTS = 4  # bytes that a coordinate may take
_BYTE = 127
_UP = 1 + 1e-9  # more than what float64 rounds off on the way


@dataclass(frozen=True)
class Coarse:
    """Coordinates in bytes, so that a product of whole numbers bounds the cosine from above.

    With p a unit vector's coordinates, p = step·w + e with whole numbers w, and rest what is
    orthogonal to their axes,

        x·y ≤ step²·w_x·w_y + |e_x1||p_y1| + |p_x1||e_y1| + ‖e_x2‖‖p_y2‖ + ‖p_x2‖‖e_y2‖ + ρ_x·ρ_y,

    1 the first axis, on which nearly all of a latent lies, 2 the other ones together, and
    ρ² = rest² + ‖e‖² (Cauchy and Schwarz). All of it is one product of bytes, the factors after
    the first sum rounded up: it takes a processor with byte products (VNNI) a third of the time of
    floats, and rounds nothing. A number beyond ±127 is a sum of `parts` bytes, which takes parts²
    places of the product.

    step: of a coordinate. parts: bytes of each of the leading axes' coordinates.
    """

    step: float
    parts: tuple[int, ...]

    @classmethod
    def fitted(cls, projected: NDArray[np.float64], step: float = STEP) -> Self | None:
        """For coordinates like a sample's, (n, axes); None where one takes too many bytes."""
        widest = np.abs(projected).max(axis=0) / (_BYTE * step)
        parts = np.maximum(1, np.ceil(widest)).astype(int)
        return None if parts.max() > MOST_PARTS else cls(step, tuple(parts.tolist()))

    @property
    def rest_parts(self) -> int:
        """Bytes of a length, which is hardly more than 1."""
        return math.ceil(1.01 / (_BYTE * self.step))

    @property
    def depth(self) -> int:
        """Places of the product."""
        return sum(part**2 for part in self.parts) + 4 + self.rest_parts**2

    def least(self, low: float) -> int:
        """A product up to this tells that the bound is at most `low`."""
        return math.floor(low / self.step**2)

    def sides(
        self, projected: NDArray[np.float64], rest_squared: NDArray[np.float64]
    ) -> tuple[Bytes, Bytes, Flags]:
        """Left and right factors, (n, depth) each, and which rows have no place in bytes: (n,).

        projected: (n, axes). rest_squared: (n,), rounded up.
        """
        most = _BYTE * np.array(self.parts)
        whole = np.clip(np.rint(projected / self.step), -most, most)
        error = projected - self.step * whole
        first, others = np.abs(error[:, 0]), _lengths(error[:, 1:])
        lengths = np.stack([np.abs(projected[:, 0]), _lengths(projected[:, 1:])], axis=1)
        # Factors of a product u·v: u over 126·step² and v times 126, both rounded up.
        small = np.ceil(np.stack([first, others], axis=1) * (_UP / (126 * self.step**2)))
        large = np.ceil(lengths * (_UP * 126))
        rest = np.ceil(np.sqrt(rest_squared + first**2 + others**2) * (_UP / self.step))
        many = self.rest_parts
        loose = (small > _BYTE).any(axis=1) | (large > _BYTE).any(axis=1) | (rest > _BYTE * many)
        wide = [
            (column, part) for column, part in zip(whole.T, self.parts, strict=True) if part > 1
        ]
        split = [_in_bytes(column, part) for column, part in [*wide, (rest, many)]]
        single = whole[:, np.array(self.parts) == 1].T
        left = [np.repeat(parts, len(parts), axis=0) for parts in split]
        right = [np.tile(parts, (len(parts), 1)) for parts in split]
        return (
            _stacked([single, *left, small.T, large.T]),
            _stacked([single, *right, large.T, small.T]),
            loose,
        )


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _in_bytes(numbers: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Whole numbers within ±127·parts as sums of as many within ±127: (parts, n)."""
    return np.asarray((numbers + np.arange(parts)[:, None]) // parts)


def _stacked(rows: list[NDArray[np.float64]]) -> Bytes:
    return np.ascontiguousarray(np.concatenate(rows).clip(-_BYTE, _BYTE).astype(np.int8).T)
