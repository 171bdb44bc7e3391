"""What people do to a picture before it turns up again: changes by families, of random size.

`TRAINED` are those whose like the encoder's training draws (udfs/autoencoder/augmentation.py); the
others it never sees. Sizes are shares of the picture's side, so they mean the same on a tile of
64 px as on a photograph.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Draw = np.random.Generator
Change = Callable[[Image.Image, Draw], Image.Image]
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def shift(image: Image.Image, draw: Draw) -> Image.Image:
    """By 3–12 % of the side in some direction, the edge repeated."""
    angle, share = draw.uniform(0, 2 * np.pi), draw.uniform(0.03, 0.12)
    right, down = (
        round(share * image.width * np.cos(angle)),
        round(share * image.height * np.sin(angle)),
    )
    across, along = abs(right), abs(down)
    around = np.pad(np.asarray(image), ((along, along), (across, across), (0, 0)), mode="edge")
    top, left = along + down, across + right
    return Image.fromarray(around[top : top + image.height, left : left + image.width])


def crop(image: Image.Image, draw: Draw) -> Image.Image:
    """5–20 % of the side cut off, in all, at opposite ends; scaled back."""
    share = draw.uniform(0.05, 0.2)
    left, top = (draw.uniform(0, share) * side for side in image.size)
    width, height = ((1 - share) * side for side in image.size)
    return image.resize(image.size, BICUBIC, box=(left, top, left + width, top + height))


def jpeg(image: Image.Image, draw: Draw) -> Image.Image:
    """Stored once more at a quality of 30–95."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=int(draw.integers(30, 96)))
    return Image.open(io.BytesIO(stored.getvalue())).convert("RGB")


def half_size(image: Image.Image, draw: Draw) -> Image.Image:
    """Scaled to half its size and back."""
    half = max(1, image.width // 2), max(1, image.height // 2)
    return image.resize(half, BILINEAR).resize(image.size, BICUBIC)


def tone(image: Image.Image, draw: Draw) -> Image.Image:
    """Another brightness, gamma and contrast (±20 %), and white balance (±12 % a channel)."""
    levels = np.asarray(image, np.float64) / 255
    levels = levels ** draw.uniform(0.8, 1.25) * draw.uniform(0.85, 1.15, 3)
    levels = 0.5 + (levels - 0.5) * draw.uniform(0.8, 1.2) + draw.uniform(-0.1, 0.1)
    return _image(levels * 255)


def blur(image: Image.Image, draw: Draw) -> Image.Image:
    """A Gaussian of 0.8–2.5 % of the side."""
    radius = draw.uniform(0.008, 0.025) * min(image.size)
    return image.filter(ImageFilter.GaussianBlur(radius))


def noise(image: Image.Image, draw: Draw) -> Image.Image:
    """Gaussian, of a deviation of 4–15 levels."""
    levels = np.asarray(image, np.float64)
    return _image(levels + draw.normal(0, draw.uniform(4, 15), levels.shape))


def rotation(image: Image.Image, draw: Draw) -> Image.Image:
    """By 2–8° either way; what comes in at the corners is the edge repeated."""
    by = max(image.size) // 4
    around = np.pad(np.asarray(image), ((by, by), (by, by), (0, 0)), mode="edge")
    angle = draw.uniform(2, 8) * draw.choice([-1, 1])
    turned = Image.fromarray(around).rotate(angle, BICUBIC)
    return turned.crop((by, by, by + image.width, by + image.height))


def border(image: Image.Image, draw: Draw) -> Image.Image:
    """A plain border of 3–8 % around, or bars of 5–12 % above and below; the picture shrinks."""
    bars = draw.random() < 0.5
    share = draw.uniform(0.05, 0.12) if bars else draw.uniform(0.03, 0.08)
    inside = image.width if bars else round((1 - 2 * share) * image.width)
    height = round((1 - 2 * share) * image.height)
    framed = Image.new("RGB", image.size, (0, 0, 0) if draw.random() < 0.5 else (255, 255, 255))
    place = (image.width - inside) // 2, (image.height - height) // 2
    framed.paste(image.resize((inside, height), BICUBIC), place)
    return framed


def logo(image: Image.Image, draw: Draw) -> Image.Image:
    """A disc on a plate of 14–22 % of the side in one of the corners, in two random colours."""
    marked = image.copy()
    width, height = (round(draw.uniform(0.14, 0.22) * side) for side in image.size)
    gap = max(1, round(0.03 * min(image.size)))
    left = gap if draw.random() < 0.5 else image.width - gap - width
    top = gap if draw.random() < 0.5 else image.height - gap - height
    plate, disc = (tuple(int(level) for level in draw.integers(0, 256, 3)) for _ in range(2))
    box = (left, top, left + width - 1, top + height - 1)
    pen = ImageDraw.Draw(marked)
    pen.rectangle(box, fill=plate)
    pen.ellipse(box, fill=disc)
    return marked


def mirror(image: Image.Image, draw: Draw) -> Image.Image:
    """Left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def turn(image: Image.Image, draw: Draw) -> Image.Image:
    """By 90, 180 or 270°."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[int(draw.integers(len(turns)))])


FAMILIES: dict[str, Change] = {
    "shift": shift,
    "crop": crop,
    "slight rotation": rotation,
    "tone": tone,
    "noise": noise,
    "JPEG": jpeg,
    "half size": half_size,
    "blur": blur,
    "border": border,
    "logo": logo,
    "mirror": mirror,
    "turned by 90°": turn,
}
TRAINED = ("shift", "crop", "slight rotation", "tone", "noise", "border", "logo")
TURNED = ("mirror", "turned by 90°")  # found by what is made for it alone, so apart from the total


def _image(levels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
