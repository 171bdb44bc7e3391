"""A synthetic aerial survey: overlapping frames, near-copies, and the truth about both.

Use `plan` to list the scenes and their files, and `photograph` to render them, scene by scene, in
any number of processes. Everything follows from the seed: the bytes are the same from run to run on
one machine with the same libraries, and a scene does not depend on the others.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from udfs.acquisition.synthetic import terrain
from udfs.acquisition.synthetic.ground import Draw, Picture

Frame = NDArray[np.uint8]  # (rows, columns, 3)
FORMATS = ("png", "jpg", "webp", "tiff", "bmp")
QUALITY = 95  # of lossy files as a camera writes them
SENSOR_NOISE = 0.008  # deviation of a frame's noise, for levels 0…1
SINGLES = 0.5  # share of the scenes that have one file
FLIGHTS = 0.6  # share of the other scenes that have further frames of the flight line
FARTHEST = 0.3  # largest shift, as a share of the side; beyond, less than 70 % is shared
STEPS = (0.01, 0.1)  # shift between two exposures, as a share of the side: 99 to 90 % overlap
DRIFT = 0.01  # largest shift across the flight line, as a share of the side
MARGIN = 0.125  # ground around the flight line for drift and rotation, as a share of the side
# For each change, the share of the scenes with several files that have such a copy.
CHANGES = {"jpeg": 0.5, "brightness": 0.35, "rotation": 0.3, "noise": 0.3, "scale": 0.3}


@dataclass(frozen=True)
class Shot:
    """A file of the survey, before it is rendered.

    image_id: the path below the root. copy_of: the image_id of the original; None for an original.
    change: how the copy differs: "shift" or a name in CHANGES. moved: px along and across the
    flight line. overlap: the share of the original's area that a shifted frame shows, else None.
    """

    image_id: str
    copy_of: str | None = None
    change: str | None = None
    moved: tuple[int, int] = (0, 0)
    overlap: float | None = None


@dataclass(frozen=True)
class Scene:
    """A piece of ground and the files that show it, the original first."""

    label: str
    number: int
    shots: tuple[Shot, ...]


def plan(*, labels: int, scenes: int, side: int, seed: int) -> Iterator[Scene]:
    """Yield the scenes of a survey.

    Half of the scenes have one file. The others have further frames of the flight, and re-encoded,
    brightened, rotated, noisy or rescaled copies: about 2.5 files for each scene.

    Args:
        labels: the number of classes, 1…8.
        scenes: the number of scenes of each class.
        side: of a frame, in px.
        seed: from which everything follows.

    Raises:
        ValueError: there are not so many classes.

    """
    if not 1 <= labels <= len(terrain.TERRAINS):
        raise ValueError(f"labels: is {labels}, must lie between 1 and {len(terrain.TERRAINS)}")
    for label in list(terrain.TERRAINS)[:labels]:
        for number in range(scenes):
            yield _scene(label, number, side, _generator(seed, label, number, "plan"))


def _scene(label: str, number: int, side: int, draw: Draw) -> Scene:
    """Draw which files a scene has."""
    stem = f"{label}/{label}_{number:04}"
    extension = FORMATS[draw.integers(len(FORMATS))]
    original = f"{stem}.{extension}"
    shots = [Shot(original)]
    if draw.random() >= SINGLES:
        if draw.random() < FLIGHTS:
            shots += _flight(stem, extension, side, draw)
        changes = [change for change, share in CHANGES.items() if draw.random() < share]
        if not changes and len(shots) == 1:
            changes = ["jpeg"]
        for change in changes:
            suffix = {"jpeg": "jpg", "scale": "webp"}.get(change, extension)
            shots.append(Shot(f"{stem}_{change}.{suffix}", original, change))
    return Scene(label, number, tuple(shots))


def _flight(stem: str, extension: str, side: int, draw: Draw) -> Iterator[Shot]:
    """Yield one to three further frames, each a step farther along the flight line."""
    step = max(1, round(draw.uniform(*STEPS) * side))
    drift = max(1, round(DRIFT * side))
    for frame in range(1, int(draw.integers(1, 4)) + 1):
        along, across = frame * step, int(draw.integers(-drift, drift + 1))
        if along <= FARTHEST * side:
            overlap = (side - along) * (side - abs(across)) / side**2
            name = f"{stem}_shift{frame}.{extension}"
            yield Shot(name, f"{stem}.{extension}", "shift", (along, across), overlap)


def photograph(scene: Scene, side: int, seed: int) -> list[tuple[str, bytes]]:
    """Return the image_id and bytes of each file of a scene, in the order of the plan."""
    draw = _generator(seed, scene.label, scene.number, "ground")
    margin = round(MARGIN * side)
    ground = terrain.render(scene.label, side + round(FARTHEST * side) + 2 * margin, draw)
    heading = int(draw.integers(4))
    camera = Camera(np.rot90(ground, heading), side, margin)
    original = scene.shots[0].image_id
    first = camera.expose(_generator(seed, original))
    data = _encode(first, original)
    decoded = None
    files = [(original, data)]
    for shot in scene.shots[1:]:
        generator = _generator(seed, shot.image_id)
        if shot.change == "shift":
            frame = camera.expose(generator, moved=shot.moved)
        elif shot.change == "rotation":
            frame = camera.expose(
                generator, angle=generator.uniform(1, 4) * generator.choice((-1, 1))
            )
        else:
            # Copies are made from the file as it was written, not from the ground.
            decoded = _decode(data) if decoded is None else decoded
            frame = COPIES[str(shot.change)](decoded, generator)
        quality = int(generator.integers(40, 86)) if shot.change == "jpeg" else QUALITY
        files.append((shot.image_id, _encode(frame, shot.image_id, quality)))
    return files


@dataclass(frozen=True)
class Camera:
    """Takes frames of `side` px from a ground, along a flight line that crosses its columns.

    The first frame lies `margin` px from the left and in the middle of the rows.
    """

    ground: Picture
    side: int
    margin: int

    def expose(self, draw: Draw, *, moved: tuple[int, int] = (0, 0), angle: float = 0) -> Frame:
        """Return a noisy frame, shifted by `moved` px and rotated by `angle` degrees."""
        left = self.margin + moved[0]
        top = (len(self.ground) - self.side) // 2 + moved[1]
        box = (left, top, left + self.side, top + self.side)
        if angle:
            centre = (left + self.side / 2, top + self.side / 2)
            turned = Image.fromarray(_levels(self.ground)).rotate(
                angle, Image.Resampling.BICUBIC, center=centre
            )
            frame = np.asarray(turned.crop(box)) / 255
        else:
            frame = self.ground[box[1] : box[3], box[0] : box[2]]
        return _levels(_noisy(frame, SENSOR_NOISE, draw))


def _brightness(frame: Frame, draw: Draw) -> Frame:
    """Return a copy with another exposure, contrast and white balance."""
    gain = draw.uniform(0.85, 1.18) * draw.uniform(0.96, 1.04, 3)
    return _levels((frame / 255) ** draw.uniform(0.9, 1.1) * gain)


def _noise(frame: Frame, draw: Draw) -> Frame:
    """Return a copy with more noise."""
    return _levels(_noisy(frame / 255, draw.uniform(0.015, 0.04), draw))


def _scale(frame: Frame, draw: Draw) -> Frame:
    """Return a copy that is smaller or larger by up to a third."""
    side = round(len(frame) * draw.uniform(0.65, 1.35))
    resized = Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(resized)


COPIES: dict[str, Callable[[Frame, Draw], Frame]] = {
    "jpeg": lambda frame, _: frame,  # written again at a lower quality
    "brightness": _brightness,
    "noise": _noise,
    "scale": _scale,
}


def broken_files(label: str, side: int) -> list[tuple[str, bytes]]:
    """Return image_id and bytes of four files that cannot be used, each for another reason."""
    whole = _encode(np.full((side, side, 3), 128, np.uint8), "a.jpg")
    # A PNG that claims 40,000 x 40,000 px, 8 bits, RGB.
    size = (40_000).to_bytes(4, "big")
    header = _chunk(b"IHDR", size + size + bytes((8, 2, 0, 0, 0)))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb = b"\x89PNG\r\n\x1a\n" + header + pixels + _chunk(b"IEND", b"")
    return [
        (f"{label}/truncated.jpg", whole[: len(whole) * 2 // 3]),
        (f"{label}/empty.jpg", b""),
        (f"{label}/notes.jpg", b"This is a text that somebody named .jpg\n"),
        (f"{label}/huge.png", bomb),
    ]


def _chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    check = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + check


def _generator(seed: int, *names: object) -> Draw:
    """Return the random generator of one thing, which does not depend on what else is drawn."""
    digest = hashlib.sha256("|".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _noisy(picture: Picture, spread: float, draw: Draw) -> Picture:
    return picture + draw.normal(0, spread, picture.shape)


def _levels(picture: Picture) -> Frame:
    """Return levels 0…1 as 0…255, rounded and clipped."""
    return np.asarray(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _encode(frame: Frame, name: str, quality: int = QUALITY) -> bytes:
    """Return a frame as the bytes of a file, in the format that the name ends in."""
    extension = name.rsplit(".", 1)[1]
    lossy = extension in ("jpg", "webp")
    target = io.BytesIO()
    Image.fromarray(frame).save(
        target,
        {"jpg": "JPEG"}.get(extension, extension.upper()),
        **({"quality": quality} if lossy else {}),
    )
    return target.getvalue()


def _decode(data: bytes) -> Frame:
    return np.asarray(Image.open(io.BytesIO(data)))
