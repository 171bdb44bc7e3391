"""The loss that the settings ask for; progress; a training that goes on from a checkpoint."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from jobs.autoencoder import learning, models
from jobs.autoencoder.checkpoints import Checkpoints
from jobs.settings.autoencoder import Train
from jobs.warehouse.files import LocalFiles
from tests.support.autoencoders import pictures
from udfs.autoencoder.contrastive import ContrastiveTerm
from udfs.autoencoder.weights import weights_bytes


def test_the_contrastive_term_follows_the_settings() -> None:
    assert learning.contrastive_term(Train(objective="reconstruction")) is None
    asked = Train(objective="reconstruction+instance", temperature=0.2, instance_weight=0.5)
    assert learning.contrastive_term(asked) == ContrastiveTerm(weight=0.5, temperature=0.2)


def test_the_papers_objective_keeps_to_float32_unless_another_precision_is_given() -> None:
    assert learning.precision_of(Train(objective="reconstruction"), "cuda:0") == "float32"
    given = Train(objective="reconstruction", precision="bfloat16")
    assert learning.precision_of(given, "cpu") == "bfloat16"


def test_progress_of_a_training_that_goes_on_counts_what_this_run_does() -> None:
    progress = learning.EpochProgress(epochs=4, images=100)
    progress.on_batch(3, 1, 2, 0.5)  # epochs 1 and 2 were learnt before
    assert progress.current.share == pytest.approx(0.25)
    assert progress.current.images == pytest.approx(50)
    progress.on_batch(4, 2, 2, 0.5)
    assert progress.current.share == pytest.approx(1)
    assert progress.current.images == pytest.approx(200)
    fresh = learning.EpochProgress(epochs=4, images=100)
    fresh.on_batch(1, 1, 2, 0.5)
    assert fresh.current.share == pytest.approx(1 / 8)


def test_a_stopped_training_goes_on_and_gives_the_same_weights(tmp_path: Path) -> None:
    """By the function that is called without Spark, with a folder for the checkpoint."""
    settings = Train(epochs=3, batch_size=16, held_out=0.1, precision="float32")
    files = LocalFiles(tmp_path)
    lines: list[str] = []

    def checkpoints() -> Checkpoints:
        return Checkpoints(files, "a" * 64, lines.append, interval=0, most_cost=inf)

    def stop(epoch: int, batch: int, batches: int, loss: float) -> None:
        if (epoch, batch) == (2, 3):
            raise KeyboardInterrupt

    pixels = pictures(40)
    undisturbed = weights_bytes(learning.fit(pixels, settings, "cpu").model)
    with pytest.raises(KeyboardInterrupt):
        learning.fit(pixels, settings, "cpu", checkpoints(), on_batch=stop)
    assert not lines
    done = learning.fit(pixels, settings, "cpu", checkpoints())
    assert lines == ["goes on from epoch 2 of 3, after 2 of its batches"]
    assert weights_bytes(done.model) == undisturbed
    assert files.list("checkpoints") == [models.checkpoint_name("a" * 64)]
    models.delete_checkpoint(files, "a" * 64)
    assert files.entries() == []
