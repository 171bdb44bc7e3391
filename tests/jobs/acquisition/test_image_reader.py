"""Files are read, hashed, decoded and cut on the executors, in batches of bounded size."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from jobs.acquisition import image_reader
from jobs.acquisition.decoding import Decoding
from jobs.acquisition.image_reader import ImageReader
from jobs.warehouse import arrow_frames
from tests.support.pictures import encoded, picture
from udfs.acquisition import decode

IMAGES = arrow_frames.arrow_schema(
    arrow_frames.struct(
        "image_id string, label string, sha256 string, width int, height int, "
        "pixels_sha256 string, pixels binary"
    )
)
CANDIDATES = arrow_frames.arrow_schema(
    arrow_frames.struct(
        "image_id string, label string, content binary, path string, size_bytes bigint, "
        "modified_at timestamp"
    )
)
WHOLE = ImageReader(Decoding(10**6))


def candidates(*rows: tuple[str, bytes | None, str | None]) -> pa.RecordBatch:
    """A batch of candidates: id, content and path of each."""
    columns = [
        {"image_id": name, "label": "a", "content": data, "path": path} for name, data, path in rows
    ]
    return pa.RecordBatch.from_pylist(columns, CANDIDATES)


def hash_of_square(pixels: bytes) -> str:
    return decode.pixels_sha256(Image.frombytes("RGB", (64, 64), pixels))


def test_content_comes_before_the_path_and_what_is_unusable_is_left_out(tmp_path: Path) -> None:
    first, second = (encoded(Image.fromarray(picture(seed)), "PNG") for seed in (1, 2))
    (tmp_path / "second.png").write_bytes(second)
    batch = candidates(
        ("content", first, str(tmp_path / "second.png")),
        ("path", None, str(tmp_path / "second.png")),
        ("neither", None, None),
        ("lost", None, str(tmp_path / "lost.png")),
        ("zero byte", None, "a\0b"),
        ("text", b"no picture", None),
    )
    seen = dict(zip(batch.column("image_id").to_pylist(), WHOLE.examine(batch), strict=True))
    assert seen["content"] == (decode.sha256(first), None)
    assert seen["path"] == (decode.sha256(second), None)
    codes = {name: reason[0] for name, (_, reason) in seen.items() if reason}
    assert codes == {
        "neither": "empty",
        "lost": "unreachable",
        "zero byte": "unreachable",
        "text": "not_an_image",
    }
    (rows,) = WHOLE.image_rows([batch], IMAGES)
    assert rows.schema == IMAGES
    for row, data in zip(rows.to_pylist(), (first, second), strict=True):
        (tile,) = decode.decode(data, max_pixels=10**6, tile=None, stride=None)
        assert (row["sha256"], row["pixels"]) == (decode.sha256(data), tile.pixels)
        assert row["pixels_sha256"] == tile.pixels_sha256
        assert (row["label"], row["width"], row["height"]) == ("a", 72, 72)


def test_tiles_come_in_batches_by_the_names_of_their_files() -> None:
    levels = picture(3, 96)
    data = encoded(Image.fromarray(levels), "PNG")
    cutting = ImageReader(Decoding(10**6, 64, 1))
    files = candidates(("one", data, None), ("no picture", b"", None), ("two", data, None))
    batches = list(cutting.image_rows([files], IMAGES))
    assert max(batch.num_rows for batch in batches) == image_reader.ROWS
    rows = pa.Table.from_batches(batches).to_pylist()
    names = [f"{name}#{x},{y}" for name in ("one", "two") for x in range(33) for y in range(33)]
    assert [row["image_id"] for row in rows] == sorted(names)
    for row in rows[:: 7 * 33 + 1]:
        assert row["pixels_sha256"] == hash_of_square(row["pixels"])  # no tile is resized
        x, y = (int(number) for number in row["image_id"].partition("#")[2].split(","))
        assert np.array_equal(
            np.frombuffer(row["pixels"], np.uint8), levels[y : y + 64, x : x + 64].ravel()
        )


def test_size_and_time_are_those_of_the_file_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    batch = candidates(("there", None, str(tmp_path / "a")), ("lost", None, str(tmp_path / "b")))
    (rows,) = image_reader.status_rows([batch], CANDIDATES, [str(tmp_path)])
    there, lost = rows.to_pylist()
    assert there["size_bytes"] == 5
    written = datetime.fromtimestamp((tmp_path / "a").stat().st_mtime, UTC)
    assert abs((there["modified_at"] - written).total_seconds()) < 1e-3
    assert (lost["size_bytes"], lost["modified_at"]) == (None, None)
    (rows,) = image_reader.status_rows([batch], CANDIDATES, [str(tmp_path / "sub")])
    assert rows.column("size_bytes").null_count == 2  # nothing is told of files outside
