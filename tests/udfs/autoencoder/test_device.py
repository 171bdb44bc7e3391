"""The choice of a device, and what identifies it."""

from __future__ import annotations

import pytest
import torch

from udfs.autoencoder.device import encoding_platform, select_device


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto", "0") == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU"):
        select_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto", "3") == "cuda:3"
    assert select_device("auto") == "cuda:0"
    assert select_device("cpu", "3") == "cpu"


def test_encoded_on_names_the_instruction_set() -> None:
    assert encoding_platform("cpu") == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert encoding_platform("cpu", "AVX2") == "cpu AVX2"
