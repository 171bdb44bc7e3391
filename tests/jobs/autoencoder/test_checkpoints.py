"""When a checkpoint is written, and when one is used: only by the training that it is of."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.autoencoder import models
from jobs.autoencoder.checkpoints import Checkpoints
from jobs.errors import JobError
from jobs.warehouse.files import LocalFiles
from udfs.autoencoder.checkpoint import Checkpoint, Epoch, Position

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 6)
HERE: dict[str, Any] = {"device": "cpu AVX2", "precision": "float32", "torch": "2.9"}
STATE = Checkpoint(Position([Epoch(1, 0.5, None, 3.0)]), {"a": torch.arange(100.0)})


class FailingFiles(LocalFiles):
    """A folder that cannot be written to; or a warehouse that another run took over."""

    error: Exception = OSError("No space left on device")

    def write(self, name: str, data: bytes) -> None:
        raise self.error


def checkpoints(folder: Path, lines: list[str], **options: float) -> Checkpoints:
    return Checkpoints(LocalFiles(folder), "f" * 64, lines.append, **options)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = checkpoints(tmp_path, [])
    assert made.begin(PIXELS, HERE, 4) is None
    made.keep(True, lambda: STATE)
    return tmp_path


def test_a_checkpoint_is_found_again_and_says_where_it_goes_on(written: Path) -> None:
    lines: list[str] = []
    found = checkpoints(written, lines).begin(PIXELS, HERE, 4)
    assert found is not None
    assert found.position == STATE.position
    assert lines == ["goes on from epoch 2 of 4"]
    assert Checkpoints(LocalFiles(written), "e" * 64, lines.append).begin(PIXELS, HERE, 4) is None
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("pixels", "here", "reason"),
    [
        (PIXELS[::-1], {}, "the sample has other images"),
        (PIXELS, {"device": "cuda X"}, "the device was cpu AVX2 and is cuda X"),
        (PIXELS, {"precision": "bfloat16"}, "the precision was float32 and is bfloat16"),
        (PIXELS, {"torch": "3.0"}, "the version of torch was 2.9 and is 3.0"),
    ],
)
def test_a_checkpoint_of_other_bits_is_not_used(
    written: Path, pixels: Any, here: dict[str, str], reason: str
) -> None:
    lines: list[str] = []
    assert checkpoints(written, lines).begin(pixels, HERE | here, 4) is None
    assert lines == [f"begins anew, since other bits could come out: {reason}"]


def test_a_damaged_checkpoint_is_not_used(written: Path) -> None:
    path = written / models.checkpoint_name("f" * 64)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"?", b""):
        path.write_bytes(damaged)
        lines: list[str] = []
        assert checkpoints(written, lines).begin(PIXELS, HERE, 4) is None
        assert len(lines) == 1
        assert lines[0].startswith(f"begins anew: {path} cannot be used: ")


def test_it_is_written_at_the_end_of_an_epoch_and_after_the_interval(tmp_path: Path) -> None:
    taken: list[bool] = []

    def kept(epoch_ended: bool, **options: float) -> bool:
        made = checkpoints(tmp_path, [], **options)
        made.begin(PIXELS, HERE, 4)
        taken.clear()

        def state() -> Checkpoint:
            taken.append(True)
            return STATE

        made.keep(epoch_ended, state)
        first = len(taken)
        made.keep(True, state)  # at once again
        assert len(taken) == first or options
        return bool(first)

    assert kept(epoch_ended=True)
    assert not kept(epoch_ended=False, interval=1000.0, most_cost=inf)
    assert kept(epoch_ended=False, interval=0.0, most_cost=inf)
    assert len(taken) == 2
    assert kept(epoch_ended=False, interval=0.0, most_cost=1e-9)
    assert len(taken) == 1


def test_a_training_goes_on_without_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    lines: list[str] = []
    files = FailingFiles(tmp_path)
    made = Checkpoints(files, "f" * 64, lines.append, most_cost=inf)
    made.begin(PIXELS, HERE, 4)
    made.keep(True, lambda: STATE)
    made.keep(True, lambda: STATE)
    assert lines == [
        "no checkpoint can be written, training goes on without: No space left on device"
    ]
    files.error = JobError("another run has taken over the warehouse")
    with pytest.raises(JobError, match="taken over"):
        made.keep(True, lambda: STATE)
