"""One writer a warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.warehouse.lock import lock


def test_a_warehouse_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        lock(str(tmp_path)),
        pytest.raises(JobError, match="in use by process"),
        lock(str(tmp_path)),
    ):
        pass
