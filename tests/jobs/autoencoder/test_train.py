"""A model that was trained elsewhere is taken over only if it is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.autoencoder import models, train
from jobs.errors import JobError
from jobs.settings.autoencoder import Train
from jobs.settings.load import build
from jobs.warehouse.files import LocalFiles


def test_a_given_model_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(JobError, match=r"train\.model = '.*'"):
        train.take_over(Train(model=str(tmp_path)))


def test_a_training_whose_weights_are_gone_is_not_up_to_date(tmp_path: Path) -> None:
    """It is not done again without a word either: a backup is quicker."""
    settings = build({}, ["train.epochs=1"])
    run: Any = SimpleNamespace(
        settings=settings, warehouse=SimpleNamespace(files=LocalFiles(tmp_path))
    )
    assert not train.is_current(run, "")
    about = {"fingerprint": models.training_fingerprint(settings), "trained_at": "2026-01-01"}
    model = models.store(run.warehouse, b"data", about)
    assert train.is_current(run, "")
    (tmp_path / model.weights_name).unlink()
    with pytest.raises(JobError, match=rf"{model.weights_name}: the file is missing.*--overwrite"):
        train.is_current(run, "")


def test_given_weights_that_are_gone_from_the_warehouse_are_taken_over_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "given").write_bytes(b"data")
    settings = build({}, [f"train.model={tmp_path / 'given'}"])
    run: Any = SimpleNamespace(
        settings=settings, warehouse=SimpleNamespace(files=LocalFiles(tmp_path))
    )
    about = {"fingerprint": models.training_fingerprint(settings), "trained_at": "2026-01-01"}
    model = models.store(run.warehouse, b"data", about)
    assert train.is_current(run, "")
    (tmp_path / model.weights_name).unlink()
    assert not train.is_current(run, "")
