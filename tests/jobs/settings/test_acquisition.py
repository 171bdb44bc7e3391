"""Sections [ingest] and [sample]."""

from __future__ import annotations

import pytest

from jobs.errors import SettingsError
from jobs.settings.acquisition import Ingest
from jobs.settings.load import build


@pytest.mark.parametrize(
    ("ingest", "tiling"),
    [
        (Ingest(), None),
        (Ingest(tile=64), (64, 64)),  # no overlap
        (Ingest(tile=64, stride=32), (64, 32)),
    ],
)
def test_tiles_lie_side_by_side_unless_a_stride_is_given(
    ingest: Ingest, tiling: tuple[int, int] | None
) -> None:
    assert ingest.tiling == tiling
    assert ingest.decoding == {"tiling": tiling, "max_pixels": ingest.max_pixels}


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("ingest.source=hdfs", "must be one of folder, parquet, delta"),
        ("ingest.layout=flat", "must be one of label, split/label"),
        ("ingest.tile=70000", "must lie between 0 and 65536 px"),
        ('ingest.vector_name=""', "must not be empty"),
        ("ingest.max_bytes=0", "must lie between 1 and"),
        ("ingest.max_seconds=0", "must lie between 1 and 86400 s"),
        ('ingest.allow_paths=["images"]', "'images' is no absolute path and no URI"),
        ("sample.side=32", "must lie between 64 and 1024 px"),
        ("sample.labels=9", "must lie between 1 and 8"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(flag: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, [flag])


def test_limits_are_no_part_of_how_files_are_decoded() -> None:
    ingest = Ingest(max_bytes=9, max_seconds=9, allow_paths=("/a",))
    assert ingest.decoding == Ingest().decoding
    assert ingest.limits == {"max_bytes": 9, "max_seconds": 9, "allow_paths": ("/a",)}
