"""Groups larger than a task: decided in rounds, also after a stop and under other limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.duplicates.group_placement import PLACED, ROUNDS
from jobs.duplicates.rounds import _Group
from jobs.runtime.stage import StageRun
from tests.support.given_latents import ROUNDS_OF, GivenLatents


class StoppedError(Exception):
    """Raised in place of whatever may stop a run."""


def test_rounds_select_as_defined_and_resume_after_a_stop(
    given: GivenLatents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.duplicates.group_placement.SENT", 0)  # as ranks of very many images
    rounds: list[str] = []
    write = StageRun.write

    def stopping(stage_run: StageRun, frame: DataFrame, table: str, **how: Any) -> None:
        if table == ROUNDS and len(rounds) == 3:
            raise StoppedError
        rounds.extend([table] if table in (PLACED, ROUNDS) else [])
        write(stage_run, frame, table, **how)

    flags = (*ROUNDS_OF, "prune.order=[]", "prune.group_by=[]")  # all 171 in one group
    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "write", stopping)
        with pytest.raises(StoppedError):
            given.prune(*flags)
        assert rounds == [PLACED, ROUNDS, ROUNDS]
        rounds.append("a fourth entry, to let all pass")
        given.prune(*flags)
    assert PLACED not in rounds[3:]
    assert rounds[4:].count(ROUNDS) >= 2
    assert given.selection() == given.defined(group=lambda image: 0)
    for table in (PLACED, ROUNDS):
        assert not (given.folder / table).exists()


@pytest.mark.parametrize(
    ("most", "places", "expected"),
    [
        (5, None, [1, 2, 3, 6, 7]),
        (100, None, [1, 2, 3, 6, 7, 8, 11]),
        (5, 4, [1, 2, 3]),  # two blocks have six open images
        (6, 4, [1, 2, 3, 6, 7, 8]),
        (1, 4, [1, 2, 3]),  # at least one block
        (100, 4, [1, 2, 3, 6, 7, 8, 11]),
    ],
)
def test_a_window_ends_with_a_block_of_places(
    most: int, places: int | None, expected: list[int]
) -> None:
    """The group has gaps: image 8 has the place 7, and image 11 the place 12."""
    masks = np.zeros(12, np.int64)
    masks[[0, 1, 2, 3, 6, 7, 8, 11]] = 1
    of_images = np.array([0, 1, 2, 3, 4, 5, 5, 6, 7, 9, 10, 12])
    group = _Group("a", np.zeros(12, np.int64), masks, of_images, next=1)
    assert group.window(most, places).tolist() == expected


def test_stopped_rounds_resume_under_other_limits(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class above the old limit and below the new is decided, and only once."""
    given = GivenLatents(spark, tmp_path, {"large": 40, "small": 25})
    given.write()
    rounds: list[str] = []
    write = StageRun.write

    def stopping(stage_run: StageRun, frame: DataFrame, table: str, **how: Any) -> None:
        if table == ROUNDS and len(rounds) == 4:
            raise StoppedError
        rounds.extend([table] if table == ROUNDS else [])
        write(stage_run, frame, table, **how)

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "write", stopping)
        with pytest.raises(StoppedError):  # in the second of the two classes
            given.prune("prune.largest_class=20", "prune.window=15")
    given.prune("prune.largest_class=30", "prune.window=15")
    assert given.selection() == given.defined()
