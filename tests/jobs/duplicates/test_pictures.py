"""Pictures on their way to the registration, as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.duplicates.pictures import (
    PICTURES,
    PictureAligner,
    PictureRows,
    chosen_rows,
    grey_rows,
    source_shifts,
)
from jobs.warehouse.arrow_frames import arrow_schema
from tests.support.given_pictures import ground
from udfs.duplicates.pair_alignments import NO_CONTENT
from udfs.registration import Alignments, Registrar


def stored(contents: list[str | None], sizes: list[tuple[int, int]], seed: int = 0) -> pa.Table:
    """Rows of `images`; those without a content have no pixels."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (len(contents), 64 * 64 * 3)).astype(np.uint8)
    return pa.table(
        {
            "image_id": [f"{seed}/{i}" for i in range(len(contents))],
            "pixels_sha256": pa.array(contents, pa.string()),
            "width": pa.array([width for width, _ in sizes], pa.int32()),
            "height": pa.array([height for _, height in sizes], pa.int32()),
            "pixels": pa.array(
                [row.tobytes() if c else None for row, c in zip(pixels, contents, strict=True)],
                pa.binary(),
            ),
        }
    )


def rows_of(images: pa.Table, batch: int = 2) -> pa.Table:
    schema = arrow_schema(PICTURES)
    batches = images.to_batches(max_chunksize=batch)
    return pa.Table.from_batches(grey_rows(batches, schema), schema)


def test_grey_is_the_rounded_mean_of_the_channels() -> None:
    images = stored(["a", None, "a"], [(64, 64)] * 3)
    rows = rows_of(images).to_pylist()
    for row, image in zip(rows, images.to_pylist(), strict=True):
        assert (row["image_id"], row["content"]) == (image["image_id"], image["pixels_sha256"])
        if image["pixels"] is None:
            assert row["grey"] is None
        else:
            channels = np.frombuffer(image["pixels"], np.uint8).reshape(-1, 3).astype(int)
            mean = np.floor(channels.sum(axis=1) / 3 + 0.5)
            assert np.frombuffer(row["grey"], np.uint8).tolist() == mean.tolist()


def test_chosen_pictures_are_those_of_their_ids_that_have_pixels() -> None:
    images = stored(["a", None, "b", "c"], [(64, 64)] * 4)
    schema = arrow_schema(PICTURES)
    ids = pa.array(["0/1", "0/3", "0/0", "elsewhere"])
    batches = chosen_rows(ids, images.to_batches(max_chunksize=3), schema)
    found = pa.Table.from_batches(batches, schema)
    assert found.to_pylist() == [rows_of(images).to_pylist()[i] for i in (0, 3)]


def test_pictures_that_follow_each_other_are_found_by_their_index() -> None:
    first = PictureRows.of(rows_of(stored(["a", None, "b"], [(10, 20), (1, 1), (3, 4)])))
    second = PictureRows.of(rows_of(stored(["b", "c"], [(5, 6), (7, 8)], 1)))
    both = first.followed_by(second)
    assert len(both) == 5
    assert both.ids.to_pylist() == ["0/0", "0/1", "0/2", "1/0", "1/1"]
    numbers = both.content_numbers().tolist()
    assert numbers[1] == NO_CONTENT
    assert numbers[2] == numbers[3]
    assert len(set(numbers)) == 4
    indices = np.array([4, 0, 3, 2, 1])
    whole = both.all_grey()
    assert np.array_equal(both.grey_at(indices), whole[indices])
    assert not whole[1].any()
    taken = both.take(indices)
    assert np.array_equal(taken.all_grey(), whole[indices])
    assert taken.width.tolist() == [7, 10, 5, 3, 1]


def test_pictures_are_registered_with_the_shape_of_their_originals() -> None:
    grey = np.rint(ground(3, 96)).astype(np.uint8)
    pictures = np.stack([grey[8:72, 4:68], grey[12:76, 12:76]])
    ids = pa.array(["a", "b"])
    sizes = np.array([128.0, 300.0]), np.array([64.0, 200.0])
    rows = PictureRows(ids, ids, *sizes, (pictures[:1], pictures[1:]))
    images, others = np.array([0, 1]), np.array([1, 0])
    found = PictureAligner(rows, 1, "cpu").align(images, others)
    expected = Registrar(pictures, np.array([2.0, 1.5])).align(images, others)
    for name, column in vars(expected).items():
        assert np.array_equal(getattr(found, name), column, equal_nan=True), name


def test_shifts_are_also_given_in_pixels_of_the_original() -> None:
    """A picture of 200×50 lies in one of 80×80, whose pixel of the frame is 1.25 pixels.

    At a scale of ½ a pixel of the other is as large as two of its own, both in units in which each
    picture has the same area: √(200·50)/80 pixels of the one are one pixel of the other.
    """
    pictures = PictureRows(
        pa.array(["a", "b"]), pa.array(["a", "b"]), np.array([200.0, 80]), np.array([50.0, 80]), ()
    )
    one = Alignments.identical(1)
    moved = replace(one, scale=np.array([0.5]), shift_x=np.array([8.0]), shift_y=np.array([-4.0]))
    x, y = source_shifts(moved, pictures, np.array([0]), np.array([1]))
    own = 100 / 80 / 0.5  # pixels of its original, for each pixel of the other's original
    assert x[0] == pytest.approx(8 * 1.25 * own)
    assert y[0] == pytest.approx(-4 * 1.25 * own)
    back = replace(one, shift_x=np.array([8.0]), shift_y=np.array([8.0]))
    x, y = source_shifts(back, pictures, np.array([1]), np.array([0]))
    assert x[0] == pytest.approx(8 * 200 / 64 * 80 / 100)
    assert y[0] == pytest.approx(8 * 50 / 64 * 80 / 100)
