"""Registration of pictures whose true transform is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from udfs.registration import Alignments, Registrar, proved, turned
from udfs.registration.limits import LARGEST_SCALE

PROOF, AGREEMENT = 0.4, 0.3
CENTRE = 128.0
Floats = NDArray[np.float64]


def scene(seed: int, detail: float = 1.5) -> Floats:
    """A picture (256, 256) in [0, 255] with structures of several sizes."""
    noise = np.random.default_rng(seed).standard_normal((3, 256, 256))
    layers = [gaussian_filter(each, detail * 2**k) for k, each in enumerate(noise)]
    mixed = sum(layer / layer.std() for layer in layers)
    return np.asarray(np.clip(127 + 30 * mixed, 0, 255))


def view(picture: Floats, matrix: Floats) -> NDArray[np.uint8]:
    """The 64×64 picture that is seen through a matrix (2, 3), from the scene's centre."""
    y, x = np.mgrid[:64, :64] - 31.5
    at = np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)]))
    seen = map_coordinates(picture, [at[1] + CENTRE, at[0] + CENTRE], order=1, mode="reflect")
    return np.round(seen).astype(np.uint8)


def similarity(scale: float, degrees: float, shift: tuple[float, float]) -> Floats:
    """The matrix of a similarity transform, anticlockwise as seen."""
    angle = math.radians(degrees)
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, b, shift[0]], [-b, a, shift[1]]])


def composed(second: Floats, first: Floats) -> Floats:
    """The matrix of one transform after another."""
    whole = second[:, :2] @ first
    whole[:, 2] += second[:, 2]
    return np.asarray(whole)


def pairs(count: int, seed: int) -> tuple[NDArray[np.uint8], Floats]:
    """Pairs of views of one scene each: pictures (2·count, 64, 64), true matrices (count, 2, 3)."""
    random = np.random.default_rng(seed)
    greys, truth = [], []
    for each in range(count):
        scale = math.exp(random.uniform(-math.log(1.35), math.log(1.35)))
        degrees = random.uniform(-14, 14)
        shift = random.uniform(-14, 14, 2)
        own = similarity(1.2, 0, (0, 0))
        matrix = similarity(scale, degrees, (shift[0], shift[1]))
        picture = scene(1000 * seed + each)
        # The first picture shows the scene through `own`, after the transform, the other without.
        greys += [view(picture, composed(own, matrix)), view(picture, own)]
        truth.append(matrix)
    return np.stack(greys), np.array(truth)


def corner_errors(found: Alignments, truth: Floats) -> Floats:
    """The largest distance in pixels by which a corner of each first picture is misplaced."""
    corners = np.array([[x, y, 1] for x in (-32, 32) for y in (-32, 32)]).T
    ones = np.ones(len(truth))
    return np.asarray(np.abs((found.matrices(ones, ones) - truth) @ corners).max(axis=(1, 2)))


def test_the_true_transform_is_found() -> None:
    greys, truth = pairs(60, seed=1)
    images = np.arange(0, len(greys), 2)
    found = Registrar(greys).align(images, images + 1)
    well_within = found.overlap >= 0.5
    assert well_within.sum() > 30
    right = corner_errors(found, truth)[well_within] <= 0.3
    assert right.mean() > 0.97
    assert proved(found, PROOF, AGREEMENT)[well_within].mean() > 0.97


def test_both_directions_find_the_same() -> None:
    greys, _ = pairs(40, seed=2)
    images = np.arange(0, len(greys), 2)
    registrar = Registrar(greys)
    there, back = registrar.align(images, images + 1), registrar.align(images + 1, images)
    both = (there.overlap >= 0.5) & (back.overlap >= 0.5)
    assert np.mean(np.abs(there.registration - back.registration)[both] < 0.05) >= 0.95
    np.testing.assert_allclose(there.scale[both] * back.scale[both], 1, atol=0.02)
    np.testing.assert_allclose(there.overlap_other[both], back.overlap[both], atol=0.03)


def test_pictures_of_other_scenes_prove_nothing() -> None:
    greys = np.stack([view(scene(seed), similarity(1, 0, (0, 0))) for seed in range(40)])
    images, others = np.triu_indices(len(greys), 1)
    found = Registrar(greys).align(images, others)
    assert not proved(found, PROOF, AGREEMENT).any()
    assert np.quantile(found.registration, 0.99) < PROOF


def test_stripes_prove_nothing() -> None:
    y, x = np.mgrid[:64, :64]
    random = np.random.default_rng(3)
    stripes = [
        127 + 60 * np.sin((x + slope * y + phase) / 1.7) + random.normal(0, 6, (64, 64))
        for slope in (0.1, 0.2)
        for phase in (0, 3)
    ]
    greys = np.clip(np.stack(stripes), 0, 255).astype(np.uint8)
    found = Registrar(greys).align(np.array([0, 0, 2]), np.array([1, 2, 3]))
    assert (found.registration > PROOF).any()  # they do correlate
    assert not proved(found, PROOF, AGREEMENT).any()


