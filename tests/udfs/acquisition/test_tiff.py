"""TIFFs that Pillow cannot read, or reads wrongly, compared with what was written into them."""

from __future__ import annotations

import importlib.util
import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.support.decoding import LIMIT
from tests.support.deep_pictures import expected, scene, tiff, whole_numbers
from tests.support.hostile_files import tiff_in_one_tile
from udfs.acquisition import decode
from udfs.acquisition.ranges import Depth
from udfs.acquisition.unusable import Unusable

AUTO = Depth("auto")
GREY, COLOURS, SEVEN = scene(1), scene(2, 3), scene(3, 7)


def shown(data: bytes, depth: Depth = AUTO) -> NDArray[np.uint8]:
    return np.asarray(decode.frame(data, LIMIT, depth).image)


def refused(data: bytes, depth: Depth = AUTO, most: int = LIMIT) -> Unusable:
    with pytest.raises(Unusable) as caught:
        decode.frame(data, most, depth)
    return caught.value


@pytest.mark.parametrize("plan", ["contig", "separate"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (32, 48)},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "tile": (32, 48), "byteorder": ">", "bigtiff": True},
    ],
)
def test_bands_of_16_bits_in_any_layout(plan: str, more: dict[str, Any]) -> None:
    layout = {"planarconfig": plan} | more
    values = whole_numbers(COLOURS, 65535)
    assert np.array_equal(shown(tiff(values, **layout)), expected(values, 0, 65535))
    seven = whole_numbers(SEVEN, 65535)
    assert np.array_equal(shown(tiff(seven, **layout)), expected(seven[..., :3], 0, 65535))


@pytest.mark.parametrize("kind", ["u4", "u8", "i8", "f8", "f2", "i1"])
def test_numbers_that_pillow_does_not_know(kind: str) -> None:
    dtype = np.dtype(kind)
    most = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    values = (GREY * float(most) * 0.999).astype(dtype)
    shown_levels = shown(tiff(values)).astype(int)
    assert np.abs(shown_levels - expected(values, 0, most)).max() <= 1  # 2⁶³ is no float64
    assert len(np.unique(shown_levels)) > 120


def test_unsigned_32_bits_above_the_signed_ones_are_not_black() -> None:
    values = whole_numbers(GREY, 2**32 - 1, "u4")
    assert np.array_equal(shown(tiff(values)), expected(values, 0, 2**32 - 1))


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("bands", [4, 7])
def test_bands_are_chosen(kind: str, bands: int) -> None:
    most = np.iinfo(kind).max
    values = whole_numbers(scene(4, bands), most, kind)
    data = tiff(values, extrasamples=["unspecified"] * (bands - 3))
    chosen = shown(data, Depth("full", bands=(4, 3, 2)))
    assert np.array_equal(chosen, expected(values[..., [3, 2, 1]], 0, most))
    grey = shown(data, Depth("full", bands=(4,)))
    assert np.array_equal(grey, expected(values[..., 3], 0, most))


def test_bands_that_a_file_lacks_are_told_and_three_are_taken_as_they_are() -> None:
    reason = refused(tiff(whole_numbers(SEVEN, 255, "u1")), Depth("full", bands=(8, 2, 1)))
    assert reason.code == "unsupported_format"
    assert "7 bands, and ingest.bands names band 8" in reason.message
    colours = whole_numbers(COLOURS, 255, "u1")
    assert np.array_equal(shown(tiff(colours), Depth(bands=(4, 3, 2))), colours)


def test_a_first_page_of_reduced_resolution_is_passed_over() -> None:
    for kind, most in (("u1", 255), ("u2", 65535), ("u4", 2**32 - 1)):
        values = whole_numbers(COLOURS, most, kind)
        target = io.BytesIO()
        with tifffile.TiffWriter(target) as file:
            file.write(values[::4, ::4], subfiletype=1, photometric="rgb")
            file.write(values, photometric="rgb")
        assert np.array_equal(shown(target.getvalue()), expected(values, 0, most))


def test_a_page_that_is_the_only_one_is_taken_whatever_it_says() -> None:
    values = whole_numbers(COLOURS, 255, "u1")
    assert np.array_equal(shown(tiff(values, subfiletype=1)), values)


def test_white_is_zero_is_inverted_in_32_bits() -> None:
    values = whole_numbers(GREY, 2**32 - 1, "u4")
    image = shown(tiff(values, photometric="miniswhite"))
    assert np.array_equal(image, 255 - expected(values, 0, 2**32 - 1))


def test_a_drawing_in_the_alpha_of_planes_is_seen() -> None:
    values = np.zeros((72, 72, 4), np.uint16)
    values[20:40, 10:60, 3] = 65535
    data = tiff(values, planarconfig="separate", extrasamples=["unassalpha"])
    image = shown(data)
    assert image[30, 30].tolist() == [0, 0, 0]
    assert image[0, 0].tolist() == [255, 255, 255]


