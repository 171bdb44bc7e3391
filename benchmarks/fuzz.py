"""Damaged files of every kind that the jobs read: each must be read, refused, or told in one line.

    .venv/bin/python -m benchmarks.fuzz [--images 50000] [--tables 2000] [--others 2000] [--seed 1]
        [--only KIND ...] [--keep build/fuzz] [--json FILE]

Whole files of each format are made here, and mutated: bits flipped, bytes overwritten, parts cut
out, repeated, or taken from another file, numbers replaced by very large ones. Images go through
the processes that decode (`jobs.acquisition.decoders`), Parquet files through Spark, the others
through the functions that read them. What ends a reader otherwise is an error of this software; the
file is kept. Memory is the peak of the process that decodes, and of this one.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyspark.sql import SparkSession

from benchmarks.results import recorded
from benchmarks.session import ROOT, start
from jobs.acquisition import decoders, sources
from jobs.acquisition.decoding import Decoding
from jobs.errors import JobError, SettingsError
from jobs.evaluation import pair_labels
from jobs.main import explain
from jobs.report import ground_truth
from jobs.settings.load import build, read_file
from udfs.autoencoder.model import Autoencoder
from udfs.autoencoder.weights import load_model, weights_bytes

LARGE = [0x7F, 0xFF]  # bytes of numbers that a reader may take for a size
BATCH = 200  # images that are asked for at once
DECODING = Decoding(max_pixels=4_000_000, max_bytes=64 << 20, max_seconds=10)
PAIRS = [f"pair{number}" for number in range(20)]


@dataclass
class Outcomes:
    """What came of the mutants of one kind. unexpected: what ended a reader, by its message."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_megabytes: int = 0


