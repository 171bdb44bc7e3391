"""A model that was trained elsewhere is taken over only if it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.autoencoder import train
from jobs.errors import JobError
from jobs.settings.autoencoder import Train


def test_a_given_model_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(JobError, match=r"train\.model = '.*'"):
        train.take_over(Train(model=str(tmp_path)))
