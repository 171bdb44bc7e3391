"""What becomes of the files that programs at hand write: images, rejects, and levels that differ.

    .venv/bin/python -m benchmarks.writers [--folder build/writers]

A few pictures are made here, and programs encode them (`writer_commands`). All files go through
`./spark-submit.sh ingest` once. Its `images` are compared with the pictures that were encoded, and
with what ImageMagick shows of the file. The pictures have 64×64 px, so nothing is resized.

The project needs none of these programs. On Debian they are installed for the measurement by

    apt-get install --no-install-recommends imagemagick graphicsmagick ffmpeg gdal-bin webp netpbm \
        libtiff-tools libimage-exiftool-perl libjpeg-turbo-progs libopenjp2-tools libavif-bin \
        libjxl-tools libheif-examples libvips-tools pngcrush optipng pngquant jpegoptim gifsicle

since they are what people's pictures come from. A command whose program is missing is not run, and
is named. Which formats are read depends on requirements-formats.txt; the first line tells.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from deltalake import DeltaTable
from numpy.typing import NDArray
from PIL import Image

from benchmarks.reference_decode import scene
from benchmarks.results import ROOT, recorded
from benchmarks.writer_commands import COMMANDS

SIDE = 64
MEAN, MOST = 6.0, 2  # levels that a file may differ: mean if its format loses some, else at most
PACKAGES = {"imagecodecs": "imagecodecs", "pillow_heif": "pillow-heif", "pillow_jxl": "pillow-jxl"}
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Writer:
    """A way to encode a picture; exact: all of its levels are kept."""

    program: str
    picture: str
    exact: bool
    ending: str
    command: str

    @property
    def tool(self) -> str:
        """The program that must be installed; "" of libraries of Python."""
        return "" if self.program in ("Pillow", "tifffile") else self.command.split()[0]

    def __str__(self) -> str:
        return f"{self.program}: {self.command.replace(' {out}', '')} ({self.ending})"


@dataclass
class Outcome:
    """What came of a file: its 64×64 pixels, or the message of its reject."""

    writer: Writer
    pixels: Levels | None = None
    reject: str = ""
    differences: tuple[int, float] = (0, 0.0)  # from the picture: largest and mean
    beside: tuple[int, float] | None = None  # from what ImageMagick shows
    magick: tuple[int, float] | None = None  # of ImageMagick from the picture

    @property
    def is_right(self) -> bool:
        """Whether it differs from the picture by what its format loses, and no more."""
        most, mean = self.differences
        return mean <= MEAN if not self.writer.exact else most <= MOST


@dataclass
class Pictures:
    """The pictures as values, and as the RGB levels that are right for them."""

    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    right: dict[str, Levels] = field(default_factory=dict)


def writers() -> Iterator[Writer]:
    """Yield what `COMMANDS` lists."""
    program = ""
    for line in filter(None, COMMANDS.splitlines()):
        if line.startswith("["):
            program = line.strip("[]")
        else:
            picture, sign, ending, command = line.split(maxsplit=3)
            yield Writer(program, picture, sign == "=", ending, command)


def pictures() -> Pictures:
    """Return the pictures that are encoded."""
    made = Pictures()
    colours = levels(scene(2, 3, SIDE))
    grey = levels(scene(1, 1, SIDE)[..., 0])
    deep = np.rint(scene(4, 3, SIDE) * 65535).astype(np.uint16)
    alpha = 40 + levels(scene(5, 1, SIDE)) // 2
    indexed = Image.fromarray(colours).quantize(60, dither=Image.Dither.NONE)
    made.values = {
        "colours": colours,
        "other": colours[::-1].copy(),
        "turned": np.rot90(colours).copy(),  # the orientation 6 turns it back
        "alpha": np.concatenate([colours, alpha], axis=2),
        "grey": grey,
        "lines": np.where(grey > np.median(grey), 255, 0).astype(np.uint8),
        "palette": np.asarray(indexed.convert("RGB")),
        "cmyk": inks(colours),
        "deep": deep,
        "deepgrey": deep[..., 0].copy(),
        "float": scene(6, 1, SIDE)[..., 0].astype(np.float32),
        "heights": (scene(6, 1, SIDE)[..., 0] * 534 + 812).astype(np.float32),
    }
    made.right = {name: values[..., :3] for name, values in made.values.items()}
    made.right |= {name: tripled(made.values[name]) for name in ("grey", "lines")}
    made.right["turned"] = colours
    made.right["cmyk"] = of_inks(made.values["cmyk"])
    made.right["deep"] = np.rint(deep / 257).astype(np.uint8)
    made.right["deepgrey"] = tripled(made.right["deep"][..., 0])
    for name in ("float", "heights"):
        values = made.values[name].astype(float)
        low, high = (0, 1) if name == "float" else (values.min(), values.max())
        made.right[name] = tripled(levels((values - low) / (high - low)))
    return made


def levels(values: NDArray[np.float64]) -> Levels:
    return np.rint(values * 255).astype(np.uint8)


def tripled(grey: Levels) -> Levels:
    return np.repeat(grey[..., None], 3, axis=2)


def inks(colours: Levels) -> Levels:
    """Return RGB as cyan, magenta, yellow and a black that is half of what could be."""
    black = (255 - colours.max(axis=2)) // 2
    rest = np.rint(255 - colours * (255 / (255.0 - black[..., None])))
    return np.concatenate([np.clip(rest, 0, 255), black[..., None]], axis=2).astype(np.uint8)


def of_inks(cmyk: Levels) -> Levels:
    """Return (1 - ink)·(1 - black) as levels."""
    colours, black = 255.0 - cmyk[..., :3], 255.0 - cmyk[..., 3:]
    return np.rint(colours * black / 255).astype(np.uint8)


def sources(folder: Path, made: Pictures) -> None:
    """Write the pictures as files that programs read."""
    folder.mkdir(parents=True)
    for name in ("colours", "other", "turned", "alpha", "grey"):
        image = Image.fromarray(made.values[name])
        image.save(folder / f"{name}.png")
        image.save(folder / f"{name}.tif")
        if name == "alpha":
            continue
        image.save(folder / f"{name}.{'pgm' if name == 'grey' else 'ppm'}")
        image.save(folder / f"{name}.jpg", quality=95, subsampling=0)
    turned = Image.open(folder / "turned.png")
    turned.save(folder / "turned.webp", lossless=True)
    turned.save(folder / "turned.jp2")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned6.jpg", quality=95, subsampling=0, exif=exif)
    lines = Image.fromarray(made.values["lines"])
    for ending in ("png", "pbm", "tif"):
        lines.convert("1").save(folder / f"lines.{ending}")
    lines.save(folder / "lines.pgm")
    palette = Image.fromarray(made.values["palette"])
    palette.save(folder / "palette.ppm")
    indexed = palette.quantize(60, dither=Image.Dither.NONE)
    for ending in ("png", "gif", "tif"):
        indexed.save(folder / f"palette.{ending}")
    Image.open(folder / "other.png").quantize(60).save(folder / "other.gif")
    Image.fromarray(made.values["cmyk"], "CMYK").save(folder / "cmyk.tif")
    Image.fromarray(made.right["cmyk"]).save(folder / "cmyk.ppm")
    for name in ("deep", "deepgrey"):
        values = made.values[name]
        kind, colour = (b"P6", 2) if name == "deep" else (b"P5", 0)
        ending = "ppm" if name == "deep" else "pgm"
        raw = kind + b" 64 64 65535\n" + values.astype(">u2").tobytes()
        (folder / f"{name}.{ending}").write_bytes(raw)
        (folder / f"{name}.png").write_bytes(deep_png(values, colour))
    for name in ("deep", "deepgrey", "float", "heights"):
        tifffile.imwrite(folder / f"{name}.tif", made.values[name], metadata=None)
    (folder / "deepgrey.raw").write_bytes(made.values["deepgrey"].tobytes())
    (folder / "negative.raw").write_bytes((255 - made.values["grey"]).tobytes())


def deep_png(values: NDArray[np.uint16], colour: int) -> bytes:
    """Return a PNG of 16 bits, which Pillow writes in grey alone."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = values.astype(">u2").reshape(len(values), -1)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def write(writer: Writer, target: Path, folder: Path, made: Pictures) -> str:
    """Encode a picture; return why it failed, "" if it did not."""
    try:
        if writer.program == "Pillow":
            source, options = writer.command.split(maxsplit=1)
            with Image.open(folder / source) as image:
                image.save(target, **json.loads(options))
            return ""
        if writer.program == "tifffile":
            of_tifffile(writer, target, made)
            return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    command = writer.command.replace("{out}", str(target))
    if writer.tool == "ffmpeg":
        first, *rest = command.split(" ", 1)
        command = " ".join([first, "-hide_banner -loglevel error -y", *rest])
        if writer.ending != "apng":
            command = command.replace(f" {target}", f" -frames:v 1 {target}")
    run = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )
    if run.returncode or not target.is_file() or not target.stat().st_size:
        target.unlink(missing_ok=True)
        return (run.stderr.strip() or f"exit {run.returncode}").splitlines()[-1]
    return ""


