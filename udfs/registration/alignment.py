"""What registration found about pairs of pictures, and whether it proves that they show the same.

The transform of a pair takes the pixel (x, y) of the first picture, after it was turned to its
orientation, to u = S·((x + ½)/32 − 1, (y + ½)/32 − 1) with S = diag(√a, 1/√a), a being the width
over the height of its original; then to v = scale·(x′, y′) + t with x′ = cos θ·u_x + sin θ·u_y and
y′ = −sin θ·u_x + cos θ·u_y, θ being the rotation; and then, by the other picture's S⁻¹·v, to a
place in the other picture, from −1 to 1. So a scale below 1 means that the first picture shows a
part of the other one, enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from udfs.registration.limits import OVERLAP_MARGIN

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Whole = NDArray[np.int64]

# A picture that lies on the other one without any shift, turn or change of scale is hardly there by
# chance: then less agreement suffices, by this share of what is asked for.
LENIENCE = 0.6
IN_PLACE, MOVED = 1.0, 2.0  # pixels of the farthest corner: up to here in place, from there moved
_HALF_DIAGONAL = 45.0  # pixels from the centre to a corner
LEAST_BLOCKS = 4  # blocks of 8×8 pixels that must have contrast in both pictures


@dataclass(frozen=True)
class Alignments:
    """The best transforms of m pairs, each entry an array (m,).

    registration: the zero-mean normalised correlation R of both pictures over their overlap, in
        [−1, 1]; NaN for flat pictures, and for pairs that were given up.
    agreement: the correlation of the two pictures' derivatives along the direction in which they
        vary least, less the largest such correlation with the other picture shifted by 3 to 9
        pixels; but at most the mean correlation of the third of the blocks of 8×8 pixels that
        agree least; in [−1, 1]. A straight edge, or stripes, correlate with any others, but not
        along themselves; what repeats in both directions agrees as well elsewhere; and of one floor
        with another thing on it, only a part agrees.
    blocks: how many of the 64 blocks of 8×8 pixels have contrast in both pictures.
    overlap: the share of the first picture that lies inside the other one, in [0, 1].
    overlap_other: the share of the other picture that lies inside the first one.
    overlap_half: the larger of both overlaps at the transform with which the steps at half size
        end; 0 where a pair was refused by then. With too little a pair is given up (`given_up`).
    scale, rotation: of the transform; degrees, anticlockwise as seen.
    shift_x, shift_y: where the first picture's centre lies in the other one, from its centre, in
        pixels of the 64×64 frame.
    orientation: in which the first picture was turned, as `pictures.turned` counts.
    flat: whether next to nothing of the overlap has contrast: there is nothing to register.
    """

    registration: Floats
    agreement: Floats
    blocks: Whole
    overlap: Floats
    overlap_other: Floats
    overlap_half: Floats
    scale: Floats
    rotation: Floats
    shift_x: Floats
    shift_y: Floats
    orientation: Whole
    flat: Flags

    def __len__(self) -> int:
        return len(self.registration)

    @property
    def given_up(self) -> Flags:
        """Which pairs were not registered to the end, as they overlap too little at half size."""
        return np.asarray(np.isnan(self.registration) & ~self.flat)

    def take(self, pairs: NDArray[np.int64] | Flags) -> Alignments:
        """The alignments of some of the pairs."""
        return Alignments(*(getattr(self, field.name)[pairs] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Alignments]) -> Alignments:
        """The alignments of several sets of pairs, one after the other."""
        parts = parts or [cls.empty(0)]
        return cls(
            *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls))
        )

    @classmethod
    def empty(cls, count: int) -> Alignments:
        """Alignments of pairs of flat pictures, to be filled in."""
        zeros = [np.zeros(count) for _ in range(8)]
        unknown = np.full(count, np.nan)
        agreement, overlap, other, half, scale, rotation, shift_x, shift_y = zeros
        blocks, orientation = np.zeros(count, np.int64), np.zeros(count, np.int64)
        flat = np.ones(count, np.bool_)
        return cls(
            unknown, agreement, blocks, overlap, other, half, scale + 1, rotation, shift_x,
            shift_y, orientation, flat,
        )  # fmt: skip

    @classmethod
    def identical(cls, count: int) -> Alignments:
        """Alignments of pairs whose pictures are equal pixel by pixel."""
        found = cls.empty(count)
        ones = (found.registration, found.agreement)
        for array in (*ones, found.overlap, found.overlap_other, found.overlap_half):
            array[:] = 1
        found.blocks[:] = 64
        found.flat[:] = False
        return found

    def matrices(self, aspects: Floats, other_aspects: Floats) -> Floats:
        """Matrices (m, 2, 3) from pixels of the first picture to pixels of the other one.

        Both in pixels of the 64×64 frames, from their centres. aspects: (m,), width over height of
        the originals, of the first picture as it is turned.
        """
        root, other = np.sqrt(aspects), np.sqrt(other_aspects)
        angle = np.radians(self.rotation)
        a, b = self.scale * np.cos(angle), self.scale * np.sin(angle)
        first = np.stack([a * root / other, b / (root * other), self.shift_x], axis=1)
        second = np.stack([-b * root * other, a * other / root, self.shift_y], axis=1)
        return np.stack([first, second], axis=1)


def displacement(alignments: Alignments) -> Floats:
    """By how many pixels of the frame a corner of the first picture is moved at most: (m,).

    As if both pictures were square; infinite where the first one was turned to be registered.
    """
    angle = np.radians(alignments.rotation)
    distortion = np.hypot(alignments.scale * np.cos(angle) - 1, alignments.scale * np.sin(angle))
    moved = np.hypot(alignments.shift_x, alignments.shift_y) + _HALF_DIAGONAL * distortion
    return np.asarray(np.where(alignments.orientation == 0, moved, np.inf))


def least_at_half_size(overlap: float) -> float:
    """The overlap at half size that a pair needs where it needs this overlap at the end."""
    return overlap - OVERLAP_MARGIN


def shares(alignments: Alignments, overlap: float, *, either: bool = False) -> Flags:
    """Whether the first pictures of pairs lie inside the other ones by this share: (m,).

    either: it is enough if the other picture lies so in the first one. At half size the larger of
    both overlaps must be near it, too, for a search that needs this overlap looks no further
    otherwise: so the answer is the same for pairs that were registered for a smaller one.
    """
    share = alignments.overlap
    if either:
        share = np.maximum(share, alignments.overlap_other)
    near = alignments.overlap_half >= least_at_half_size(overlap)
    return np.asarray((share >= overlap) & near)


def evidence(alignments: Alignments) -> Floats:
    """The agreement as it counts for a proof: (m,), in [−1, 1].

    It is larger where the picture lies on the other one as it is: divided by 1 − LENIENCE up to
    IN_PLACE, and less and less up to MOVED. So copies that were saved, scaled or made noisy, whose
    fine structure agrees less, are proved all the same.
    """
    share = np.clip((MOVED - displacement(alignments)) / (MOVED - IN_PLACE), 0, 1)
    return np.asarray(np.clip(alignments.agreement / (1 - LENIENCE * share), -1, 1))


def proved(alignments: Alignments, proof: float, agreement: float) -> Flags:
    """Whether each pair is proved to show the same: (m,).

    Its registration and its `evidence` must reach these values, and at least LEAST_BLOCKS blocks
    must have contrast in both pictures.
    """
    return np.asarray(
        ~alignments.flat
        & (np.nan_to_num(alignments.registration, nan=-1.0) >= proof)
        & (evidence(alignments) >= agreement)
        & (alignments.blocks >= LEAST_BLOCKS)
    )
