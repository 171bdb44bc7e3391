"""Deep frames become 8-bit RGB in strips: the same levels, in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.decoding import peak_bytes
from tests.support.pictures import encoded
from udfs.acquisition import levels


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_grey_of_16_bits_is_the_same_in_strips(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(-9, 70_000, 90 * 70).reshape(90, 70)
    if mode == "I":
        grey = Image.fromarray(values.astype(np.int32))
    else:
        stored = np.clip(values, 0, 65535).astype(">u2" if mode == "I;16B" else "<u2")
        grey = Image.frombytes(mode, (70, 90), stored.tobytes())
    expected = (np.clip(values.astype(np.int64), 0, 65535) + 128) // 257
    monkeypatch.setattr(levels, "STRIP", 700)
    shown = np.asarray(levels.rgb(grey))
    assert np.array_equal(shown, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_deep_frame_takes_a_few_bytes_a_pixel(kind: str, tmp_path: Path) -> None:
    """In a process of its own: 16-bit grey as PNG, floating point as TIFF."""
    side = 4000
    grey = np.zeros((side, side), np.uint16 if kind == "PNG" else np.float32)
    (tmp_path / "deep").write_bytes(encoded(Image.fromarray(grey), kind))
    small = Image.fromarray(np.zeros((8, 8), np.uint16))
    (tmp_path / "small").write_bytes(encoded(small, "PNG"))
    peaks = [peak_bytes(tmp_path / name) for name in ("small", "deep")]
    assert peaks[1] - peaks[0] < 12 * side * side
