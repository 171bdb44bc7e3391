"""A file system that is not mounted, for tests of what needs one."""

from __future__ import annotations

import os
import secrets

import pytest

REMOTE = "TEST_REMOTE"  # a folder such as hdfs://127.0.0.1:9000/tests


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> str:
    """The URI of a folder that does not exist yet, on HDFS or in what TEST_REMOTE names."""
    root = os.environ.get(REMOTE) or request.getfixturevalue("hdfs")
    return f"{root.rstrip('/')}/{secrets.token_hex(4)}"
