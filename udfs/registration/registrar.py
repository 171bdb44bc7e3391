"""Registration of pairs of pictures: the transform that lays one over the other, and its score.

Use `Registrar` for the pictures of a group: it computes what belongs to a picture once, and keeps
what was used last. The search: the best of a grid of scales, rotations and all shifts, at half size
(`coarse`); Gauss–Newton steps on the normalised correlation, at half and then at full size
(inverse compositional, after Baker & Matthews, "Lucas–Kanade 20 years on", IJCV 56, 2004; the
correlation as the objective after Evangelidis & Psarakis, PAMI 30, 2008); then the score and its
evidence at the transform that was found (`alignment`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from udfs.registration import coarse
from udfs.registration.alignment import Alignments
from udfs.registration.coarse import Spectra
from udfs.registration.kernels import evidence, refinement
from udfs.registration.limits import (
    FIRST_STEPS,
    FLAT,
    HALF_STEPS,
    HOPELESS,
    HOPELESS_FIRST,
    LARGEST_ROTATION,
    LARGEST_SCALE,
    LARGEST_STEP,
    LEAST_OVERLAP,
    STARTS,
    STEPS,
    UNPROVED,
)
from udfs.registration.pictures import (
    FLOOR,
    NEAR,
    ORIENTATIONS,
    SIDE,
    Greys,
    Prepared,
    Structure,
    kernels_of_contrast,
    kernels_of_structure,
    structure_of,
    turned,
)

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Value = TypeVar("Value")

# What is kept of pictures that were used last: 0.1 MB for each entry. The images of a block of the
# cover (`prune.block`), as first pictures, are asked for in turn again and again.
_PICTURES, _SPECTRA, _STRUCTURES = 2048, 1024, 512


class _Recent(Generic[Value]):
    """Values by key, made when asked for; those that were not used for longest are dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[tuple[float, ...], Value] = OrderedDict()

    def get(self, key: tuple[float, ...], make: Callable[[], Value]) -> Value:
        """The value of a key."""
        value = self._values.pop(key, None)
        if value is None:
            value = make()
        self._values[key] = value
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value


class _Cache:
    """What one thread computed of pictures and keeps for further pairs."""

    def __init__(self) -> None:
        self.pictures: _Recent[Prepared] = _Recent(_PICTURES)
        self.template_spectra: _Recent[Spectra] = _Recent(_SPECTRA)
        self.other_spectra: _Recent[Spectra] = _Recent(_PICTURES)
        self.structures: _Recent[Structure] = _Recent(_STRUCTURES)


