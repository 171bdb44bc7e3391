"""One writer a warehouse."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_the_lock_is_no_other_file(tmp_path: Path, kind: str) -> None:
    precious, warehouse = tmp_path / "precious.txt", tmp_path / "warehouse"
    precious.write_text("somebody's")
    warehouse.mkdir()
    file = warehouse / ".lock"
    if kind == "link":
        file.symlink_to(precious)
    elif kind == "hard link":
        file.hardlink_to(precious)
    else:
        os.mkfifo(file)
    with (
        pytest.raises(JobError, match=r"\.lock is a link, or no regular file"),
        lock(str(warehouse)),
    ):
        pass
    assert precious.read_text() == "somebody's"