def test_what_repeats_in_both_directions_proves_nothing() -> None:
    """Two fields of plants: the same distances, and each plant of its own size."""
    y, x = np.mgrid[:64, :64]
    random = np.random.default_rng(5)
    fields = []
    for _ in range(2):
        sizes = np.kron(random.uniform(0.8, 1.2, (11, 11)), np.ones((6, 6)))[:64, :64]
        plants = np.cos(2 * np.pi * x / 6) + np.cos(2 * np.pi * y / 6)
        fields.append(127 + 35 * sizes * plants + random.normal(0, 5, (64, 64)))
    greys = np.clip(np.stack([*fields, np.roll(fields[0], 2, 1)]), 0, 255).astype(np.uint8)
    found = Registrar(greys).align(np.array([0, 0]), np.array([1, 2]))
    assert (found.registration > PROOF).all()
    assert proved(found, PROOF, AGREEMENT).tolist() == [False, False]
    assert (found.agreement < 0.2).all()


def test_flat_pictures_are_told() -> None:
    flat = np.full((64, 64), 90, np.uint8)
    nearly = flat.copy()
    nearly[30:34, 30:34] = 200  # contrast in less than a tenth
    textured = view(scene(4), similarity(1, 0, (0, 0)))
    found = Registrar(np.stack([flat, nearly, textured])).align(
        np.array([0, 1, 2, 2]), np.array([1, 0, 0, 2])
    )
    assert found.flat.tolist() == [True, True, True, False]
    assert np.isnan(found.registration[:3]).all()
    assert proved(found, PROOF, AGREEMENT).tolist() == [False, False, False, True]


@pytest.mark.parametrize("orientation", range(8))
def test_turned_pictures_are_found_in_their_orientation(orientation: int) -> None:
    whole = view(scene(5), similarity(1, 0, (0, 0)))
    moved = view(scene(5), similarity(1, 0, (5, -3)))
    # `back` is the picture of which `turned` in this orientation gives `moved`.
    back = next(
        turned(moved, other)
        for other in range(8)
        if np.array_equal(turned(turned(moved, other), orientation), moved)
    )
    found = Registrar(np.stack([back, whole]), orientations=8).align(np.array([0]), np.array([1]))
    assert found.orientation.tolist() == [orientation]
    np.testing.assert_allclose([found.shift_x[0], found.shift_y[0]], [5, -3], atol=0.1)


def test_pictures_keep_their_aspect() -> None:
    """The original of the first picture is 2:1; what it shows is turned in the original's units."""
    picture = scene(6, detail=3)
    stretch = np.array([[1.4, 0, 0], [0, 0.7, 0]])  # 64×64 pixels to an original of 2:1
    turn = similarity(1, 10, (4, 2))
    greys = np.stack([view(picture, composed(turn, stretch)), view(picture, stretch)])
    aspect = np.array([2.0, 2.0])
    found = Registrar(greys, aspect).align(np.array([0]), np.array([1]))
    np.testing.assert_allclose(found.rotation, 10, atol=0.3)
    np.testing.assert_allclose(found.scale, 1, atol=0.01)
    np.testing.assert_allclose([found.shift_x[0], found.shift_y[0]], [4 / 1.4, 2 / 0.7], atol=0.2)
    expected = composed(np.array([[1 / 1.4, 0, 0], [0, 1 / 0.7, 0]]), composed(turn, stretch))
    np.testing.assert_allclose(found.matrices(aspect[:1], aspect[:1])[0], expected, atol=0.2)


def test_the_outcome_of_a_pair_depends_on_the_pair_alone() -> None:
    greys, _ = pairs(12, seed=7)
    images = np.arange(0, len(greys), 2)
    together = Registrar(greys).align(images, images + 1)
    by_threads = Registrar(greys, threads=3).align(images, images + 1)
    backwards = Registrar(greys).align(images[::-1], images[::-1] + 1)
    alone = Alignments.concatenate(
        [Registrar(greys[i : i + 2]).align(np.array([0]), np.array([1])) for i in images]
    )
    for other in (by_threads, backwards.take(np.arange(12)[::-1]), alone):
        assert all(
            np.array_equal(getattr(together, name), getattr(other, name), equal_nan=True)
            for name in ("registration", "agreement", "overlap", "scale", "shift_x", "flat")
        )


def test_what_does_not_fit_is_refused() -> None:
    greys = np.zeros((2, 64, 64), np.uint8)
    with pytest.raises(ValueError, match="grey must be"):
        Registrar(greys[:, :32])
    with pytest.raises(ValueError, match="aspect"):
        Registrar(greys, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="orientations"):
        Registrar(greys, orientations=4)


def test_larger_scales_are_not_accepted() -> None:
    picture = scene(8)
    greys = np.stack(
        [view(picture, similarity(2.2, 0, (0, 0))), view(picture, similarity(1, 0, (0, 0)))]
    )
    found = Registrar(greys).align(np.array([0]), np.array([1]))
    assert found.scale[0] <= LARGEST_SCALE
    assert not proved(found, PROOF, AGREEMENT).any()
