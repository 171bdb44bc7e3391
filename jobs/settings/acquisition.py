"""The sections [ingest] and [sample]: where images come from and how they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from jobs.settings.validators import (
    Section,
    Seed,
    Text,
    Texts,
    Whole,
    between,
    check_bands,
    check_folders,
    check_range,
    listed,
    not_empty,
    one_of,
)
from udfs.acquisition.ranges import AUTO

SOURCES = ("folder", "parquet", "delta")
LAYOUTS = ("label", "split/label")
IMAGE = "image"  # the column of images where none is named


@dataclass(frozen=True)
class Ingest(Section):
    """Where images come from and how they are cut into tiles."""

    source: Annotated[Text, one_of(*SOURCES)] = "folder"
    layout: Annotated[Text, one_of(*LAYOUTS)] = "label"
    image_column: Text = ""
    label_column: Text = "label"
    id_column: Text = ""
    split_column: Text = ""
    vector_column: Text = ""
    vector_name: Annotated[Text, AfterValidator(not_empty)] = "vectors"
    tile: Annotated[Whole, between(0, 65536, " px")] = 0
    stride: Annotated[Whole, between(0, 65536, " px")] = 0
    range: Annotated[str | tuple[float, float], BeforeValidator(check_range)] = AUTO
    bands: Annotated[
        tuple[int, ...], listed(int, called="whole numbers"), AfterValidator(check_bands)
    ] = ()
    max_pixels: Annotated[Whole, between(1, 2**31)] = 89_478_485
    max_bytes: Annotated[Whole, between(1, 2**31 - 1)] = 2**30
    max_seconds: Annotated[Whole, between(1, 86_400, " s")] = 60
    allow_paths: Annotated[Texts, AfterValidator(check_folders)] = ()
    tasks: Annotated[Whole, between(0, 1_000_000)] = 0

    @property
    def pictures(self) -> str:
        """The column of a table that holds its images; "" where it holds vectors alone."""
        return self.image_column or ("" if self.vector_column else IMAGE)

    @property
    def tiling(self) -> tuple[int, int] | None:
        """Side and stride of the tiles in pixels; None: images are not cut."""
        return (self.tile, self.stride or self.tile) if self.tile else None

    @property
    def limits(self) -> dict[str, Any]:
        """What a file may take at most, and where it may lie; more makes no image another one."""
        names = ("max_bytes", "max_seconds", "allow_paths")
        return {name: getattr(self, name) for name in names}

    @property
    def decoding(self) -> dict[str, Any]:
        """The settings that decide which images a source file gives, for fingerprints.

        Those that earlier versions did not have are left out where they have their defaults.
        """
        return {"tiling": self.tiling, "max_pixels": self.max_pixels} | self.values

    @property
    def values(self) -> dict[str, Any]:
        """The settings that decide how values are shown, if they are not the defaults."""
        default = {"range": AUTO, "bands": ()}
        given = {name: getattr(self, name) for name in default}
        return {name: value for name, value in given.items() if value != default[name]}


@dataclass(frozen=True)
class Sample(Section):
    """The synthetic survey that the job `sample` renders."""

    labels: Annotated[Whole, between(1, 8)] = 8
    scenes: Annotated[Whole, between(1, 100_000)] = 180
    side: Annotated[Whole, between(64, 1024, " px")] = 96
    seed: Seed = 0
    processes: Annotated[Whole, between(0, 1024)] = 0
