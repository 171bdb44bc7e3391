"""The comments on the columns of the published tables."""

from __future__ import annotations

import pytest

from jobs.warehouse import tables
from jobs.warehouse.comments import COMMENTS


@pytest.mark.parametrize("table", ["curated", "splits"])
def test_every_column_has_a_comment(table: str) -> None:
    assert list(COMMENTS[table]) == tables.TABLES[table].schema.names
    assert all(COMMENTS[table].values())
