"""Members and shards of tar archives, without Spark."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from jobs.duplicates.export_shard_tasks import END, Counted, Sample, in_parts, member

buckets = st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=8), max_size=5)


@given(buckets, st.integers(2000, 9000))
def test_shards_are_bounded_and_hold_every_sample_in_order(
    sizes: list[list[int]], most: int
) -> None:
    samples = [
        Sample(bucket, member(f"{bucket}-{at}.bin", bytes([at]) * size))
        for bucket, of_bucket in enumerate(sizes)
        for at, size in enumerate(of_bucket)
    ]
    names: list[str] = []
    parts = []
    for part, data in in_parts(samples, most):
        counted = Counted(data)
        archive = b"".join(counted)
        written = counted.written
        assert written.size == len(archive)
        assert written.size <= most or written.images == 1
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            members = opened.getmembers()
        assert len(members) == written.images
        assert {name.name.partition("-")[0] for name in members} == {str(part.bucket)}
        names += [name.name for name in members]
        parts.append(part)
    assert names == [
        f"{bucket}-{at}.bin" for bucket, of in enumerate(sizes) for at in range(len(of))
    ]
    assert parts == sorted(set(parts))
    # No shard could take the first sample of the next one.
    sizes_of = {part: sum(map(len, data)) + len(END) for part, data in in_parts(samples, most)}
    first = {part: next(data) for part, data in in_parts(samples, most)}
    for part, size in sizes_of.items():
        after = part._replace(part=part.part + 1)
        assert after not in first or size + len(first[after]) > most


def test_members_are_those_that_tar_itself_writes() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("a.json")
        info.size = 700
        archive.addfile(info, io.BytesIO(b"x" * 700))
    assert target.getvalue().startswith(member("a.json", b"x" * 700) + END)
