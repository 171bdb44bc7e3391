"""Unit vectors coded in bytes, so that a product of whole numbers bounds their cosine from above.

`udfs.vectors.screen` uses `ByteBound` as its first bound where the processor multiplies vectors of
bytes (`kernels.vnni.has_byte_products`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]

STEP = 0.003  # of coordinates on leading axes
LEAST_STEP = 1e-4  # with a smaller one, products could leave the range of `vnni.pairs_above`
_BYTE = 127
_UP = 1 + 1e-9  # more than the rounding of the float64 computations before


@dataclass(frozen=True)
class ByteBound:
    """How coordinates are coded in bytes, so that products of codes bound cosines from above.

    Let p be a unit vector's coordinates on the axes, ‖rest‖ the length of what is orthogonal to the
    axes, and p = step·w + e with whole numbers w. Then, by Cauchy and Schwarz,

        x·y ≤ step²·w_x·w_y + |e_x1||p_y1| + |p_x1||e_y1| + ‖e_x2‖‖p_y2‖ + ‖p_x2‖‖e_y2‖ + ρ_x·ρ_y,

    where 1 is the first axis, on which nearly all of a latent lies, 2 are the other axes together,
    and ρ² = ‖rest‖² + ‖e‖². All terms are computed as one product of whole numbers; the factors
    after the first term are rounded up. A processor that multiplies bytes (VNNI) takes a quarter of
    the time that it takes for floats, and rounds nothing.

    step: the unit of the coordinates, at least LEAST_STEP; ValueError where it is smaller. wide:
    for each axis, whether its coordinates are coded in 16 bits, as ρ is, instead of 8.
    """

    step: float
    wide: tuple[bool, ...]

    def __post_init__(self) -> None:
        if self.step < LEAST_STEP:
            raise ValueError(f"step is {self.step}; it must be at least {LEAST_STEP}")

    @classmethod
    def fitted(cls, projected: NDArray[np.float64], step: float = STEP) -> Self:
        """The bound for coordinates like those of a sample, (n, axes)."""
        wide = np.abs(projected).max(axis=0) > _BYTE * step
        return cls(step, tuple(wide.tolist()))

    @property
    def word_steps(self) -> int:
        """Steps of the product that multiply two numbers of 16 bits each; they come last."""
        return -(-(sum(self.wide) + 1) // 2)

    @property
    def steps(self) -> int:
        """All steps of the product; those before the last `word_steps` multiply four bytes each."""
        return -(-(len(self.wide) - sum(self.wide) + 4) // 4) + self.word_steps

    def scaled_threshold(self, low: float) -> int:
        """The whole number z for which a product of codes ≤ z proves that the cosine is ≤ low."""
        return int(np.floor(low / self.step**2))

    def codes(
        self, projected: NDArray[np.float64], rest_squared: NDArray[np.float64]
    ) -> tuple[Codes, Codes, Flags]:
        """Code coordinates: (n, axes), (n,) → left and right factors (n, steps), flags (n,).

        Args:
            projected: coordinates of unit vectors.
            rest_squared: ‖rest‖² of each vector, rounded up.

        Returns:
            The left and the right factors as `vnni.pairs_above` wants them, and the flags of rows
            that do not fit into them: no product of codes bounds these rows' cosines.
        """
        wide = np.array(self.wide)
        whole = np.rint(projected / self.step)
        np.clip(whole, -_BYTE, _BYTE, out=whole, where=~wide)
        error = projected - self.step * whole
        first, others = np.abs(error[:, 0]), _lengths(error[:, 1:])
        lengths = np.stack([np.abs(projected[:, 0]), _lengths(projected[:, 1:])], axis=1)
        # Of each product u·v, u is divided by 126·step² and v multiplied by 126, both rounded up.
        small = np.ceil(np.stack([first, others], axis=1) * (_UP / (126 * self.step**2)))
        large = np.ceil(lengths * (_UP * 126))
        rest = np.ceil(np.sqrt(rest_squared + first**2 + others**2) * (_UP / self.step))
        unbounded = (np.concatenate([small, large], axis=1) > _BYTE).any(axis=1)
        words = np.zeros((len(whole), 2 * self.word_steps), np.int16)
        words[:, : sum(self.wide)] = whole[:, wide]
        words[:, -1] = rest
        narrow = whole[:, ~wide]
        left = self._joined([narrow, small, large], words, 128)
        right = self._joined([narrow, large, small], words, 0)
        return left, right, np.asarray(unbounded)

    def _joined(
        self, parts: list[NDArray[np.float64]], words: NDArray[np.int16], offset: int
    ) -> Codes:
        """Bytes, to which an offset of 0 or 128 is added, and words as one matrix of codes."""
        codes = np.empty((len(words), self.steps), np.int32)
        bytes_ = codes[:, : self.steps - self.word_steps].view(np.int8)
        bytes_[:] = np.uint8(offset).view(np.int8)
        start = 0
        for part in parts:
            end = start + part.shape[1]
            bytes_[:, start:end] = part.clip(-_BYTE, _BYTE).astype(np.int8)
            start = end
        if offset:
            bytes_[:, :start] ^= np.int8(-128)  # adds 128, as an unsigned byte
        codes[:, self.steps - self.word_steps :] = words.view(np.int32)
        return codes


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
