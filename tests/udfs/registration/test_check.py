"""The audit's own registration agrees with the engine's on what both compute."""

from __future__ import annotations

import numpy as np

from tests.support.scenes import pairs, scene, similarity, view
from udfs.registration import Registrar, check


def test_scores_of_given_transforms_are_the_engine_s() -> None:
    greys, _ = pairs(12, seed=21)
    greys[0, :, 36:], greys[2, :28] = greys[4, :, 36:], greys[6, :28]  # a part of another picture
    images = np.arange(0, len(greys), 2)
    found = Registrar(greys).align(images, images + 1)
    ones = np.ones(len(images))
    refined = found.overlap > 0
    assert refined.sum() > 8
    for pair in np.flatnonzero(refined):
        matrix = found.matrices(ones, ones)[pair]
        score = check.rescored(greys[2 * pair], greys[2 * pair + 1], matrix)
        assert abs(score.registration - found.registration[pair]) < check.TOLERANCE
        assert abs(score.agreement - found.agreement[pair]) < check.TOLERANCE
        assert abs(score.overlap - found.overlap[pair]) < check.TOLERANCE


def test_another_search_finds_the_same_transform() -> None:
    greys, truth = pairs(4, seed=22)
    for pair in range(4):
        score = check.registered_anew(greys[2 * pair], greys[2 * pair + 1])
        found = Registrar(greys).align(np.array([2 * pair]), np.array([2 * pair + 1]))
        if found.overlap[0] >= 0.5:
            np.testing.assert_allclose(score.matrix, truth[pair], atol=0.5)
            assert abs(score.registration - found.registration[0]) < 0.05


def test_unlike_pictures_have_a_low_score() -> None:
    first, second = (view(scene(seed), similarity(1, 0, (0, 0))) for seed in (31, 32))
    assert check.registered_anew(first, second).registration < 0.4


def test_a_transform_that_the_engine_does_not_look_for_is_not_found_either() -> None:
    picture = scene(33, detail=4)
    for scale in (1.6, 1 / 1.6):
        score = check.registered_anew(
            view(picture, similarity(1, 0, (0, 0))), view(picture, similarity(scale, 0, (0, 0)))
        )
        found = np.sqrt(np.linalg.det(score.matrix[:, :2]))
        assert 1 / 1.5 < found < 1.5


def test_stripes_agree_along_themselves_with_nothing() -> None:
    stripes = np.tile(view(scene(34), similarity(1, 0, (0, 0)))[:1], (64, 1))
    score = check.rescored(stripes, stripes, np.eye(2, 3))
    assert score.registration > 0.99
    assert score.agreement == 0
