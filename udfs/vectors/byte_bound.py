"""The first bound of `bounds` in whole numbers whose product is never below the cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]

STEP = 0.003  # of coordinates
LEAST_STEP = 1e-4  # below it products could leave the range of `kernels.passing`
_BYTE = 127
_UP = 1 + 1e-9  # more than what float64 rounds off on the way


@dataclass(frozen=True)
class Coarse:
    """Coordinates in bytes, so that a product of whole numbers bounds the cosine from above.

    With p a unit vector's coordinates, p = step·w + e with whole numbers w, and rest what is
    orthogonal to their axes,

        x·y ≤ step²·w_x·w_y + |e_x1||p_y1| + |p_x1||e_y1| + ‖e_x2‖‖p_y2‖ + ‖p_x2‖‖e_y2‖ + ρ_x·ρ_y,

    1 the first axis, on which nearly all of a latent lies, 2 the other ones together, and
    ρ² = rest² + ‖e‖² (Cauchy and Schwarz). All of it is one product of whole numbers, the factors
    after the first sum rounded up: a processor that multiplies bytes (VNNI) takes a quarter of the
    time it takes for floats, and rounds nothing.

    step: of a coordinate, at least LEAST_STEP. wide: which of the leading axes' coordinates have
    numbers of 16 bits, as ρ has; the others have 8.
    """

    step: float
    wide: tuple[bool, ...]

    def __post_init__(self) -> None:
        if self.step < LEAST_STEP:
            raise ValueError(f"step is {self.step}; it must be at least {LEAST_STEP}")

    @classmethod
    def fitted(cls, projected: NDArray[np.float64], step: float = STEP) -> Self:
        """For coordinates like a sample's, (n, axes)."""
        wide = np.abs(projected).max(axis=0) > _BYTE * step
        return cls(step, tuple(wide.tolist()))

    @property
    def words(self) -> int:
        """Steps of the product that multiply two numbers of 16 bits each, after all others."""
        return -(-(sum(self.wide) + 1) // 2)

    @property
    def steps(self) -> int:
        """Steps of the product; but for `words` they multiply four numbers of 8 bits each."""
        return -(-(len(self.wide) - sum(self.wide) + 4) // 4) + self.words

    def least(self, low: float) -> int:
        """A product up to this tells that the bound is at most `low`."""
        return int(np.floor(low / self.step**2))

    def sides(
        self, projected: NDArray[np.float64], rest_squared: NDArray[np.float64]
    ) -> tuple[Codes, Codes, Flags]:
        """Left and right factors as `kernels.passing` wants them, and what has no place in them.

        projected: (n, axes). rest_squared: (n,), rounded up. The factors are (n, steps) each, the
        flags of rows (n,).
        """
        wide = np.array(self.wide)
        whole = np.rint(projected / self.step)
        np.clip(whole, -_BYTE, _BYTE, out=whole, where=~wide)
        error = projected - self.step * whole
        first, others = np.abs(error[:, 0]), _lengths(error[:, 1:])
        lengths = np.stack([np.abs(projected[:, 0]), _lengths(projected[:, 1:])], axis=1)
        # Factors of a product u·v: u over 126·step² and v times 126, both rounded up.
        small = np.ceil(np.stack([first, others], axis=1) * (_UP / (126 * self.step**2)))
        large = np.ceil(lengths * (_UP * 126))
        rest = np.ceil(np.sqrt(rest_squared + first**2 + others**2) * (_UP / self.step))
        loose = (np.concatenate([small, large], axis=1) > _BYTE).any(axis=1)
        words = np.zeros((len(whole), 2 * self.words), np.int16)
        words[:, : sum(self.wide)] = whole[:, wide]
        words[:, -1] = rest
        narrow = whole[:, ~wide]
        left = self._coded([narrow, small, large], words, 128)
        right = self._coded([narrow, large, small], words, 0)
        return left, right, np.asarray(loose)

    def _coded(
        self, parts: list[NDArray[np.float64]], words: NDArray[np.int16], more: int
    ) -> Codes:
        coded = np.empty((len(words), self.steps), np.int32)
        bytes_ = coded[:, : self.steps - self.words].view(np.int8)
        bytes_[:] = np.uint8(more).view(np.int8)
        at = 0
        for part in parts:
            end = at + part.shape[1]
            bytes_[:, at:end] = part.clip(-_BYTE, _BYTE).astype(np.int8)
            at = end
        if more:
            bytes_[:, :at] ^= np.int8(-128)  # 128 more, as an unsigned byte
        coded[:, self.steps - self.words :] = words.view(np.int32)
        return coded


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
