"""Source files and tables to images and rejects, row by row."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.acquisition import ingest
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from tests.conftest import picture, settings_for
from udfs.acquisition import decode as definition

pytestmark = pytest.mark.spark
Ingest = Callable[..., Run]


@pytest.fixture
def run_ingest(spark: SparkSession, tmp_path: Path) -> Ingest:
    def run(root: Path, *flags: str) -> Run:
        current = Run(spark, settings_for(root, tmp_path / "warehouse", *flags), "ingest")
        current.execute(ingest.STAGE)
        return current

    return run


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def hostile() -> dict[str, bytes]:
    """A folder of what people really have."""
    levels = picture(1)
    colour = Image.fromarray(levels)
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    grey = np.linspace(0, 65535, 72 * 72).reshape(72, 72).astype(np.uint16)
    alpha = Image.fromarray(np.dstack([levels, np.full((72, 72), 90, np.uint8)]))
    frames = [colour, colour.rotate(90)]
    animated = {"save_all": True, "append_images": frames[1:]}
    jpeg = encoded(colour, "JPEG", quality=95)
    oriented = Image.Exif()
    oriented[0x0112] = 6
    return {
        "good/photo.JPG": jpeg,
        "good/photo.PNG": encoded(colour, "PNG"),
        "good/cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "good/sixteen.png": encoded(Image.fromarray(grey), "PNG"),
        "good/palette.png": encoded(palette, "PNG", transparency=0),
        "good/alpha.png": encoded(alpha, "PNG"),
        "good/grey.bmp": encoded(colour.convert("L"), "BMP"),
        "good/scan.tif": encoded(colour, "TIFF"),
        "good/plain.ppm": encoded(colour, "PPM"),
        "good/moving.gif": encoded(frames[0], "GIF", **animated),
        "good/moving.webp": encoded(frames[0], "WEBP", lossless=True, **animated),
        "good/turned.jpg": encoded(colour, "JPEG", quality=95, exif=oriented),
        "good/_hidden from spark.jpg": jpeg,
        "good/ünïcode 図 with spaces%20.jpg": jpeg,
        "class=001/photo.jpg": jpeg,
        "other/photo.jpg": jpeg,
        "bad/empty.jpg": b"",
        "bad/cut.jpg": jpeg[: len(jpeg) // 2],
        "bad/text.jpg": b"no picture at all",
        "bad/bomb.png": bomb(30_000),
        "bad/document.pdf": b"%PDF-1.7 and so on",
        "bad/Thumbs.db": b"\xd0\xcf\x11\xe0" * 100,
        "in the root.jpg": jpeg,
        "good/.hidden.jpg": jpeg,
        ".git/config": b"",
    }


REJECTED = {
    "bad/empty.jpg": "empty",
    "bad/cut.jpg": "truncated",
    "bad/text.jpg": "unreadable",
    "bad/bomb.png": "too_large",
    "bad/document.pdf": "unsupported_format",
    "bad/Thumbs.db": "unreadable",
}


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_hostile_files_become_the_expected_rows(run_ingest: Ingest, tmp_path: Path) -> None:
    content = hostile()
    root = write(tmp_path / "images", content)
    run = run_ingest(root)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert set(rows) == {
        name for name in content if name.split("/")[0] in ("good", "class=001", "other")
    } - {"good/.hidden.jpg"}
    for name, row in rows.items():
        assert row.label == name.split("/")[0]
        assert row.split is None
        assert row.path == str(root / name)
        assert row.sha256 == definition.sha256(content[name])
        assert row.size_bytes == len(content[name])
        status = (root / name).stat()
        assert row.modified_at == datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6)
        assert (row.width, row.height) == (72, 72)
        whole = definition.decode(content[name], max_pixels=10**6, tile=None, stride=None)
        assert bytes(row.pixels) == whole[0].pixels
    rejects = run.warehouse.read("rejects").collect()
    assert {row.image_id: row.error_code for row in rejects} == REJECTED
    for row in rejects:
        assert row.path == str(root / row.image_id)
        assert row.stage == "ingest"
        assert row.size_bytes == len(content[row.image_id])
        assert row.error_message


def test_rejects_are_not_read_again_and_mended_files_are(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    root = write(tmp_path / "images", hostile())
    first = run_ingest(root)
    (root / "bad/empty.jpg").write_bytes(hostile()["good/photo.JPG"])
    (root / "bad/text.jpg").unlink()
    again = run_ingest(root)
    assert "bad/empty.jpg" in {row.image_id for row in again.warehouse.read("images").collect()}
    codes = {row.image_id: row.error_code for row in again.warehouse.read("rejects").collect()}
    gone = {"bad/empty.jpg", "bad/text.jpg"}
    assert codes == {name: code for name, code in REJECTED.items() if name not in gone}
    assert first.run_id != again.run_id


def test_tiles(run_ingest: Ingest, tmp_path: Path) -> None:
    wide = encoded(Image.fromarray(picture(3, 160)).crop((0, 0, 160, 100)), "PNG")
    small = encoded(Image.fromarray(picture(4, 60)), "PNG")
    root = write(tmp_path / "images", {"a/wide.png": wide, "a/small.png": small})
    run = run_ingest(root, "ingest.tile=64", "ingest.stride=32")
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    corners = [(x, y) for y in (0, 32) for x in (0, 32, 64, 96)]
    assert set(rows) == {f"a/wide.png#{x},{y}" for x, y in corners}
    levels = np.asarray(Image.open(io.BytesIO(wide)))
    for x, y in corners:
        row = rows[f"a/wide.png#{x},{y}"]
        assert bytes(row.pixels) == levels[y : y + 64, x : x + 64].tobytes()
        assert (row.width, row.height, row.size_bytes) == (64, 64, len(wide))
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("a/small.png", "too_small")]


def test_splits(run_ingest: Ingest, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(picture(5)), "PNG")
    names = ["train/cat/1.png", "test/cat/deep/1.png", "train/dog/1.png", "test/lost.png"]
    run = run_ingest(
        write(tmp_path / "images", dict.fromkeys(names, data)), "ingest.layout=split/label"
    )
    rows = run.warehouse.read("images").orderBy("image_id").collect()
    assert [(row.image_id, row.split, row.label) for row in rows] == [
        ("test/cat/deep/1.png", "test", "cat"),
        ("train/cat/1.png", "train", "cat"),
        ("train/dog/1.png", "train", "dog"),
    ]
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [
        ("test/lost.png", "missing_label")
    ]


def test_a_table_with_odd_columns(spark: SparkSession, run_ingest: Ingest, tmp_path: Path) -> None:
    """Hugging Face's struct, duplicate ids, missing labels, names and types that need a change."""
    first, second = (encoded(Image.fromarray(picture(seed)), "PNG") for seed in (6, 7))
    small, large = sorted((first, second), key=definition.sha256)
    rows = [
        ("one", "cat", "train", Row(bytes=first, path="a/1.png"), 1.5, datetime(2026, 1, 2, 3, 4)),
        ("two", "cat", None, Row(bytes=second, path=None), None, None),
        ("two", "dog", None, Row(bytes=first, path=None), 2.5, None),
        ("three", None, None, Row(bytes=first, path=None), 3.5, None),
        (None, "cat", None, Row(bytes=first, path=None), 3.5, None),
        ("four", "cat", None, Row(bytes=None, path=None), 4.5, None),
        ("five", "cat", None, Row(bytes=b"no image", path=None), 4.5, None),
    ]
    image = T.StructType(
        [T.StructField("bytes", T.BinaryType()), T.StructField("path", T.StringType())]
    )
    schema = T.StructType(
        [
            T.StructField("key", T.StringType()),
            T.StructField("class", T.StringType()),
            T.StructField("part", T.StringType()),
            T.StructField("img", image),
            T.StructField("ground sample (m)", T.DoubleType()),
            T.StructField("taken", T.TimestampNTZType()),
        ]
    )
    frame = spark.createDataFrame(rows, schema)
    frame = frame.withColumn("label", F.lit("caller's")).withColumn(
        "extra", F.parse_json(F.lit("[1]"))
    )
    frame.write.parquet(str(tmp_path / "table"))
    flags = (
        "ingest.source=parquet",
        "ingest.image_column=img",
        "ingest.label_column=class",
        "ingest.id_column=key",
        "ingest.split_column=part",
    )
    run = run_ingest(tmp_path / "table", *flags)
    found = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert set(found) == {"one", "two"}
    assert found["one"].split == "train"
    assert found["one"].path == "a/1.png"
    assert found["one"]["source_ground_sample__m_"] == 1.5
    assert found["one"].source_label == "caller's"
    assert found["one"].extra == "[1]"
    assert run.warehouse.read("images").schema["taken"].dataType == T.TimestampType()
    assert found["two"].sha256 == definition.sha256(small)
    rejects = run.warehouse.read("rejects").collect()
    assert sorted((str(row.image_id), row.error_code) for row in rejects) == [
        ("None", "missing_label"),
        ("five", "unreadable"),
        ("four", "empty"),
        ("three", "missing_label"),
        ("two", "duplicate_id"),
    ]
    assert len(large) > 0


