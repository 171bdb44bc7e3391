"""Image files to the 64x64 RGB images that the encoder sees (the paper has 64x64 px as well).

Use `decode` on the bytes of a file. The steps come in this order, since another one changes palette
and transparent images by up to 136 levels: first frame, EXIF orientation, 8 bits by a range of
values (`ranges`), RGB, tile, resized (docs/method.md, "From a file to a latent").
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from udfs.acquisition import bmp, formats, jpeg2000, levels, limits, metadata, samples, tiff
from udfs.acquisition.contents import identified
from udfs.acquisition.ranges import Depth, Range, Spread
from udfs.acquisition.samples import Samples
from udfs.acquisition.unusable import FORMATS, Unusable, decoding_error, too_large

SIDE = 64
PIXELS = SIDE * SIDE * 3
Result = TypeVar("Result")
_OUT_OF_MEMORY = "decoder error -9"  # how Pillow says it of libtiff
_JPEG = ("JPEG", "MPO")
_JPEG_END = b"\xff\xd9"
# The codes of files that may be whole but for their metadata.
_BY_METADATA = ("unreadable", "truncated")
# What Pillow raises for an EXIF entry that is none. Its picture is taken as it lies.
_BROKEN_EXIF = (SyntaxError, ValueError, TypeError, KeyError, EOFError, OverflowError, struct.error)
_ORIENTATION = 0x0112  # EXIF's tag
FULL_DEPTH = Depth()
_PROFILE = 16 << 20  # bytes; a colour profile of 1 MB, Pillow's limit, is no reason to lose a PNG


@dataclass(frozen=True)
class Tile:
    """One image as the encoder sees it: a whole frame, or a tile of one.

    suffix: what the image's id has after the id of the file: "" for a whole frame, "#x,y" for a
    tile, its upper-left pixel after orientation. width, height: in px before resizing.
    pixels_sha256: of the pixels before resizing (`pixels_sha256`). pixels: 64·64·3 bytes, uint8
    RGB, in rows. shown: the values that became black and white; None of 8-bit pictures.
    """

    suffix: str
    width: int
    height: int
    pixels_sha256: str
    pixels: bytes
    shown: Range | None = None

    @classmethod
    def of(cls, suffix: str, image: Image.Image, shown: Range | None = None) -> Tile:
        """The image that is made of an RGB frame, or of a part of it, of any size."""
        content = pixels_sha256(image)
        return cls(suffix, image.width, image.height, content, _pixels(image), shown)


@dataclass(frozen=True)
class Frame:
    """The first frame of a file in RGB, and the values that became black and white, if any."""

    image: Image.Image
    shown: Range | None = None


def sha256(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def scale(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return x/127.5 − 1 in float32: levels 0…255 become numbers in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    tile: int | None,
    stride: int | None,
    depth: Depth = FULL_DEPTH,
) -> list[Tile]:
    """Return the images in a file: the whole frame, or its tiles row by row.

    Args:
        data: the bytes of the file.
        max_pixels: the largest frame, width × height, that is decoded.
        tile: the side of a tile in px; None for the whole frame.
        stride: px between the upper-left pixels of neighbouring tiles; None for the tile's side.
        depth: how pictures of more than 8 bits or four bands are shown.

    Raises:
        Unusable: with one of the codes empty, unreadable, truncated, not_an_image,
            unsupported_format, too_large, too_slow and too_small.
        MemoryError: if there is not enough memory, which need not be the file's fault. No other
            exception is raised, whatever the bytes are.

    """
    first = frame(data, max_pixels, depth)
    try:
        return list(tiles(first, tile, stride))
    finally:
        first.image.close()


def stream(
    data: bytes,
    *,
    max_pixels: int,
    tile: int | None,
    stride: int | None,
    depth: Depth = FULL_DEPTH,
) -> Iterator[Tile]:
    """Yield the images of `decode` one at a time: a large frame has tiles by the ten thousand.

    They come in the order of their suffixes, which is that of their ids in the table `images`.
    """
    first = frame(data, max_pixels, depth)
    try:
        yield from tiles(first, tile, stride, by_suffix=True)
    finally:
        first.image.close()


def frame(data: bytes, max_pixels: int, depth: Depth = FULL_DEPTH) -> Frame:
    """Return the first frame in RGB, turned as its EXIF entry says.

    Raises Unusable, or MemoryError.
    """

    def shown(image: Image.Image | Samples, orientation: int) -> Frame:
        if isinstance(image, Samples):
            rgb, values = image.shown(depth)
            return Frame(_turned(rgb, orientation), values)
        with suppress(*_BROKEN_EXIF):
            ImageOps.exif_transpose(image, in_place=True)
        return Frame(levels.rgb(image))

    return _with_decoded(data, max_pixels, depth.bands, shown)


def spread(data: bytes, max_pixels: int, bands: tuple[int, ...]) -> tuple[str, Spread] | None:
    """Return the kind of a file's samples and how their values spread.

    None if they have 8 bits, or no value is finite. Raises Unusable, or MemoryError.
    """

    def values(image: Image.Image | Samples, orientation: int) -> tuple[str, Spread] | None:
        if not isinstance(image, Samples) or not image.is_deep:
            return None
        found = image.spread()
        return None if found is None else (image.kind, found)

    return _with_decoded(data, max_pixels, bands, values, deep_alone=True)


def _with_decoded(
    data: bytes,
    max_pixels: int,
    bands: tuple[int, ...],
    use: Callable[[Image.Image | Samples, int], Result],
    *,
    deep_alone: bool = False,
) -> Result:
    """Decode a file and use what is in it; without its metadata if they prevent that.

    use: gets Pillow's image of 8 bits, or samples, with the orientation of the latter. deep_alone:
    images of 8 bits are not decoded.
    """
    if not data:
        raise Unusable("empty", "the file has no bytes")

    def used(content: bytes) -> Result:
        try:
            return use(*_decoded(content, max_pixels, bands, deep_alone=deep_alone))
        except Unusable:
            raise
        except Exception as error:  # decoders raise a dozen types
            raise _refused(error, content, max_pixels) from error

    with _bomb_limit(max_pixels):
        try:
            return used(data)
        except Unusable as refused:
            for content in _mended(data, refused.code):
                with suppress(Unusable):
                    return used(content)
            raise


def _mended(data: bytes, code: str) -> Iterator[bytes]:
    """Yield what of a refused file may be decoded: it without metadata, or with its end marker.

    A JPEG may lack no more than this marker. If its scans end early, it is refused all the same.
    """
    if code in _BY_METADATA and (pixels_alone := metadata.without(data)):
        yield pixels_alone
    is_filled = data.endswith(limits.ZEROS)  # a copy that ended early, whatever is put behind it
    if code == "truncated" and data.startswith(b"\xff\xd8\xff") and not is_filled:
        yield data + _JPEG_END


def _decoded(
    data: bytes, max_pixels: int, bands: tuple[int, ...], *, deep_alone: bool
) -> tuple[Image.Image | Samples, int]:
    """Decode a file as it is; see `_with_decoded`."""
    try:
        image = _open(data, max_pixels)
    except Unusable as refused:
        if refused.code != "too_large" and data.startswith(tiff.START):
            read = tiff.read(data, max_pixels, bands)
            if read is not None:
                return read
        bands_of = None if refused.code == "too_large" else jpeg2000.read(data, max_pixels, bands)
        if bands_of is not None:
            return bands_of, 1
        raise
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if tiff.page_of(image):
            limits.check(image, data, max_pixels)
        if not tiff.is_for_pillow(image, bands):
            read = tiff.read(data, max_pixels, bands)
            if read is None:
                raise Unusable("unreadable", "it begins as a TIFF, but its tags cannot be read")
            return read
    else:
        image.seek(0)
        narrow = bmp.read(image, data) if isinstance(image, BmpImagePlugin.BmpImageFile) else None
        if narrow is not None:
            return narrow, 1
    is_jpeg2000 = image.format == "JPEG2000"
    deep = jpeg2000.read(data, max_pixels, bands) if is_jpeg2000 else None
    deep = deep or samples.of_image(image, data)
    if deep is not None:
        return deep, _orientation(image)
    if not deep_alone:
        image.load()
        if image.format in _JPEG:
            limits.check_whole(data)
    return image, 1


def _orientation(image: Image.Image) -> int:
    """Return the orientation that an image has yet to be turned to; 1 if it is none."""
    with suppress(*_BROKEN_EXIF):
        orientation = image.getexif().get(_ORIENTATION)
        if isinstance(orientation, int) and 1 <= orientation <= 8:
            return orientation
    return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    if orientation > 1:
        image.getexif()[_ORIENTATION] = orientation
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _refused(error: Exception, data: bytes, max_pixels: int) -> Exception:
    """Return what a decoder's exception says of a file, or MemoryError if it says nothing of it."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
        return MemoryError(str(error))
    return decoding_error(error, data, max_pixels)