def test_parts_that_were_never_written_are_black() -> None:
    """GDAL leaves them out of sparse files: their offset and length are zero."""
    values = np.full((64, 64), 2**31, np.uint32)
    data = bytearray(tiff(values, tile=(32, 32)))
    page = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0]
    assert isinstance(page, tifffile.TiffPage)
    for tag in (324, 325):
        start = page.tags[tag].valueoffset
        data[start : start + 4] = bytes(4)
    image = shown(bytes(data), Depth("full"))
    assert not image[:32, :32].any()
    assert (image[32:] == 128).all()


def test_files_that_end_early_are_truncated() -> None:
    for values, plan in ((whole_numbers(COLOURS, 65535), "separate"), (SEVEN, "contig")):
        data = tiff(values, planarconfig=plan)
        assert refused(data[:-100]).code == "truncated"


def test_what_is_too_large_is_refused_before_it_is_decoded() -> None:
    planes = tiff(whole_numbers(COLOURS, 65535), planarconfig="separate")
    assert refused(planes, most=72 * 72 - 1).code == "too_large"
    data = tiff(whole_numbers(GREY, 2**32 - 1, "u4"), tile=(512, 512), compression="zlib")
    assert refused(data, most=10**5).code == "too_large"
    assert refused(tiff_in_one_tile(8, 1008)).code == "too_large"


def test_complex_numbers_inks_and_raw_cameras_are_refused_by_name() -> None:
    assert "no real numbers" in refused(tiff((GREY + 1j).astype("c8"))).message
    lab = tiff(whole_numbers(SEVEN[..., :5], 65535), photometric="separated")
    assert "its samples are inks" in refused(lab).message


@pytest.mark.skipif(
    importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs is installed"
)
def test_a_compression_that_needs_another_package_is_refused_with_what_to_install() -> None:
    data = bytearray(tiff(whole_numbers(COLOURS, 65535), planarconfig="separate"))
    entry = data.find(struct.pack("<HHIHH", 259, 3, 1, 1, 0))
    data[entry + 8] = 5
    reason = refused(bytes(data))
    assert reason.code == "unsupported_format"
    assert "LZW" in reason.message
    assert "requirements-formats.txt" in reason.message


def patched(data: bytes, tag: int, value: int) -> bytes:
    """A TIFF with another number in a tag of one short or long, or of up to two shorts."""
    content = bytearray(data)
    entry = struct.unpack_from("<I", data, 4)[0] + 2
    while struct.unpack_from("<H", data, entry)[0] != tag:
        entry += 12
    _, kind, count = struct.unpack_from("<HHI", data, entry)
    if kind == 3 and count > 2:  # its values lie elsewhere
        (start,) = struct.unpack_from("<I", data, entry + 8)
        struct.pack_into(f"<{count}H", content, start, *[value] * count)
    else:
        struct.pack_into("<H" if kind == 3 else "<I", content, entry + 8, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("tag", "value", "layout", "said"),
    [
        (259, 50001, {}, "a TIFF with compression WEBP is not read"),
        (259, 34887, {}, "a TIFF with compression LERC is not read"),
        (259, 50000, {"planarconfig": "separate"}, "a TIFF with compression ZSTD is not read"),
        (258, 12, {"planarconfig": "separate"}, "a TIFF with 12-bit integers is not read"),
    ],
)
def test_each_coding_that_needs_another_package_is_told_by_its_name(
    tag: int, value: int, layout: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that a newer Python has as a module the message must not name that module."""
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs is installed")
    monkeypatch.setitem(sys.modules, "compression", None)
    kind = "u1" if value == 50001 else "u2"
    values = whole_numbers(COLOURS, np.iinfo(kind).max, kind)
    reason = refused(patched(tiff(values, **layout), tag, value))
    assert reason.code == "unsupported_format"
    assert reason.message.startswith(said)
    assert "requirements-formats.txt" in reason.message


def test_a_tiff_none_of_whose_parts_was_written_is_refused() -> None:
    """It would be one black picture; some writers leave this where a codec fails."""
    data = tiff(whole_numbers(SEVEN, 65535), rowsperstrip=72)
    reason = refused(patched(data, 279, 0))
    assert reason.code == "unreadable"
    assert "none of its parts was ever written" in reason.message


def test_inks_of_16_bits_are_shown_as_those_of_8() -> None:
    """They are shares of a whole: their range is that of their type, whatever occurs of it."""
    inks = whole_numbers(scene(4, 4), 40000)
    colours, black = 1 - inks[..., :3] / 65535, 1 - inks[..., 3:] / 65535
    right = np.rint(colours * black * 255)
    for order in "<>":
        data = tiff(inks, photometric="separated", byteorder=order)
        assert np.abs(shown(data) - right).max() <= 2
        narrow = tiff((inks >> 8).astype("u1"), photometric="separated", byteorder=order)
        assert np.abs(shown(data).astype(int) - shown(narrow)).max() <= 1
    planes = refused(tiff(inks, photometric="separated", planarconfig="separate"))
    assert "its samples are inks" in planes.message


def test_lzw_in_one_plane_needs_no_other_package() -> None:
    values = whole_numbers(GREY, 65535)
    target = io.BytesIO()
    Image.fromarray(values).save(target, "TIFF", compression="tiff_lzw")
    assert np.array_equal(shown(target.getvalue()), expected(values, 0, 65535))
