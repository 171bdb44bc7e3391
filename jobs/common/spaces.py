"""What images are compared by in each space: their latents, or whitened vectors (spec §7)."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame

from jobs.common.run import Work
from jobs.common.settings import RAW, WHITENED

COLUMNS = ("image_id", "label", "split", "sha256", "model_id", "encoded_on", "latent")
_TABLES = {RAW: ("latents", "latent", "encode"), WHITENED: ("vectors", "vector", "whiten")}


def reads(spaces: Iterable[str]) -> dict[str, str]:
    """The tables of the spaces, and the stages that write them."""
    return {_TABLES[space][0]: _TABLES[space][2] for space in spaces}


def vectors(work: Work, spaces: Iterable[str]) -> dict[str, DataFrame]:
    """Of each space what stands for the images, always in the column `latent`."""
    found = {}
    for space in spaces:
        table, vector, _ = _TABLES[space]
        found[space] = work.read(table).withColumnRenamed(vector, "latent").select(*COLUMNS)
    return found