def mutated(data: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """Return a copy of a file with one to four damages; other: a file that parts are taken from."""
    content = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        if not content:
            break
        damage = DAMAGES[generator.integers(len(DAMAGES))]
        damage(content, other, generator)
    return bytes(content)


def _place(content: bytearray, generator: np.random.Generator) -> int:
    """Half of the damages hit the first 200 bytes, where headers are."""
    reach = len(content) if generator.random() < 0.5 else min(200, len(content))
    return int(generator.integers(reach))


def _flip(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    for _ in range(generator.integers(1, 20)):
        content[_place(content, generator)] ^= 1 << int(generator.integers(8))


def _overwrite(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    at, count = _place(content, generator), int(generator.integers(1, 30))
    content[at : at + count] = generator.bytes(len(content[at : at + count]))


def _enlarge(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    at, width = _place(content, generator), int(generator.choice([2, 4, 8]))
    number = bytes([LARGE[int(generator.integers(2))]] + [0xFF] * (width - 1))
    number = number if generator.random() < 0.5 else number[::-1]
    content[at : at + width] = number[: len(content[at : at + width])]


def _cut(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    at = _place(content, generator)
    end = len(content) if generator.random() < 0.3 else at + int(generator.integers(1, 200))
    del content[at:end]


def _repeat(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    at = _place(content, generator)
    part = content[at : at + int(generator.integers(1, 500))]
    content[at:at] = part * int(generator.integers(1, 20))


def _splice(content: bytearray, other: bytes, generator: np.random.Generator) -> None:
    at, start = _place(content, generator), int(generator.integers(max(1, len(other))))
    content[at:at] = other[start : start + int(generator.integers(1, 500))]


Damage = Callable[[bytearray, bytes, np.random.Generator], None]
DAMAGES: tuple[Damage, ...] = (_flip, _overwrite, _enlarge, _cut, _repeat, _splice)


def mutants(originals: list[bytes], count: int, generator: np.random.Generator) -> Iterator[bytes]:
    """Yield mutants of the originals in turn."""
    for number in range(count):
        other = originals[int(generator.integers(len(originals)))]
        yield mutated(originals[number % len(originals)], other, generator)


def pictures(generator: np.random.Generator) -> list[bytes]:
    """Return small images in every format that is read, and many of its variants."""
    levels = generator.integers(0, 256, (9, 7, 3), np.uint8)
    colour = Image.fromarray(levels).resize((93, 71), Image.Resampling.BICUBIC)
    sixteen = Image.fromarray(generator.integers(0, 1 << 16, (71, 93), np.uint16))
    floats = Image.fromarray(generator.random((71, 93), np.float32))
    alpha, grey, indexed = colour.convert("RGBA"), colour.convert("L"), colour.convert("P")
    frames = {"save_all": True, "append_images": [colour.rotate(90)]}
    plans: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "JPEG", {}), (colour, "JPEG", {"progressive": True}), (grey, "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}), (colour, "PNG", {}), (alpha, "PNG", {}),
        (indexed, "PNG", {"transparency": 3}), (sixteen, "PNG", {}), (indexed, "GIF", frames),
        (colour, "WEBP", {}), (alpha, "WEBP", {"lossless": True}), (colour, "WEBP", frames),
        (colour, "BMP", {}), (indexed, "BMP", {}), (colour, "PPM", {}), (grey, "PPM", {}),
        (colour, "TIFF", {}), (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"compression": "tiff_adobe_deflate"}), (floats, "TIFF", {}),
        (sixteen, "TIFF", {"compression": "packbits"}), (colour, "TIFF", {"compression": "jpeg"}),
        (colour.convert("1"), "TIFF", {"compression": "group4"}), (colour, "JPEG2000", {}),
    ]  # fmt: skip
    made = []
    for image, kind, options in plans:
        target = io.BytesIO()
        image.save(target, kind, **options)
        made.append(target.getvalue())
    return made


def fuzz_images(count: int, generator: np.random.Generator, keep: Path) -> Outcomes:
    """Have mutants of images decoded; each is an image or a reject that names a reason."""
    result = Outcomes()
    waiting = mutants(pictures(generator), count, generator)
    while batch := list(itertools.islice(waiting, BATCH)):
        files = [(f"/{number}", content) for number, content in enumerate(batch)]
        seen = set()
        try:
            for answer in decoders.examined(files, DECODING, with_tiles=True):
                if answer.code is not None:
                    seen.add(answer.number)
                    result.outcomes[answer.code or "image"] += 1
                    if "\n" in answer.text:
                        _keep(result, keep, batch[answer.number], f"lines: {answer.text!r}")
        except Exception as failure:
            _keep(result, keep, batch[len(seen)], f"{type(failure).__name__}: {failure}")
        result.tried += len(batch)
        result.peak_megabytes = max(result.peak_megabytes, decoder_peak())
    return result


def decoder_peak() -> int:
    """Return the peak memory of the process that decodes, in MB; 0 where it cannot be told."""
    peaks = [0]
    for process in decoders._idle:
        with suppress(OSError):
            status = Path(f"/proc/{process._popen.pid}/status").read_text()
            peaks += [int(kib) * 1024 // 10**6 for kib in re.findall(r"VmHWM:\s+(\d+)", status)]
    return max(peaks)


def fuzz_function(
    originals: list[bytes],
    read: Callable[[Path], object],
    count: int,
    generator: np.random.Generator,
    keep: Path,
) -> Outcomes:
    """Have mutants of a file read by a function; it returns, or raises an error with a message."""
    result = Outcomes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        for content in mutants(originals, count, generator):
            path.write_bytes(content)
            result.tried += 1
            try:
                read(path)
                result.outcomes["read"] += 1
            except (JobError, SettingsError) as told:
                result.outcomes["refused"] += 1
                if not str(told).strip():
                    _keep(result, keep, content, "an empty message")
            except Exception as failure:
                _keep(result, keep, content, f"{type(failure).__name__}: {failure}")
    return result


def read_weights(path: Path) -> None:
    """Load a weights file as `train.model` does, whose ValueErrors become the message."""
    try:
        load_model(path.read_bytes())
    except ValueError as wrong:
        raise JobError(str(wrong)) from wrong


def small_others() -> dict[str, tuple[list[bytes], Callable[[Path], object]]]:
    """Return the kinds of files that functions on the driver read: originals and reader."""
    settings = [path.read_bytes() for path in sorted((ROOT / "conf").glob("*.toml"))]
    labels = "pair_id,same\n" + "\n".join(
        f"{pair},{number % 2}" for number, pair in enumerate(PAIRS)
    )
    truth = "image_id,copy_of,change,overlap\n" + "".join(
        f"image{number},{'image0' if number else ''},blur,0.9\n" for number in range(20)
    )
    return {
        "settings": (settings, lambda path: build(read_file(str(path)), images="any")),
        "weights": ([weights_bytes(Autoencoder())], read_weights),
        "labels": ([labels.encode()], lambda path: pair_labels.read(str(path), PAIRS)),
        "truth": ([truth.encode()], lambda path: ground_truth.read_known_images(str(path))),
    }


def tables(generator: np.random.Generator) -> list[bytes]:
    """Return Parquet files of images as people have them, with several encodings."""
    images = pictures(generator)
    rows = pa.table(
        {
            "id": [f"{number:03d}" for number in range(len(images))],
            "label": [f"class {number % 3}" for number in range(len(images))],
            "content": images,
            "note": [None if number % 2 else float(number) for number in range(len(images))],
            "tags": [["a", "b"][: number % 3] for number in range(len(images))],
        }
    )
    made = []
    for compression, version in (
        ("snappy", "1.0"),
        ("zstd", "2.6"),
        ("none", "2.6"),
        ("gzip", "2.4"),
    ):
        target = io.BytesIO()
        pq.write_table(rows, target, compression=compression, version=version, row_group_size=9)
        made.append(target.getvalue())
    return made


def fuzz_tables(
    spark: SparkSession, count: int, generator: np.random.Generator, keep: Path
) -> Outcomes:
    """Have Spark read mutants of a table; an error must be one line."""
    result = Outcomes()
    settings = (
        "ingest.source=parquet",
        "ingest.id_column=id",
        "ingest.label_column=label",
        "ingest.image_column=content",
    )
    with tempfile.TemporaryDirectory() as folder:
        for content in mutants(tables(generator), count, generator):
            # A name of its own: Spark remembers footers by path.
            path = Path(folder) / f"table{result.tried}"
            path.mkdir()
            (path / "part-0.parquet").write_bytes(content)
            result.tried += 1
            try:
                source = sources.find(spark, build({}, settings, images=str(path)))
                source.frame.toArrow()
                result.outcomes["read"] += 1
            except Exception as failure:
                told = explain(failure)
                result.outcomes["refused"] += 1
                if "\n" in told or not told.strip():
                    _keep(result, keep, content, f"{type(failure).__name__}: {told!r}")
            (path / "part-0.parquet").unlink()
    assert spark.range(3).count() == 3, "the JVM lives"
    return result


def _keep(result: Outcomes, keep: Path, content: bytes, message: str) -> None:
    """Count what was not expected, and keep the first file of each message."""
    text = message.replace("\n", " | ")[:200]
    if not result.unexpected[text]:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"mutant{len(list(keep.iterdir())):04d}").write_bytes(content)
    result.unexpected[text] += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--tables", type=int, default=2_000)
    parser.add_argument("--others", type=int, default=2_000, help="of each other kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, default=ROOT / "build/fuzz")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds: dict[str, Callable[[np.random.Generator, Path], Outcomes]] = {
        "images": lambda generator, keep: fuzz_images(options.images, generator, keep)
    }
    for name, (originals, read) in small_others().items():
        kinds[name] = lambda generator, keep, originals=originals, read=read: fuzz_function(  # type: ignore[misc]
            originals, read, options.others, generator, keep
        )
    kinds["tables"] = lambda generator, keep: fuzz_tables(start(2), options.tables, generator, keep)
    found: dict[str, dict[str, object]] = {}
    print(f"{'kind':<10}{'mutants':>9}{'seconds':>9}  outcomes")
    for name, run in kinds.items():
        if options.only and name not in options.only:
            continue
        begun = time.monotonic()
        result = run(np.random.default_rng((options.seed, len(found))), options.keep / name)
        result.seconds = time.monotonic() - begun
        # asdict cannot copy a Counter.
        found[name] = {
            **vars(result),
            "outcomes": {**result.outcomes},
            "unexpected": {**result.unexpected},
        }
        told = ", ".join(f"{what} {count:,}" for what, count in result.outcomes.most_common())
        print(f"{name:<10}{result.tried:>9,}{result.seconds:>9.0f}  {told}", flush=True)
        for message, count in result.unexpected.most_common():
            print(f"{'':<10}{count:>9,} unexpected: {message}", flush=True)
        if result.peak_megabytes:
            print(f"{'':<10}the process that decodes took {result.peak_megabytes} MB at most")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"this process took {peak:.0f} MB at most")
    if options.json:
        with suppress(FileExistsError):
            options.json.parent.mkdir(parents=True)
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    recorded(main)