def test_a_changed_column_type_is_refused(
    spark: SparkSession, run_ingest: Ingest, tmp_path: Path
) -> None:
    data = encoded(Image.fromarray(picture(8)), "PNG")
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    for name, value in (("one", 1), ("two", "1")):
        frame = spark.createDataFrame(
            [("a", "cat", data, value)], ["id", "label", "image", "score"]
        )
        frame.write.parquet(str(tmp_path / name))
    run_ingest(tmp_path / "one", *flags)
    with pytest.raises(SettingsError, match=r"'score' is string, but bigint in the table images"):
        run_ingest(tmp_path / "two", *flags)


def test_wrong_roots_say_what_to_do(run_ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        run_ingest(tmp_path / "nowhere")
    with pytest.raises(JobError, match="no files in folders by class"):
        run_ingest(write(tmp_path / "flat", {"a.jpg": b""}))
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "t/a.parquet")
    with pytest.raises(SettingsError, match="the table has no such column; it has"):
        run_ingest(tmp_path / "t", "ingest.source=parquet")


def test_a_table_of_paths(spark: SparkSession, run_ingest: Ingest, tmp_path: Path) -> None:
    """Size and time come from the files; a changed file is read again, a lost row is told."""
    data = [encoded(Image.fromarray(picture(seed)), "PNG") for seed in (1, 2, 3)]
    root = write(tmp_path / "t", {"sub/0.png": data[0], "1.png": data[1]})

    def save(*rows: tuple[str, str]) -> None:
        table = pa.table({"id": [name for name, _ in rows], "image": [path for _, path in rows]})
        pq.write_table(table.append_column("label", [["cat"] * len(rows)]), root / "a.parquet")

    save(("relative", "sub/0.png"), ("absolute", f"file:{root}/1.png"))
    flags = ("ingest.source=parquet", "ingest.id_column=id")
    run_ingest(root / "a.parquet", *flags)
    (root / "sub/0.png").write_bytes(data[2])
    run = run_ingest(root / "a.parquet", *flags)
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert rows["relative"].sha256 == definition.sha256(data[2])
    assert rows["relative"].path == str(root / "sub/0.png")
    assert rows["absolute"].size_bytes == len(data[1])
    assert rows["absolute"].modified_at is not None

    save(("absolute", f"file:{root}/1.png"))
    run = run_ingest(root / "a.parquet", *flags)
    assert run.warehouse.read("images").count() == 1
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("relative", "vanished")]


