"""Formats whose parsers are loaded only when a file has their first bytes.

JPEG 2000 and AVIF are read by Pillow itself; HEIF and JPEG XL by packages that may be installed
(requirements-formats.txt). Use `parser_of` before a file is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

INSTALL = "pip install -r requirements-formats.txt"
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")


class Parser(NamedTuple):
    """A parser of a format.

    name: what Pillow calls the format. ending: of the names of such files. module: that of the
    parser. register: its function that registers the parser, where importing it does not.
    """

    name: str
    ending: str
    module: str
    register: str = ""


_JPEG_2000 = Parser("JPEG2000", "jp2", "PIL.Jpeg2KImagePlugin")
_AVIF = Parser("AVIF", "avif", "PIL.AvifImagePlugin")
_HEIF = Parser("HEIF", "heic", "pillow_heif", "register_heif_opener")
_JPEG_XL = Parser("JXL", "jxl", "pillow_jxl")
_STARTS = (
    (0, b"\x00\x00\x00\x0cjP  ", _JPEG_2000),
    (0, b"\xff\x4f\xff\x51", _JPEG_2000),
    (4, b"ftypavif", _AVIF),
    (4, b"ftypavis", _AVIF),
    *((4, b"ftyp" + brand, _HEIF) for brand in (*_HEIC, b"mif1", b"msf1")),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"\x00\x00\x00\x0cJXL ", _JPEG_XL),
)


def parser_of(data: bytes) -> str | None:
    """Return what Pillow calls the format of a file, and load its parser.

    None if the file has none of these formats, or the package that reads it is not installed.
    """
    parser = _parser(data)
    return parser.name if parser and _is_loaded(parser) else None


def ending_of(data: bytes) -> str | None:
    """Return the ending of the names of such files, without the dot; None for other formats.

    >>> ending_of(b"....ftypheic"), ending_of(b"GIF89a")
    ('heic', None)
    """
    parser = _parser(data)
    return parser.ending if parser else None


def _parser(data: bytes) -> Parser | None:
    return next((parser for start, first, parser in _STARTS if data.startswith(first, start)), None)


def _is_loaded(parser: Parser) -> bool:
    try:
        module = import_module(parser.module)
    except ImportError:
        return False
    if parser.register:
        getattr(module, parser.register)()
    return True
