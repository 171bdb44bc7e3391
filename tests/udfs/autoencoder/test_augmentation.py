"""Standardised images and changed views: laws, and each change by itself."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.pictures import picture
from udfs.autoencoder.augmentation import LEVEL, Augmentation, augment, standardised

NONE = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})
SIDE = 64


def images(n: int = 6) -> Tensor:
    levels = torch.from_numpy(np.stack([picture(i, SIDE) for i in range(n)]))
    return levels.permute(0, 3, 1, 2).float() / 127.5 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_channel_has_mean_0_and_spread_1() -> None:
    found = standardised(images()).double()
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.mean(dim=(2, 3)).abs().max() < 1e-5
    assert (found.std(dim=(2, 3), correction=0) - 1).abs().max() < 1e-5
    wanted = images().double()
    wanted = wanted - wanted.mean(dim=(2, 3), keepdim=True)
    wanted /= wanted.std(dim=(2, 3), correction=0, keepdim=True)
    assert (found - wanted).abs().max() < 1e-4


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0.2, 5), min_size=3, max_size=3),
    st.lists(st.floats(-2, 2), min_size=3, max_size=3),
)
def test_gain_and_offset_of_a_channel_are_nothing(gain: list[float], offset: list[float]) -> None:
    changed_tone = images() * torch.tensor(gain).reshape(1, 3, 1, 1)
    changed_tone = changed_tone + torch.tensor(offset).reshape(1, 3, 1, 1)
    assert (standardised(changed_tone) - standardised(images())).abs().max() < 2e-4


def test_a_flat_image_is_0_and_its_noise_stays_small() -> None:
    assert (standardised(torch.full((2, 3, SIDE, SIDE), 0.4)).abs() < 1e-4).all()
    noise = torch.rand(1, 3, SIDE, SIDE, generator=seeded()) * LEVEL
    assert standardised(noise).std() < 0.3  # a spread of 1/√12 levels; of one level it would be 1


def test_an_image_does_not_depend_on_those_beside_it() -> None:
    whole = standardised(images(9))
    for order in (torch.arange(4), torch.tensor([8, 0, 3])):
        assert torch.equal(standardised(images(9)[order]), whole[order])
    lying = images(9).contiguous(memory_format=torch.channels_last)
    assert torch.equal(standardised(lying), whole)


def test_a_view_without_changes_is_the_image() -> None:
    found = augment(images(), NONE, seeded())
    assert (found - images()).abs().max() < 1e-4
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", [field.name for field in fields(Augmentation)])
def test_each_change_changes_every_image(name: str) -> None:
    """A share of views by itself changes nothing, nor does a size of what no view gets."""
    with_it = {"border": "framed", "framed": "border", "plate": "marked", "marked": "plate"}
    amounts = {field.name: getattr(Augmentation(), field.name) for field in fields(Augmentation)}
    amounts |= {"framed": 1.0, "marked": 1.0}
    alone = replace(NONE, **{name: amounts[name]})
    if name in with_it:
        assert (augment(images(), alone, seeded()) - images()).abs().max() < 1e-4
        alone = replace(alone, **{with_it[name]: amounts[with_it[name]]})
    apart = (augment(images(), alone, seeded()) - images()).abs().mean(dim=(1, 2, 3))
    assert (apart > 1e-4).all()


def test_views_come_of_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one = augment(images(), Augmentation(), seeded(1))
    torch.manual_seed(5)
    assert torch.equal(augment(images(), Augmentation(), seeded(1)), one)
    assert not torch.equal(augment(images(), Augmentation(), seeded(2)), one)
    draws = seeded(1)
    augment(images(), Augmentation(), draws)
    assert not torch.equal(augment(images(), Augmentation(), draws), one)
    torch.set_rng_state(before)
    augment(images(), Augmentation(), seeded(1))
    assert torch.equal(torch.get_rng_state(), before)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_views_stay_in_the_range_and_keep_the_image(seed: int) -> None:
    kept = images()
    found = augment(kept, Augmentation(), seeded(seed))
    assert found.shape == kept.shape
    assert found.min() >= -1
    assert found.max() <= 1
    assert torch.equal(kept, images())  # not written to


def test_a_border_is_plain_and_all_of_the_image_is_within() -> None:
    """Of a ramp across, one down and a flat channel: only what is grey is border."""
    ramp = torch.linspace(-0.9, 0.9, SIDE).expand(SIDE, SIDE)
    image = torch.stack([ramp, ramp.T, torch.full_like(ramp, -1)]).expand(300, -1, -1, -1)
    kinds = set()
    for view in augment(image, replace(NONE, border=0.2, framed=1.0), seeded()):
        inside = ((view - view[2]) != 0).any(dim=0)
        across, down = inside.any(dim=0), inside.any(dim=1)
        assert torch.equal(inside, across & down[:, None])
        assert (view[:, ~inside] == view[0, 0, 0]).all()
        kinds.add((bool(across.all()), bool(down.all())))
        for way, line in ((across, view[0][down][0]), (down, view[1][:, across][:, 0])):
            inner = way.nonzero().flatten()
            assert len(inner) >= 0.6 * SIDE - 1  # a border of 20 % at the most
            assert inner[0] + inner[-1] == SIDE - 1  # as wide at both sides
            assert abs(line[way][0] + 0.9) < 0.06
            assert abs(line[way][-1] - 0.9) < 0.06
    assert kinds >= {(False, False), (True, False), (False, True)}


def test_a_plate_is_a_box_of_one_colour() -> None:
    given = images(1).expand(300, -1, -1, -1)
    found = augment(given, replace(NONE, plate=0.3, marked=1.0), seeded())
    areas = []
    for view, image in zip(found, given, strict=True):
        other = (view - image).abs().amax(dim=0) > 1e-3
        rows, columns = other.any(dim=1).nonzero().flatten(), other.any(dim=0).nonzero().flatten()
        areas.append(len(rows) * len(columns))
        if areas[-1]:
            box = view[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert (box == box[:, :1, :1]).all()
            assert max(box.shape[1:]) <= 0.3 * SIDE + 1
    assert 0.01 * SIDE**2 < np.mean(areas) < 0.03 * SIDE**2  # a quarter of 0.3², less at the edge


@pytest.mark.parametrize("share", ["framed", "marked"])
def test_a_share_of_the_views(share: str) -> None:
    one = replace(NONE, border=0.15, plate=0.3, **{share: 0.3})
    given = images(1).expand(2000, -1, -1, -1)
    apart = (augment(given, one, seeded()) - given).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.24 < apart.float().mean() < 0.33


def test_a_shift_and_a_turn_by_hand() -> None:
    """A dot in the middle goes no further than the shift; a turn leaves it, and moves one aside."""
    dot = torch.full((200, 3, SIDE, SIDE), -1.0)
    dot[:, :, 30:34, 30:34] = 1
    moved = (augment(dot, replace(NONE, shift=0.1), seeded()) + 1).sum(dim=1)
    place = torch.arange(SIDE) - 31.5
    total = moved.sum(dim=(1, 2))
    across = (moved.sum(dim=1) * place).sum(dim=1) / total
    down = (moved.sum(dim=2) * place).sum(dim=1) / total
    for way in (across, down):
        assert way.abs().max() <= 0.1 * SIDE + 0.01
        assert way.min() < -0.08 * SIDE
        assert way.max() > 0.08 * SIDE
    still = (augment(dot, replace(NONE, rotation=20.0), seeded()) + 1).sum(dim=1)
    assert ((still.sum(dim=1) * place).sum(dim=1) / total).abs().max() < 0.1
    aside = torch.full((200, 3, SIDE, SIDE), -1.0)
    aside[:, :, 30:34, 50:54] = 1  # 20 px from the middle
    turned = (augment(aside, replace(NONE, rotation=20.0), seeded()) + 1).sum(dim=1)
    height = (turned.sum(dim=2) * place).sum(dim=1) / turned.sum(dim=(1, 2))
    assert height.abs().max() <= 20 * np.sin(np.radians(20)) + 0.1
    assert height.abs().max() > 0.8 * 20 * np.sin(np.radians(20))
