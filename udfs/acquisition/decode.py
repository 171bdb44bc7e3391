"""Image files to the 64x64 RGB images that the encoder sees (the paper has 64x64 px as well).

Use `decode` on the bytes of a file. The steps come in this order, since another one changes palette
and transparent images by up to 136 levels: first frame, EXIF orientation, 16-bit grey to 8 bits,
RGB, tile, resized (docs/method.md, "From a file to a latent").
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
STRIP = 2**18  # px that are hashed at once
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")

# Offset, first bytes and name of common formats that are not read here, for the message.
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
    """Raised for a file that yields no image.

    code: the reason in a word, for the table of rejects; message: the same for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[Unusable], tuple[str, str]]:
        """Pickle the two parts, so that the exception can be sent from a worker."""
        return (Unusable, (self.code, self.message))


@dataclass(frozen=True)
class Tile:
    """One image as the encoder sees it: a whole frame, or a tile of one.

    suffix: what the image's id has after the id of the file: "" for a whole frame, "#x,y" for a
    tile, its upper-left pixel after orientation. width, height: in px before resizing.
    pixels_sha256: of the pixels before resizing (`pixels_sha256`). pixels: 64·64·3 bytes, uint8
    RGB, in rows.
    """

    suffix: str
    width: int
    height: int
    pixels_sha256: str
    pixels: bytes

    @classmethod
    def of(cls, suffix: str, image: Image.Image) -> Tile:
        """The image that is made of an RGB frame, or of a part of it, of any size."""
        return cls(suffix, image.width, image.height, pixels_sha256(image), _pixels(image))


def sha256(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def scale(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return x/127.5 − 1 in float32: levels 0…255 become numbers in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def decode(data: bytes, *, max_pixels: int, tile: int | None, stride: int | None) -> list[Tile]:
    """Return the images in a file: the whole frame, or its tiles row by row.

    Args:
        data: the bytes of the file.
        max_pixels: the largest frame, width × height, that is decoded.
        tile: the side of a tile in px; None for the whole frame.
        stride: px between the upper-left pixels of neighbouring tiles; None for the tile's side.

    Raises:
        Unusable: with one of the codes empty, unreadable, truncated, unsupported_format, too_large
            and too_small. No other exception is raised, whatever the bytes are.

    """
    image = frame(data, max_pixels)
    try:
        return list(tiles(image, tile, stride))
    finally:
        image.close()


def frame(data: bytes, max_pixels: int) -> Image.Image:
    """Return the first frame in RGB, turned as its EXIF entry says. Raises Unusable."""
    if not data:
        raise Unusable("empty", "the file has no bytes")
    with _bomb_limit(max_pixels):
        image = _open(data, max_pixels)
        try:
            image.seek(0)
            image.load()
            return _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
        except Exception as error:  # Pillow's decoders raise a dozen types
            raise _decoding_error(error, data, max_pixels) from error


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
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        raise _decoding_error(error, data, max_pixels) from error
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
    """Return the reason why Pillow does not recognise the bytes."""
    head = data[:64]
    for start, signature, name in _SIGNATURES:
        if head[start:].startswith(signature):
            return _unsupported(name)
    if _starts_as_readable(head) and len(data) < 1024:
        return Unusable("truncated", f"the file ends after {len(data)} bytes, within its header")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _unsupported(str(image.format))
    except Exception:
        return Unusable("unreadable", "the bytes are no image in a known format")


def _unsupported(name: str) -> Unusable:
    return Unusable(
        "unsupported_format",
        f"{name} is not read here: convert it to one of {', '.join(FORMATS)}",
    )


def _starts_as_readable(head: bytes) -> bool:
    """Return whether the bytes begin like one of the formats that are read."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*", b"BM")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b""))


def _decoding_error(error: Exception, data: bytes, max_pixels: int) -> Unusable:
    """Return the reason that a decoder's exception gives: too large, truncated or unreadable."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_large(str(error).split(",")[0], max_pixels)
    if _ends_early(error, data):
        return Unusable("truncated", f"the file ends too early ({text}): copy it again")
    return Unusable("unreadable", f"the image cannot be decoded ({text})")


def _ends_early(error: Exception, data: bytes) -> bool:
    """Return whether the file lacks its end, by the exception or the file's own length."""
    text = str(error).lower()
    said = any(
        word in text
        for word in ("truncated", "not enough", "end of file", "unexpected end", "buffer", "eof")
    )
    if said or isinstance(error, EOFError):
        return True
    # WebP's decoder does not say so, but the header holds the length of the file.
    if data[:4] == b"RIFF" and len(data) >= 8:
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return data[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in data[-16:]


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as round(v/257), which Pillow would clip at 255, and float grey in 0…1."""
    if image.mode in SIXTEEN_BIT:
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=1.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8))
    return image


def tiles(image: Image.Image, tile: int | None, stride: int | None) -> Iterator[Tile]:
    """Yield an RGB frame as one image, or its tiles; incomplete tiles at the edges are left out.

    Raises Unusable (too_small) for a frame that is smaller than the tile.
    """
    if tile is None:
        yield Tile.of("", image)
        return
    if image.width < tile or image.height < tile:
        raise Unusable(
            "too_small",
            f"{image.width}x{image.height} px hold no tile of {tile} px: lower ingest.tile",
        )
    step = stride or tile
    for y in range(0, image.height - tile + 1, step):
        for x in range(0, image.width - tile + 1, step):
            yield Tile.of(f"#{x},{y}", image.crop((x, y, x + tile, y + tile)))


def pixels_sha256(image: Image.Image) -> str:
    """Return the SHA-256 of what an RGB image shows, in hexadecimal, whatever its file is.

    Hashed are "<width>x<height>:" and the levels in rows, three bytes a pixel.
    """
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    rows = max(1, STRIP // image.width)  # else a large frame would be in memory twice
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
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
Image.init()  # register all formats, since Pillow loads some late that `formats=` names