def frame_size(data: bytes) -> tuple[int, int]:
    """Return width and height in px by a file's header, before it is turned. Raises Unusable."""
    with _bomb_limit(2**31):
        image = _open(data, 2**31)
    return image.size


@contextmanager
def _bomb_limit(max_pixels: int) -> Iterator[None]:
    """Set the limit that Pillow checks before it decodes, and make its warning an error."""
    default, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to lose an image
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = default


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Return Pillow's image, of which the header was read and the size checked. Raises Unusable."""
    pixels = limits.webp_pixels(data) or limits.jpeg_xl_pixels(data)
    if pixels > max_pixels:
        raise too_large(f"{pixels} px", max_pixels)
    limits.check_memory(pixels)
    try:
        rarer = formats.parser_of(data)
        image = Image.open(io.BytesIO(data), formats=(rarer,) if rarer else FORMATS)
    except UnidentifiedImageError as error:
        raise identified(data) from error
    except Exception as error:
        raise _refused(error, data, max_pixels) from error
    limits.check(image, data, max_pixels)
    limits.check_memory(image.width * image.height)
    return image


def tiles(
    first: Frame, tile: int | None, stride: int | None, *, by_suffix: bool = False
) -> Iterator[Tile]:
    """Yield an RGB frame as one image, or its tiles; incomplete tiles at the edges are left out.

    They come row by row, or in the order of their suffixes. Raises Unusable (too_small) for a frame
    that is smaller than the tile.
    """
    image = first.image
    if tile is None:
        yield Tile.of("", image, first.shown)
        return
    if image.width < tile or image.height < tile:
        raise Unusable(
            "too_small",
            f"{image.width}x{image.height} px hold no tile of {tile} px: lower ingest.tile",
        )
    step = stride or tile
    rows, columns = (range(0, side - tile + 1, step) for side in (image.height, image.width))
    corners = ((x, y) for y in rows for x in columns)
    for x, y in sorted(corners, key="#{0[0]},{0[1]}".format) if by_suffix else corners:
        yield Tile.of(f"#{x},{y}", image.crop((x, y, x + tile, y + tile)), first.shown)


