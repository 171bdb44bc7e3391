"""Source files to the 64x64 RGB images that the encoder sees (spec §1; the paper's 64x64 px).

In this order: first frame; EXIF orientation; 16-bit grey to 8 bits; RGB; the tile cut out; resized.
Another order changes palette and transparent images by up to 136 levels.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

SIDE = 64
PIXELS = SIDE * SIDE * 3
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")

# First bytes of formats that people have and that are not read here.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x01\x00", "icon"),
    (0, b"<svg", "SVG"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"SIMPLE  =", "FITS"),
)


class Unusable(Exception):  # noqa: N818 (it is a reject, not an error of the program)
    """A file that yields no image: `code` for the table of rejects, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[Unusable], tuple[str, str]]:
        """Pickled by its two parts: it may cross from a worker."""
        return (Unusable, (self.code, self.message))


@dataclass(frozen=True)
class Tile:
    """One image as the encoder sees it.

    suffix: what the image's id has behind the file's ("" or "#x,y", the upper-left pixel after
    orientation); width, height: px before resizing; pixels: 64*64*3 bytes, uint8 RGB, rows first.
    """

    suffix: str
    width: int
    height: int
    pixels: bytes


def sha256(data: bytes) -> str:
    """The file's hash, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def scale(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """x/127.5 − 1 in float32: levels 0..255 to [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def decode(data: bytes, *, max_pixels: int, tile: int | None, stride: int | None) -> list[Tile]:
    """The images in a file's bytes: the whole frame, or its tiles row by row.

    Raises Unusable with one of the codes empty, unreadable, truncated, unsupported_format,
    too_large, too_small; nothing else, whatever the bytes.
    """
    image = frame(data, max_pixels)
    try:
        return list(tiles(image, tile, stride))
    finally:
        image.close()


def frame(data: bytes, max_pixels: int) -> Image.Image:
    """The first frame, oriented, in RGB. Raises Unusable."""
    if not data:
        raise Unusable("empty", "the file has no bytes")
    with _bomb_limit(max_pixels):
        image = _open(data, max_pixels)
        try:
            image.seek(0)
            image.load()
            return _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
        except Exception as broken:  # Pillow's decoders raise a dozen kinds
            raise _broken(broken, data, max_pixels) from broken


@contextmanager
def _bomb_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own limit, which it checks before it decodes, at ours; its warning is an error."""
    default, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to lose an image
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = default


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Pillow's lazy image, its header read and its size checked."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as unknown:
        raise _unidentified(data) from unknown
    except Exception as broken:
        raise _broken(broken, data, max_pixels) from broken
    if image.width * image.height > max_pixels:
        raise _too_large(f"{image.width}x{image.height} px", max_pixels)
    if min(image.size) < 1:
        raise Unusable("unreadable", f"a frame of {image.width}x{image.height} px")
    return image


def _too_large(what: str, max_pixels: int) -> Unusable:
    return Unusable(
        "too_large",
        f"{what}: more than ingest.max_pixels = {max_pixels}; raise it, or cut the frame into "
        "smaller files",
    )


def _unidentified(data: bytes) -> Unusable:
    head = data[:64]
    for start, signature, name in _SIGNATURES:
        if head[start:].startswith(signature):
            return _unsupported(name)
    if _starts_known(head) and len(data) < 1024:
        return Unusable("truncated", f"the file ends after {len(data)} bytes, within its header")
    try:
        with Image.open(io.BytesIO(data)) as other:
            return _unsupported(str(other.format))
    except Exception:
        return Unusable("unreadable", "the bytes are no image in a known format")


def _unsupported(name: str) -> Unusable:
    return Unusable(
        "unsupported_format",
        f"{name} is not read here: convert it to one of {', '.join(FORMATS)}",
    )


def _starts_known(head: bytes) -> bool:
    """Whether the bytes begin as one of the formats that are read."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*", b"BM")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b""))


def _broken(error: Exception, data: bytes, max_pixels: int) -> Unusable:
    """What a decoder's exception says of the file."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_large(str(error).split(",")[0], max_pixels)
    if _ends_early(error, data):
        return Unusable("truncated", f"the file ends too early ({text}): copy it again")
    return Unusable("unreadable", f"the image cannot be decoded ({text})")


def _ends_early(error: Exception, data: bytes) -> bool:
    words = str(error).lower()
    told = any(
        word in words
        for word in ("truncated", "not enough", "end of file", "unexpected end", "buffer", "eof")
    )
    if told or isinstance(error, EOFError):
        return True
    # WebP's decoder says nothing: its header holds the file's length.
    if data[:4] == b"RIFF" and len(data) >= 8:
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return data[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in data[-16:]


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as round(v/257); Pillow alone would clip at 255. Float grey is taken as 0..1."""
    if image.mode in SIXTEEN_BIT:
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=1.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8))
    return image


def tiles(image: Image.Image, tile: int | None, stride: int | None) -> Iterator[Tile]:
    """An RGB frame as one image, or as its tiles; incomplete ones at the right and lower edge drop.

    Raises Unusable (too_small) for a frame smaller than the tile.
    """
    if tile is None:
        yield Tile("", image.width, image.height, _pixels(image))
        return
    if image.width < tile or image.height < tile:
        raise Unusable(
            "too_small",
            f"{image.width}x{image.height} px hold no tile of {tile} px: lower ingest.tile",
        )
    step = stride or tile
    for y in range(0, image.height - tile + 1, step):
        for x in range(0, image.width - tile + 1, step):
            part = image.crop((x, y, x + tile, y + tile))
            yield Tile(f"#{x},{y}", tile, tile, _pixels(part))


def _pixels(image: Image.Image) -> bytes:
    """64x64 px, aspect not kept."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return image.tobytes()


def jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """An image (64·64·3 levels, uint8 RGB, rows first) as JPEG; quality 1..95.

    About 1.3 KB at 75. WebP would be a sixth smaller and take four times as long (1 ms).
    """
    image = Image.fromarray(pixels.reshape(SIDE, SIDE, 3))
    target = io.BytesIO()
    image.save(target, format="jpeg", quality=quality, optimize=True)
    return target.getvalue()


# A truncated file is a reject, never a picture with a grey lower half.
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.init()  # register every format: `formats=` names some that Pillow would load late
