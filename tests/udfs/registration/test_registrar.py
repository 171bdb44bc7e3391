"""Registration of pictures whose true transform is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.support.scenes import (
    AGREEMENT,
    PROOF,
    composed,
    corner_errors,
    pairs,
    scene,
    similarity,
    view,
)
from udfs.acquisition.decode import decode
from udfs.registration import Alignments, Registrar, grey_of, proved, turned
from udfs.registration.limits import LARGEST_SCALE
from udfs.registration.pictures import Greys


@dataclass(frozen=True)
class Views:
    """Pairs of views of one scene each, registered in both directions.

    overlaps: which share of the first picture of a pair lies inside the other one, by the truth.
    """

    greys: Greys
    truth: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    there: Alignments
    back: Alignments


@pytest.fixture(scope="module")
def views() -> Views:
    greys, truth = pairs(240, seed=1, farthest=26)
    y, x = np.mgrid[:64, :64].reshape(2, -1) - 31.5
    places = truth @ np.stack([x, y, np.ones_like(x)])
    overlaps = (np.abs(places) <= 32).all(axis=1).mean(axis=1)
    images = np.arange(0, len(greys), 2)
    registrar = Registrar(greys)
    there, back = registrar.align(images, images + 1), registrar.align(images + 1, images)
    return Views(greys, truth, overlaps, there, back)


def test_the_true_transform_is_found(views: Views) -> None:
    """To 0.3 pixels at the corners, where at least half of the first picture is shared."""
    well_within = views.overlaps >= 0.5
    assert 100 < well_within.sum() < 200
    errors = corner_errors(views.there, views.truth)
    assert np.mean(errors[well_within] <= 0.3) >= 0.99
    assert proved(views.there, PROOF, AGREEMENT)[well_within].mean() >= 0.99
    # What is proved is right, however little is shared, and the overlap is the true one.
    of_proved = proved(views.there, PROOF, AGREEMENT)
    assert errors[of_proved].max() < 1
    np.testing.assert_allclose(views.there.overlap[of_proved], views.overlaps[of_proved], atol=0.02)


def test_both_directions_find_the_same(views: Views) -> None:
    there, back = views.there, views.back
    both = (views.overlaps >= 0.5) & (there.overlap_other >= 0.5)
    assert both.sum() > 100
    assert np.mean(np.abs(there.registration - back.registration)[both] < 0.05) >= 0.99
    np.testing.assert_allclose(there.scale[both] * back.scale[both], 1, atol=0.02)
    np.testing.assert_allclose(there.overlap_other[both], back.overlap[both], atol=0.03)


def test_pictures_of_other_places_prove_nothing() -> None:
    """Among them parts of one scene that lie side by side, which share no pixel."""
    at = [(x, y) for x in (-96, -32, 32, 96) for y in (-96, -32, 32, 96)]
    greys = np.stack(
        [view(picture, similarity(1, 0, each)) for picture in map(scene, range(9)) for each in at]
    )
    images, others = np.triu_indices(len(greys), 1)
    assert len(images) > 10_000
    found = Registrar(greys).align(images, others)
    assert proved(found, PROOF, AGREEMENT).sum() <= 1e-4 * len(images)
    assert np.quantile(found.registration, 0.99) < PROOF


# Photographs of UC Merced that do show the same place, as one sees: the same aeroplane, cars,
# courts and roofs, moved.
SAME_PLACE = {
    ("airplane01", "airplane02"),
    ("denseresidential05", "denseresidential06"),
    ("parkinglot20", "parkinglot28"),
    ("tenniscourt26", "tenniscourt27"),
}


@pytest.mark.data
def test_photographs_of_one_class_prove_nothing(real_images: Path) -> None:
    """The first photographs of each class, by all others of them; all true pairs are found."""
    count, found = 0, set()
    for folder in sorted((real_images / "ucmerced").iterdir()):
        files = sorted(folder.glob("*.jpg"))[:34]
        frames = [
            decode(each.read_bytes(), max_pixels=10**6, tile=None, stride=None)[0] for each in files
        ]
        greys = grey_of(np.stack([np.frombuffer(frame.pixels, np.uint8) for frame in frames]))
        images, others = np.triu_indices(len(greys), 1)
        chosen = proved(Registrar(greys).align(images, others), PROOF, AGREEMENT)
        count += len(images)
        pairs_of_class = zip(images[chosen], others[chosen], strict=True)
        found |= {(files[i].stem, files[j].stem) for i, j in pairs_of_class}
    assert count > 10_000
    assert found >= SAME_PLACE
    assert len(found - SAME_PLACE) <= 1e-4 * count


def blurred(grey: Greys) -> Greys:
    return gaussian_filter(grey, 0.8)


def noisy(grey: Greys) -> Greys:
    noise = np.random.default_rng(11).normal(0, 6, grey.shape)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


def of_other_tones(grey: Greys) -> Greys:
    """Paler, darker, and as a curve."""
    return np.asarray(20 + 180 * (grey / 255) ** 1.6, np.uint8)


def coarse_toned(grey: Greys) -> Greys:
    """16 grey values."""
    return np.asarray(grey // 16 * 16, np.uint8)


@pytest.mark.parametrize("changed", [blurred, noisy, of_other_tones, coarse_toned])
def test_changed_pictures_are_found(changed: Callable[[Greys], Greys], views: Views) -> None:
    """To half a pixel, in both directions."""
    chosen = np.flatnonzero(views.overlaps >= 0.6)[:40]
    greys = views.greys.copy()
    for pair in chosen:
        greys[2 * pair + 1] = changed(greys[2 * pair + 1])
    registrar = Registrar(greys)
    there = registrar.align(2 * chosen, 2 * chosen + 1)
    assert np.mean(proved(there, PROOF, AGREEMENT)) >= 0.95
    assert np.mean(corner_errors(there, views.truth[chosen]) <= 0.5) >= 0.95
    back = registrar.align(2 * chosen + 1, 2 * chosen)
    assert np.mean(proved(back, PROOF, AGREEMENT)) >= 0.9


def test_half_flat_pictures_are_registered_by_the_other_half() -> None:
    """As with a sky, or a lake: a scene of which the left half is flat, seen at other places."""
    greys, truth = [], []
    for seed in range(20):
        picture = scene(200 + seed)
        picture[:, :128] = 140
        shift = np.random.default_rng(seed).uniform(-10, 10, 2)
        truth.append(similarity(1.05, 5, (shift[0], shift[1])))
        greys += [view(picture, truth[-1]), view(picture, similarity(1, 0, (0, 0)))]
    images = np.arange(0, 40, 2)
    registrar = Registrar(np.stack(greys))
    found = registrar.align(images, images + 1)
    assert not found.flat.any()
    assert proved(found, PROOF, AGREEMENT).mean() >= 0.95
    assert np.mean(corner_errors(found, np.array(truth)) <= 0.5) >= 0.95
    # The edge between the halves is alike in all of them; and it proves nothing.
    others = registrar.align(images, np.roll(images, 2) + 1)
    assert not proved(others, PROOF, AGREEMENT).any()


def test_a_logo_in_common_proves_nothing() -> None:
    """A strong mark of 14×14 pixels in the same corner of pictures of other places."""
    greys = np.stack([view(scene(300 + seed), similarity(1, 0, (0, 0))) for seed in range(30)])
    greys[:, 46:60, 46:60] = np.random.default_rng(12).integers(0, 2, (14, 14)) * 255
    images, others = np.triu_indices(30, 1)
    found = Registrar(greys).align(images, others)
    assert not proved(found, PROOF, AGREEMENT).any()


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
    for aspect in ([1.0, 0.0], [1.0, -1.0], [1.0]):
        with pytest.raises(ValueError, match="aspect"):
            Registrar(greys, np.array(aspect))
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