def pixels_sha256(image: Image.Image) -> str:
    """Return the SHA-256 of what an RGB image shows, in hexadecimal, whatever its file is.

    Hashed are "<width>x<height>:" and the levels in rows, three bytes a pixel.
    """
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for top, bottom in levels.strips(image.size):
        digest.update(image.crop((0, top, image.width, bottom)).tobytes())
    return digest.hexdigest()


def _pixels(image: Image.Image) -> bytes:
    """Return the bytes of the image at 64x64 px; the aspect ratio is not kept."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return image.tobytes()


def jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Return an image as the bytes of a JPEG file, about 1.3 KB at quality 75.

    WebP would be a sixth smaller and take four times as long, 1 ms.

    Args:
        pixels: 64·64·3 levels, uint8 RGB, in rows.
        quality: 1…95.

    """
    image = Image.fromarray(pixels.reshape(SIDE, SIDE, 3))
    target = io.BytesIO()
    image.save(target, format="jpeg", quality=quality, optimize=True)
    return target.getvalue()


# A truncated file is a reject, never a picture with a grey lower half.
ImageFile.LOAD_TRUNCATED_IMAGES = False
PngImagePlugin.MAX_TEXT_CHUNK = _PROFILE
# Formats are registered when their modules are imported. No other format's parser is ever loaded.
_PARSERS = (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
