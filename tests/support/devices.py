"""The devices on which torch is tested: its processor, and a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

_no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ["cpu", pytest.param("cuda", marks=_no_gpu)]
