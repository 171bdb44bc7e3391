"""The building blocks of terrain: what noise, mixtures, coordinates and shapes promise."""

from __future__ import annotations

import numpy as np
import pytest

from udfs.acquisition.synthetic.ground import (
    SUN,
    Pen,
    any_of,
    blend,
    blurred,
    fractal,
    relief,
    smooth,
    tinted,
    turned,
    winding,
)

SIDE = 64


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_noise_has_mean_0_and_deviation_1() -> None:
    for field in (fractal(SIDE, generator(), 1.5), blurred(SIDE, generator(), 2.0)):
        assert field.shape == (SIDE, SIDE)
        assert field.std() == pytest.approx(1)
    assert fractal(SIDE, generator(), 1.5).mean() == pytest.approx(0, abs=1e-12)
    hills = [smooth(SIDE, generator(seed), 3) for seed in range(50)]
    assert np.std(hills) == pytest.approx(1.2, abs=0.1)


def test_rougher_noise_has_more_of_the_high_frequencies() -> None:
    def steepness(roughness: float) -> float:
        down, right = np.gradient(fractal(SIDE, generator(), roughness))
        return float(np.hypot(down, right).mean())

    assert steepness(1.0) > 1.3 * steepness(1.8)


def test_a_mixture_is_its_parts_at_the_ends() -> None:
    low, high = np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.8, 0.7])
    share = np.array([[-3.0, 0.0], [0.5, 4.0]])
    mixed = blend(low, high, share)
    assert np.allclose(mixed[0], low)
    assert np.allclose(mixed[1, 0], 0.5)
    assert np.allclose(mixed[1, 1], high)


def test_tones_stay_in_range_and_near_the_base() -> None:
    base = (0.02, 0.5, 0.99)
    tones = np.stack([tinted(base, generator(seed)) for seed in range(200)])
    assert tones.min() >= 0.03
    assert tones.max() <= 0.97
    assert tones[:, 1].mean() == pytest.approx(0.5, abs=0.02)
    assert 0 < tones[:, 1].std() < 0.12
    chosen = [any_of([(0.1, 0.1, 0.1), (0.9, 0.9, 0.9)], generator(seed))[0] for seed in range(40)]
    assert 10 < sum(tone > 0.5 for tone in chosen) < 30


def test_a_slope_that_faces_the_sun_is_light() -> None:
    y, x = np.mgrid[:8, :8].astype(float)
    assert np.allclose(relief(np.zeros((8, 8)), 2.0), 1)
    towards = x * SUN[0] + y * SUN[1]  # rises in the direction of the sun
    assert np.allclose(relief(towards, 0.5), 1 + 0.5 * (SUN[0] ** 2 + SUN[1] ** 2))
    assert (relief(-towards, 0.5) < 1).all()


@pytest.mark.parametrize("angle", [0.0, 0.3, 2.0])
def test_coordinates_are_rotated_about_the_centre(angle: float) -> None:
    along, across = turned(SIDE, angle)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    assert np.allclose(along**2 + across**2, x**2 + y**2)
    assert np.allclose(along * np.cos(angle) - across * np.sin(angle), x)
    line = winding(along, across, generator())
    assert line.min() < 0 < line.max()  # it crosses the square


def test_shapes_cover_the_ground_and_their_shadows_darken_it() -> None:
    ground = np.full((SIDE, SIDE, 3), 0.5)
    assert np.allclose(Pen(SIDE, 0.7).over(ground), ground)
    pen = Pen(SIDE, 0.0)
    pen.box((0, 0), 20, 10, np.array([1.0, 0.0, 0.0]), height=6)
    picture = pen.over(ground)
    assert np.allclose(picture[32, 32], [1, 0, 0], atol=0.01)
    assert np.allclose(picture[5, 5], 0.5)
    shadow = (picture[:, :, 0] < 0.45) & (picture[:, :, 1] > 0.1)
    rows, columns = np.nonzero(shadow)
    assert rows.mean() > 32  # the shadow falls away from the sun, which is up and to the left
    assert columns.mean() > 32


def test_a_disc_has_its_area_and_a_later_shape_lies_above() -> None:
    pen = Pen(SIDE, 0.4)
    pen.disc((0, 0), 10, np.array([1.0, 1.0, 1.0]))
    white = pen.over(np.zeros((SIDE, SIDE, 3)))[:, :, 0].sum()
    assert white == pytest.approx(10 * 10**2 / 2 * np.sin(np.pi / 5), rel=0.1)  # of ten corners
    pen.disc((0, 0), 4, np.array([0.0, 0.0, 1.0]))
    assert np.allclose(pen.over(np.zeros((SIDE, SIDE, 3)))[32, 32], [0, 0, 1], atol=0.01)


def test_a_point_is_shown_inside_the_square_and_its_margin() -> None:
    pen = Pen(SIDE, 0.0)
    assert pen.shows((30.0, -30.0), 0)
    assert not pen.shows((35.0, 0.0), 2)
    assert pen.shows((35.0, 0.0), 4)
