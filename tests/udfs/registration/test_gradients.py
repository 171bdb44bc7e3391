"""Vectors of gradients: alike where pictures share a part, whatever lies beside them."""

from __future__ import annotations

import numpy as np

from tests.support.registration import picture
from tests.support.scenes import pairs, scene, similarity, view
from udfs.registration.gradients import coordinates, gradient_vectors, width
from udfs.vectors.cosine import Matrix
from udfs.vectors.whitening import Moments, Whitening


def cosines(vectors: Matrix) -> Matrix:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(units @ units.T, np.float32)


def test_coordinates_are_at_right_angles_and_leave_the_constant_one_out() -> None:
    basis = coordinates().astype(np.float64)
    assert basis.shape == (128, 51)
    products = basis.T @ basis
    np.testing.assert_allclose(products, np.diag(products.diagonal()), atol=1e-5)
    assert np.abs(basis.sum(axis=0)).max() < 1e-5
    assert products.diagonal().min() > 1.9
    assert products.diagonal().max() < 5.1


def test_a_vector_holds_the_roots_of_mean_products() -> None:
    (vector,) = gradient_vectors(picture(31)[None])
    assert vector.shape == (width(),) == (1327,)
    assert vector.dtype == np.float32
    squares = np.zeros((51, 51))
    squares[np.triu_indices(51)] = (vector**2 * np.sign(vector))[1:]
    assert vector[0] == 0  # no window is flat
    assert abs(np.trace(squares) - 1) < 1e-5  # the mean of unit vectors' squares
    whole = squares + np.triu(squares, 1).T
    assert np.linalg.eigvalsh(whole).min() > -1e-5


def test_a_vector_does_not_depend_on_those_beside_it() -> None:
    greys = np.stack([picture(seed) for seed in range(70)])
    together = gradient_vectors(greys)
    for some in (slice(3, 4), slice(60, 70)):
        np.testing.assert_array_equal(gradient_vectors(greys[some]), together[some])


def test_flat_pictures_have_vectors_too() -> None:
    greys = np.stack([np.full((64, 64), level, np.uint8) for level in (0, 255)])
    first, second = gradient_vectors(greys)
    assert np.isfinite(first).all()
    assert first[0] == 1
    assert not first[1:].any()
    np.testing.assert_array_equal(first, second)


def test_tone_makes_next_to_no_difference() -> None:
    grey = picture(33).astype(np.float64)
    changed = np.rint(0.7 * grey + 40).astype(np.uint8)
    likeness = cosines(gradient_vectors(np.stack([picture(33), changed])))
    assert likeness[0, 1] > 0.99


def test_pictures_that_share_a_part_are_nearer_than_others() -> None:
    """By whitened vectors, as they are compared: 40 scenes, each seen from two places."""
    greys, _ = pairs(40, seed=34, farthest=10)
    vectors = gradient_vectors(greys)
    likeness = cosines(Whitening.fitted(Moments.of(vectors))(vectors))
    np.fill_diagonal(likeness, -1)
    partners = np.arange(80) ^ 1
    assert (likeness.argmax(axis=1) == partners).mean() > 0.95


def test_a_shift_matters_less_than_another_scene() -> None:
    own = similarity(1.2, 0, (0, 0))
    moved = own + np.array([[0, 0, 20], [0, 0, 0]])
    views = [view(scene(35), own), view(scene(35), moved), view(scene(36), own)]
    likeness = cosines(gradient_vectors(np.stack(views)))
    assert likeness[0, 1] > likeness[0, 2]
