from __future__ import annotations

import pytest

from jobs.runtime import long_writes


class Work:
    """A clock that runs by so many seconds for each range of a part."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 100.0

    def done(self, ranges: int, first: int) -> list[tuple[int, int]]:
        """The parts of so many ranges."""
        parts = []
        for begin, end in long_writes.parts(ranges, first, lambda: self.now):
            parts.append((begin, end))
            self.now += self.seconds * (end - begin)
        return parts


@pytest.mark.parametrize("ranges", [1, 2, 9, 1000])
@pytest.mark.parametrize("first", [1, 7, 1000])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 100.0])
def test_parts_cover_all_ranges_in_their_order(ranges: int, first: int, seconds: float) -> None:
    parts = Work(seconds).done(ranges, first)
    assert parts[0][0] == 0
    assert parts[-1][1] == ranges
    assert all(begin < end for begin, end in parts)
    assert [begin for begin, _ in parts[1:]] == [end for _, end in parts[:-1]]


def test_a_part_takes_half_a_minute_or_a_tenth_of_the_time_so_far() -> None:
    # 2,000 s in all, 2 s a range.
    parts = Work(2.0).done(1000, 5)
    assert parts[:3] == [(0, 5), (5, 20), (20, 35)]
    for begin, end in parts[1:-1]:
        assert 2.0 * (end - begin) <= max(30.0, 0.1 * 2.0 * begin) + 2.0
    (begin, end) = parts[-1]
    assert 2.0 * (end - begin) <= 1.5 * max(30.0, 0.1 * 2.0 * begin) + 2.0
    assert len(parts) < 35


def test_a_short_rest_joins_the_part_before() -> None:
    # The first part takes 15 s and the second one 30 s, so that 10 s would be left.
    assert Work(1.0).done(55, 15) == [(0, 15), (15, 55)]
    assert Work(1.0).done(61, 15) == [(0, 15), (15, 45), (45, 61)]
