"""Tells where a model learnt from too few images for their similarity to say anything.

A model that was trained on a small set takes unlike pictures for near-copies. Rules that ask for a
proof do not depend on it; a threshold of the cosine does. docs/thresholds.md tells what was
measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from jobs.autoencoder import models
from jobs.settings.duplicates import OVERLAP, RAW, WHITENED, Rule
from jobs.warehouse.files import Files

LEAST = 500  # images of a set to train on (benchmarks/small_sets.py)


def remark(files: Files, model_id: str | None, rules: Iterable[Rule], spaces: Iterable[str]) -> str:
    """Say that rules rely on a model that learnt from too few images; empty if none does.

    Args:
        files: of the warehouse.
        model_id: of the compared latents; no model of the warehouse for vectors that were given.
        rules: those that are computed.
        spaces: the vectors that they compare.

    """
    unproved = [rule.short for rule in rules if rule.kind != OVERLAP]
    if not unproved or not {RAW, WHITENED} & set(spaces):
        return ""
    images = _images_of(files, model_id)
    if images is None or images >= LEAST:
        return ""
    return (
        f"the model was trained on {images:,} images only, and below {LEAST} it takes unlike "
        f"pictures for near-copies: {', '.join(unproved)} may remove such. Take the model that "
        "comes along (train.model = shipped), one that was trained on more images, or vectors of "
        "your own (ingest.vector_column), or rely on rules that ask for a proof, such as "
        f"{OVERLAP}:0.7"
    )


def _images_of(files: Files, model_id: str | None) -> int | None:
    """Return how many images a model was trained on, with those held out; None if not known."""
    name = f"{models.FOLDER}/{model_id}/model.json"
    if not model_id or not files.exists(name):
        return None
    try:
        about: dict[str, Any] = json.loads(files.read(name))
        return int(about["images"]) + int(about["held_out"])
    except (ValueError, KeyError, TypeError):
        return None