def test_a_row_without_class_pushes_no_other_out(run_ingest: Ingest, tmp_path: Path) -> None:
    small, large = sorted(
        (encoded(Image.fromarray(picture(seed)), "PNG") for seed in (6, 7)), key=definition.sha256
    )
    table = pa.table({"id": ["1", "1"], "label": [None, "cat"], "image": [small, large]})
    (tmp_path / "t").mkdir()
    pq.write_table(table, tmp_path / "t/a.parquet")
    run = run_ingest(tmp_path / "t", "ingest.source=parquet", "ingest.id_column=id")
    assert [row.sha256 for row in run.warehouse.read("images").collect()] == [
        definition.sha256(large)
    ]
    assert [row.error_code for row in run.warehouse.read("rejects").collect()] == ["missing_label"]


def test_vanished_files_are_told_also_when_all_is_read_anew(
    run_ingest: Ingest, tmp_path: Path
) -> None:
    data = encoded(Image.fromarray(picture(5)), "PNG")
    names = ["cat/1.png", "cat/2.png", "cat/3.png"]
    root = write(tmp_path / "images", dict.fromkeys(names, data))
    run_ingest(root)
    (root / "cat/1.png").unlink()
    run_ingest(root, "ingest.max_pixels=1000000")
    (root / "cat/2.png").unlink()
    run = run_ingest(root, "ingest.max_pixels=1000001")
    rejects = run.warehouse.read("rejects").orderBy("image_id").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [
        ("cat/1.png", "vanished"),
        ("cat/2.png", "vanished"),
    ]
    write(root, {"cat/1.png": data})
    run = run_ingest(root, "ingest.max_pixels=1000001")
    rejects = run.warehouse.read("rejects").collect()
    assert [row.image_id for row in rejects] == ["cat/2.png"]
    assert run.warehouse.read("images").count() == 2


def test_a_warehouse_below_the_images_is_none_of_them(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, {"cat/1.png": encoded(Image.fromarray(picture(5)), "PNG")})
    for _ in range(2):
        run = Run(spark, settings_for(tmp_path, tmp_path / "build/warehouse"), "ingest")
        run.close_stale()
        run.execute(ingest.STAGE)
        run.close()
        assert run.warehouse.read("images").count() == 1
        assert run.warehouse.read("rejects").count() == 0
    states = [row.state for row in run.warehouse.read("runs").orderBy("started").collect()]
    assert states == ["done", "skipped"]
