"""What registration found: as arrays, as matrices, and as a proof."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from udfs.registration import Alignments, proved
from udfs.registration.alignment import LEAST_BLOCKS, LENIENCE, displacement, evidence

NAMES = [field.name for field in fields(Alignments)]


def drawn(count: int, seed: int = 0) -> Alignments:
    """Alignments in which every entry is of its own."""
    random = np.random.default_rng(seed)
    kinds = vars(Alignments.empty(count))
    columns: dict[str, Any] = {}
    for name in NAMES:
        values = 100 * random.random(count)
        columns[name] = values < 50 if name == "flat" else values.astype(kinds[name].dtype)
    return Alignments(**columns)


def assert_equal(found: Alignments, expected: Alignments) -> None:
    for name in NAMES:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_parts_that_follow_each_other_are_the_whole() -> None:
    whole = drawn(7)
    parts = [whole.take(np.arange(3)), whole.take(np.arange(0)), whole.take(np.arange(3, 7))]
    assert [len(part) for part in parts] == [3, 0, 4]
    assert_equal(Alignments.concatenate(parts), whole)
    assert_equal(Alignments.concatenate([]), Alignments.empty(0))


def test_pairs_are_taken_by_index_and_by_flag() -> None:
    whole = drawn(5)
    chosen = whole.take(np.array([4, 0, 4]))
    for name in NAMES:
        values = getattr(whole, name)
        assert getattr(chosen, name).tolist() == [values[4], values[0], values[4]]
    flags = np.array([True, False, False, True, False])
    assert_equal(whole.take(flags), whole.take(np.array([0, 3])))


def test_identical_pictures_lie_over_each_other_as_they_are() -> None:
    found = Alignments.identical(2)
    identity = np.tile(np.eye(2, 3), (2, 1, 1))
    np.testing.assert_array_equal(found.matrices(np.ones(2), np.ones(2)), identity)
    assert found.overlap.tolist() == found.overlap_other.tolist() == [1, 1]
    assert not found.flat.any()
    assert proved(found, 1.0, 1.0).all()
    found.registration[0] = 0.1  # the arrays are not one and the same
    assert found.agreement[0] == found.registration[1] == 1


def test_what_is_empty_is_flat_and_proves_nothing() -> None:
    found = Alignments.empty(3)
    assert len(found) == 3
    assert found.flat.all()
    assert np.isnan(found.registration).all()
    assert not proved(found, -1.0, -1.0).any()


@pytest.mark.parametrize("name", ["registration", "agreement", "blocks", "flat"])
def test_each_limit_of_a_proof_counts(name: str) -> None:
    """At the limits a pair is proved, and next to them it is not."""
    proof, agreement = 0.4, 0.3
    at = {"registration": proof, "agreement": agreement, "blocks": LEAST_BLOCKS, "flat": False}
    below = {
        "registration": np.nextafter(proof, 0),
        "agreement": np.nextafter(agreement, 0),
        "blocks": LEAST_BLOCKS - 1,
        "flat": True,
    }
    moved = replace(Alignments.identical(1), shift_x=np.array([9.0]))
    limit = replace(moved, **{key: np.array([at[key]]) for key in at})
    assert proved(limit, proof, agreement).tolist() == [True]
    missed = replace(limit, **{name: np.array([below[name]])})
    assert proved(missed, proof, agreement).tolist() == [False]


def test_an_unknown_registration_proves_nothing() -> None:
    unknown = replace(Alignments.identical(1), registration=np.array([np.nan]))
    assert proved(unknown, 0.0, 0.0).tolist() == [False]


def test_matrices_do_what_the_transform_is_defined_to_do() -> None:
    """The steps of the module's docstring, one after the other, on corners and other places."""
    random = np.random.default_rng(3)
    count = 20
    found = replace(
        Alignments.identical(count),
        scale=random.uniform(0.7, 1.4, count),
        rotation=random.uniform(-16, 16, count),
        shift_x=random.uniform(-20, 20, count),
        shift_y=random.uniform(-20, 20, count),
    )
    aspects, others = np.exp(random.uniform(-1, 1, (2, count)))
    matrices = found.matrices(aspects, others)
    pixels = np.array([[0, 0], [63, 0], [0, 63], [63, 63], [17, 40]])
    for j in range(count):
        own = np.array([aspects[j] ** 0.5, aspects[j] ** -0.5])
        other = np.array([others[j] ** 0.5, others[j] ** -0.5])
        u = own * ((pixels + 0.5) / 32 - 1)
        cosine, sine = np.cos(np.radians(found.rotation[j])), np.sin(np.radians(found.rotation[j]))
        turned = np.stack([cosine * u[:, 0] + sine * u[:, 1], cosine * u[:, 1] - sine * u[:, 0]])
        shift = other * np.array([found.shift_x[j], found.shift_y[j]]) / 32
        place = (found.scale[j] * turned.T + shift) / other  # −1 to 1
        centred = np.column_stack([pixels - 31.5, np.ones(len(pixels))])
        np.testing.assert_allclose(centred @ matrices[j].T, 32 * place, atol=1e-9)


def test_a_positive_rotation_is_anticlockwise_as_seen() -> None:
    """A quarter: what lies to the right in the first picture lies above in the other one."""
    quarter = replace(Alignments.identical(1), rotation=np.array([90.0]))
    place = quarter.matrices(np.ones(1), np.ones(1))[0] @ [10, 0, 1]
    np.testing.assert_allclose(place, [0, -10], atol=1e-12)


def at(**columns: float) -> Alignments:
    """One pair whose pictures lie on each other as they are, but for these entries."""
    found = Alignments.identical(1)
    for name, value in columns.items():
        getattr(found, name)[:] = value
    return found


def test_a_corner_is_moved_by_shift_turn_and_scale() -> None:
    assert displacement(at())[0] == 0
    assert displacement(at(shift_x=3, shift_y=-4))[0] == pytest.approx(5)
    assert displacement(at(scale=1.1))[0] == pytest.approx(4.5)
    assert displacement(at(rotation=1))[0] == pytest.approx(45 * np.radians(1), rel=1e-3)
    assert displacement(at(orientation=3))[0] == np.inf


def test_what_lies_in_place_needs_less_agreement() -> None:
    """Down to 0.2 of 0.5; not so what moved by two pixels."""
    assert proved(at(agreement=0.21), 0.4, 0.5)[0]
    assert not proved(at(agreement=0.19), 0.4, 0.5)[0]
    assert not proved(at(agreement=0.49, shift_x=2), 0.4, 0.5)[0]
    assert proved(at(agreement=0.51, shift_x=20), 0.4, 0.5)[0]
    between = evidence(at(agreement=0.3, shift_x=1.5))[0]
    assert 0.3 < between < 0.3 / (1 - LENIENCE)
    assert evidence(at(agreement=-1.0))[0] == -1