class Registrar:
    """Registers pairs of a set of pictures.

    The outcome of a pair depends on its two pictures and their aspects alone, not on what else is
    registered, in which order or by how many threads.
    """

    def __init__(
        self,
        grey: Greys,
        aspect: NDArray[np.floating] | None = None,
        *,
        orientations: int = 1,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        """Registrar of pictures (n, 64, 64) uint8.

        Args:
            grey: the rounded mean of the three channels, see `pictures.grey_of`.
            aspect: (n,), width over height of the originals; None for squares.
            orientations: 1, or 8 to turn and mirror the first picture of a pair too.
            device: "cpu"; or another name that torch knows, such as "cuda", to register batches
                of pairs there (`udfs.registration.gpu`), whose outcomes differ by rounding.
            threads: that register at a time on the CPU.

        Raises ValueError where shapes or values do not fit.
        """
        if grey.shape[1:] != (SIDE, SIDE) or grey.dtype != np.uint8:
            raise ValueError(f"grey must be (n, {SIDE}, {SIDE}) of uint8, not {grey.shape}")
        aspects = np.ones(len(grey)) if aspect is None else np.asarray(aspect, np.float64)
        if aspects.shape != (len(grey),) or not np.all(aspects > 0):
            raise ValueError("aspect must hold a positive number for each picture")
        if orientations not in (1, ORIENTATIONS):
            raise ValueError(f"orientations must be 1 or {ORIENTATIONS}")
        self._grey = grey
        self._aspects = aspects
        self._orientations = orientations
        self._on_device = None
        if device != "cpu":
            from udfs.registration.gpu.registrar import DeviceRegistrar  # it loads torch

            self._on_device = DeviceRegistrar(
                grey, aspects, orientations=orientations, device=device
            )
        self._caches = [_Cache() for _ in range(max(1, threads))]

    def align(
        self, images: Indices, others: Indices, least_overlap: Floats | float = 0.0
    ) -> Alignments:
        """Register pairs: the first picture's frame onto the other's, (m,) and (m,) indices.

        least_overlap: (m,), or one for all. A pair is given up whose larger overlap at half size
        is smaller (`alignment.least_at_half_size`).
        """
        images, others = np.asarray(images, np.int64), np.asarray(others, np.int64)
        least = np.broadcast_to(np.asarray(least_overlap, np.float64), images.shape)
        if self._on_device is not None:
            return self._on_device.align(images, others, least)
        found = Alignments.empty(len(images))
        pairs = np.lexsort((others, images))  # so that a picture is prepared once
        parts = np.array_split(pairs, len(self._caches))
        if len(self._caches) == 1 or len(pairs) < 2 * len(self._caches):
            self._align_part(self._caches[0], pairs, images, others, least, found)
            return found
        with ThreadPoolExecutor(len(self._caches)) as pool:
            tasks = [
                pool.submit(self._align_part, cache, part, images, others, least, found)
                for cache, part in zip(self._caches, parts, strict=True)
            ]
            for task in tasks:
                task.result()
        return found

    def _align_part(
        self,
        cache: _Cache,
        pairs: Indices,
        images: Indices,
        others: Indices,
        least: Floats,
        found: Alignments,
    ) -> None:
        for pair in pairs.tolist():
            self._align_pair(
                cache, int(images[pair]), int(others[pair]), float(least[pair]), pair, found
            )

    def _align_pair(
        self, cache: _Cache, image: int, other: int, least: float, pair: int, found: Alignments
    ) -> None:
        """Register one pair, and enter what was found at the index `pair`."""
        reference = cache.pictures.get((other, 0), partial(self._prepared, other, 0))
        if reference.textured < FLAT:
            return
        candidates = []
        for orientation in range(self._orientations):
            key = image, orientation
            template = cache.pictures.get(key, partial(self._prepared, image, orientation))
            if template.textured < FLAT:
                return
            spectra = cache.template_spectra.get(key, partial(coarse.template_spectra, template))
            root = float(template.root)
            other_spectra = cache.other_spectra.get(
                (other, root), partial(coarse.other_spectra, reference, root)
            )
            values, transforms = coarse.starts(spectra, other_spectra, root, STARTS)
            candidates.append((float(values[0]), -orientation, template, transforms))
        _, turning, template, transforms = max(candidates, key=lambda each: each[:2])
        found.orientation[pair] = -turning
        matrix = np.zeros((2, 3), np.float32)
        if _refined(template, reference, transforms, least, matrix, pair, found):
            key = image, -turning
            structure = cache.structures.get(key, partial(structure_of, template))
            _enter_evidence(template, structure, reference, matrix, pair, found)

    def _prepared(self, image: int, orientation: int) -> Prepared:
        aspect = float(self._aspects[image])
        grey = turned(self._grey[image], orientation)
        return Prepared.of(grey, aspect if orientation % 2 == 0 else 1 / aspect)


def _refined(
    template: Prepared,
    reference: Prepared,
    transforms: Floats,
    least: float,
    matrix: NDArray[np.float32],
    pair: int,
    found: Alignments,
) -> bool:
    """Refine the transforms of a pair, and enter the best one, which `matrix` is set to.

    Returns whether it is to be judged: the pair is neither refused nor given up.
    """
    correlation, half, refined = refinement.refine(
        template.fine, template.coarse, template.root, reference.fine[0], reference.coarse[0],
        reference.root, transforms, FIRST_STEPS, HALF_STEPS, STEPS, LEAST_OVERLAP, LARGEST_STEP,
        HOPELESS_FIRST, HOPELESS, least,
        matrix,
    )  # fmt: skip
    found.flat[pair] = False
    found.overlap_half[pair] = half
    if 0 < half < least:
        return False  # given up
    found.registration[pair] = max(correlation, 0.0)
    if not refined:
        return False
    root, other_root = float(template.root), float(reference.root)
    a, b = matrix[0, 0] * other_root / root, matrix[0, 1] * root * other_root
    scale, rotation = math.hypot(a, b), math.degrees(math.atan2(b, a))
    within = 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE and abs(rotation) <= LARGEST_ROTATION
    if not within:
        found.registration[pair] = min(found.registration[pair], HOPELESS)
        return False
    found.scale[pair], found.rotation[pair] = scale, rotation
    found.shift_x[pair], found.shift_y[pair] = matrix[0, 2], matrix[1, 2]
    return True


def _enter_evidence(
    template: Prepared,
    structure: Structure,
    reference: Prepared,
    matrix: NDArray[np.float32],
    pair: int,
    found: Alignments,
) -> None:
    """Judge the transform that was found, and enter its score and evidence."""
    out = np.empty(5)
    evidence.judge(
        template.fine, structure, reference.grey, matrix, *kernels_of_contrast(NEAR),
        FLOOR, *kernels_of_structure(), UNPROVED, out,
    )  # fmt: skip
    found.agreement[pair], found.blocks[pair], found.overlap[pair] = out[1], int(out[2]), out[3]
    found.overlap_other[pair] = min(1.0, out[3] * found.scale[pair] ** 2)
    if out[4] < FLAT:
        found.flat[pair] = True
        found.registration[pair] = np.nan
    else:
        found.registration[pair] = out[0]
