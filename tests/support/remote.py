"""A file system that is not mounted, for tests of what needs one."""

from __future__ import annotations

import os
import secrets

import pytest

REMOTE = "TEST_REMOTE"  # a folder such as hdfs://127.0.0.1:9000/tests


@pytest.fixture
def remote() -> str:
    """The URI of a folder that does not exist yet, in the file system that TEST_REMOTE names."""
    if not os.environ.get(REMOTE):
        pytest.skip(f"{REMOTE} names no file system")
    return f"{os.environ[REMOTE].rstrip('/')}/{secrets.token_hex(4)}"
