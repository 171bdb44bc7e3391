"""Warehouses of given latents and pictures, and the selection that proofs must lead to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo, fingerprint
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents
from tests.support.vectors import sim
from udfs.registration import Registrar, proved

OVERLAPS = (0.9, 0.7, 0.4)
PROOF_FLAGS = (
    "prune.thresholds=[" + ", ".join(f"'overlap:{value}'" for value in OVERLAPS) + "]",
    "prune.candidates=[0.5]",
    "prune.tries=3",
    "prune.proof=0.5",
    "prune.agreement=0.6",
    "publish.rule=overlap:0.7",
)
Decision = tuple[bool, str | None, float | None]


def ground(seed: int, size: int) -> NDArray[np.float64]:
    """A grey picture with structure of some pixels' width: (size, size), 0 to 255."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(random.random((size, size))) * np.exp(-((frequency / 0.12) ** 2))
    smooth = np.fft.ifft2(spectrum).real
    smooth -= smooth.min()
    return np.asarray(255 * smooth / smooth.max())


class GivenPictures(GivenLatents):
    """Images of a few places, shifted by some pixels, whose latents say how they are alike.

    Every fifth image is flat, and every seventh has the very pixels of the one before.
    """

    def pixels(self, name: str) -> NDArray[np.uint8]:
        number = int(name[-9:-5])
        label = self.images[name]["label"]
        random = np.random.default_rng([len(label), number])
        if number % 7 == 6:
            return self.pixels(f"{label}/{number - 1:04}ü.png")
        if number % 5 == 0:
            return np.full((64, 64, 3), 100 + number % 3, np.uint8)
        seed, (x, y) = int(random.integers(3)), random.integers(0, 9, 2) * 4
        grey = ground(seed + 10 * len(label), 96)[y : y + 64, x : x + 64]
        return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)

    def content(self, name: str) -> str:
        return fingerprint(self.pixels(name).tolist())

    def write(self, names: list[str] | None = None) -> None:
        super().write(names)
        warehouse = open_store(self.spark, str(self.folder))
        kept = list(self.images.values()) if names is None else [self.images[n] for n in names]
        blank = dict.fromkeys(tables.TABLES["images"].schema.names)
        declared = tables.TABLES["images"].schema.simpleString()[7:-1].replace(":", " ")
        more = "" if "pixels_sha256" in blank else ",pixels_sha256 string"
        rows = [
            blank
            | image
            | {
                "modified_at": datetime.now(UTC),
                "width": 128,
                "height": 64,
                "pixels": self.pixels(image["image_id"]).tobytes(),
                "pixels_sha256": self.content(image["image_id"]),
            }
            for image in kept
        ]
        frame = self.spark.createDataFrame(rows, f"{declared}{more},camera string")
        commit = CommitInfo("pictures", "ingest", fingerprint([kept, self.model, "pictures"]))
        warehouse.write(frame, "images", commit)

    def proved_selection(
        self,
        tries: int = 3,
        candidates: float = 0.5,
        earlier: Mapping[Any, Decision] = MappingProxyType({}),
        last: Collection[str] = (),
    ) -> dict[Any, Decision]:
        """The selection by its definition; a class is one block of places.

        earlier: decisions that hold. last: images that are decided after all others.
        """
        names = sorted(self.images, key=lambda name: (name in last, name.encode()))
        number = {name: i for i, name in enumerate(names)}
        grey = np.stack([self.pixels(name)[..., 0] for name in names])
        registrar = Registrar(grey, np.full(len(names), 2.0))
        contents = {name: self.content(name) for name in names}

        @cache
        def overlap(image: str, other: str) -> float:
            if contents[image] == contents[other]:
                return 1.0
            found = registrar.align(np.array([number[image]]), np.array([number[other]]))
            return float(found.overlap[0]) if proved(found, 0.5, 0.6)[0] else 0.0

        decided = dict(earlier)
        for level in OVERLAPS:
            rule, kept = f"overlap:{level}", dict[str, list[str]]()
            for name in names:
                before = kept.setdefault(self.images[name]["label"], [])
                before += [name] if earlier.get((name, rule), (False,))[0] else []
            for name in names:
                if (name, rule) in earlier:
                    continue
                before = kept[self.images[name]["label"]]
                sims = {k: sim(self.latents[name], self.latents[k]) for k in before}
                alike = sorted((k for k in before if sims[k] > candidates), key=lambda k: -sims[k])
                keeper = next((k for k in alike[:tries] if overlap(name, k) >= level), None)
                decided[name, rule] = (keeper is None, keeper, sims.get(keeper or ""))
                before += [name] if keeper is None else []
        return decided
