"""The reasons why a file yields no image: codes for the table of rejects, and messages.

`decode` raises `Unusable` for every such file. `decoding_error` words what Pillow's exceptions say;
what the bytes are that it does not recognise is told by `contents`.
"""

from __future__ import annotations

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM")


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


def too_large(what: str, max_pixels: int) -> Unusable:
    """Return the reason for a frame, or a part of it, of too many pixels."""
    return Unusable(
        "too_large",
        f"{what}: more than ingest.max_pixels = {max_pixels}; raise it, or cut the frame into "
        "smaller files",
    )


def cut_off(data: bytes) -> Unusable | None:
    """Return the reason for a file that ends within its header; None if it does not."""
    if _starts_as_readable(data[:64]) and len(data) < 1024:
        return Unusable("truncated", f"the file ends after {len(data)} bytes, within its header")
    return None


def _starts_as_readable(head: bytes) -> bool:
    """Return whether the bytes begin like one of the formats that are read."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*", b"BM")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b""))


def decoding_error(error: Exception, data: bytes, max_pixels: int) -> Unusable:
    """Return the reason that a decoder's exception gives: too large, truncated or unreadable."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return too_large(str(error).split(",")[0], max_pixels)
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