def of_tifffile(writer: Writer, target: Path, made: Pictures) -> None:
    """Write a TIFF by tifffile, as Python's programs do."""
    source, text = writer.command.split(maxsplit=1)
    options, values = json.loads(text), made.values[source]
    if options.get("planarconfig") == "separate":
        values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
    if options.get("photometric") == "miniswhite":
        values = np.iinfo(values.dtype).max - values
    if source == "lines":
        values = values > 0
    tifffile.imwrite(target, values, metadata=None, **options)


def of_magick(path: Path) -> Levels | None:
    """Return what ImageMagick shows of a file: (64, 64, 3), None if it does not read it."""
    options = ["-auto-orient", "-alpha", "off", "-colorspace", "sRGB", "-type", "TrueColor"]
    command = ["convert", f"{path}[0]", *options, "-depth", "8", "PPM:-"]
    run = subprocess.run(command, capture_output=True, check=False)
    if run.returncode and not run.stdout:
        return None
    try:
        with Image.open(io.BytesIO(run.stdout)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError:
        return None


def difference(first: Levels, second: Levels) -> tuple[int, float]:
    """Return the largest and the mean difference; 255 if the sizes differ."""
    if first.shape != second.shape:
        return 255, 255.0
    apart = np.abs(first.astype(int) - second.astype(int))
    return int(apart.max()), float(apart.mean())


def ingested(folder: Path) -> tuple[dict[str, Levels], dict[str, str]]:
    """Run the stage over a folder; return pixels, and the messages of rejects, by path."""
    warehouse = folder / "warehouse"
    command = ["./spark-submit.sh", "ingest", "--images", str(folder / "images")]
    subprocess.run(
        [*command, "--warehouse", str(warehouse)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    images = DeltaTable(warehouse / "images").to_pyarrow_table().to_pylist()
    rejects = DeltaTable(warehouse / "rejects").to_pyarrow_table().to_pylist()
    shown = {}
    for row in images:
        pixels = np.frombuffer(row["pixels"], np.uint8).reshape(SIDE, SIDE, 3)
        is_whole = (row["width"], row["height"]) == (SIDE, SIDE)
        shown[row["path"]] = pixels if is_whole else pixels[:1]
    return shown, {row["path"]: f"{row['error_code']}: {row['error_message']}" for row in rejects}


def by_program(outcomes: Sequence[Outcome]) -> None:
    """Print a row for each program."""
    print(
        "| program | files | images | rejects | as they should be | exact: largest | lossy: mean "
        "| beside ImageMagick: mean | wrong in ImageMagick |"
    )
    print("| --- " * 9 + "|")
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.writer.program].append(outcome)
    for program, group in [*groups.items(), ("all", list(outcomes))]:
        images = [each for each in group if each.pixels is not None]
        right = [each for each in images if each.is_right]
        exact = [each.differences[0] for each in right if each.writer.exact]
        lossy = [each.differences[1] for each in right if not each.writer.exact]
        beside = [each.beside[1] for each in images if each.beside and each.is_right]
        wrong = [each for each in group if each.magick and each.magick[1] > MEAN]
        cells = (program, len(group), len(images), len(group) - len(images), len(right),
                 max(exact, default="–"), f"{max(lossy):.1f}" if lossy else "–",
                 f"{max(beside):.1f}" if beside else "–", len(wrong))  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")


def by_reason(outcomes: Sequence[Outcome]) -> None:
    """Print the codes of the rejects, and what their messages say the files are or lack."""
    print("\n| rejected as | files | what the message says |\n| --- | --- | --- |")
    codes: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        if outcome.reject:
            code, _, message = outcome.reject.partition(": ")
            codes[code][without_advice(message)] += 1
    for code, said in sorted(codes.items(), key=lambda item: -item[1].total()):
        parts = [f"{text} ({count})" if count > 1 else text for text, count in said.most_common()]
        print(f"| {code} | {said.total()} | {'; '.join(parts)} |")


def without_advice(message: str) -> str:
    """Return what a message says, without what to do, and without what ends a cell."""
    return re.split(r": (?:convert|install|save|leave|pip )", message.replace("|", "/"))[0]


def differing(outcomes: Sequence[Outcome]) -> None:
    """Print each image that differs from its picture by more than its format loses."""
    print("\n| differs from its picture | by, at most | mean | ImageMagick's, mean |")
    print("| --- | --- | --- | --- |")
    for outcome in outcomes:
        if outcome.pixels is not None and not outcome.is_right:
            most, mean = outcome.differences
            magick = f"{outcome.magick[1]:.1f}" if outcome.magick else "–"
            name = f"{outcome.writer} of {outcome.writer.picture}".replace("|", "/")
            print(f"| {name} | {most} | {mean:.1f} | {magick} |")


def main() -> None:
    """Encode, ingest, compare, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build/writers")
    given = parser.parse_args()
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    made = pictures()
    sources(folder / "sources", made)
    files: dict[str, Writer] = {}
    missing: dict[str, int] = defaultdict(int)
    failed = []
    for number, writer in enumerate(writers()):
        if writer.tool and not shutil.which(writer.tool):
            missing[writer.tool] += 1
            continue
        # A class for each picture, since a range of values is fitted to a class.
        target = folder / "images" / writer.picture / f"{number:03}.{writer.ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        why = write(writer, target, folder / "sources", made)
        if why:
            failed.append(f"{writer}: {why.replace(str(folder), '')}")
        else:
            files[str(target)] = writer
    for beside in folder.glob("images/*/*.aux.xml"):  # GDAL's
        beside.unlink()
    shown, rejects = ingested(folder)
    outcomes = []
    for path, writer in files.items():
        outcome = Outcome(writer, shown.get(path), rejects.get(path, ""))
        right, magick = made.right[writer.picture], of_magick(Path(path))
        if magick is not None:
            outcome.magick = difference(magick, right)
        if outcome.pixels is not None:
            outcome.differences = difference(outcome.pixels, right)
            outcome.beside = None if magick is None else difference(outcome.pixels, magick)
        outcomes.append(outcome)
    installed = [name for module, name in PACKAGES.items() if find_spec(module)]
    print(f"installed beside Pillow and tifffile: {', '.join(installed) or 'nothing'}\n")
    by_program(outcomes)
    by_reason(outcomes)
    differing(outcomes)
    print()
    for tool, count in missing.items():
        print(f"not run, since {tool} is not installed: {count}")
    for line in failed:
        print(f"failed: {line}")


if __name__ == "__main__":
    recorded(main)
