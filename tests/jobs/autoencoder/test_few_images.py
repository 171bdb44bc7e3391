"""A warning of rules that rely on a model which learnt from few images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.autoencoder import few_images
from jobs.settings.duplicates import GRADIENTS, RAW, WHITENED, Rule
from jobs.warehouse.files import LocalFiles

NUMBER, PROOF = Rule.of(0.85), Rule.of("overlap:0.7")


@pytest.mark.parametrize(
    ("images", "rules", "space", "warned"),
    [
        (few_images.LEAST - 1, [NUMBER, PROOF], WHITENED, True),
        (few_images.LEAST - 1, [Rule.of("pair_rate:0.01")], RAW, True),
        (few_images.LEAST - 1, [PROOF], WHITENED, False),  # which no similarity decides
        (few_images.LEAST - 1, [NUMBER], GRADIENTS, False),  # which no model computes
        (few_images.LEAST, [NUMBER], WHITENED, False),
        (None, [NUMBER], WHITENED, False),  # given, so nothing is known of it
    ],
)
def test_rules_that_rely_on_a_model_of_few_images_are_named(
    images: int | None, rules: list[Rule], space: str, warned: bool, tmp_path: Path
) -> None:
    (tmp_path / "models/m").mkdir(parents=True)
    about = {"images": images - 5, "held_out": 5} if images else {"given": "elsewhere"}
    (tmp_path / "models/m/model.json").write_text(json.dumps(about))
    text = few_images.remark(LocalFiles(tmp_path), "m", rules, [space])
    assert bool(text) == warned
    if warned:
        assert f"trained on {images:,} images only" in text
        assert rules[0].short in text
        assert "(train.model = shipped)" in text
        assert PROOF.name not in text.split(" may remove")[0]


@pytest.mark.parametrize("model_id", [None, "clip"])
def test_vectors_that_were_given_are_of_no_model_of_ours(
    model_id: str | None, tmp_path: Path
) -> None:
    assert few_images.remark(LocalFiles(tmp_path), model_id, [NUMBER], [RAW]) == ""
