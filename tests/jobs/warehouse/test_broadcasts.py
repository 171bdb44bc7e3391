"""Objects with arrays reach the executors, encrypted or not."""

from __future__ import annotations

import pickle

import numpy as np

from jobs.warehouse.broadcasts import _AsBytes


class Stream:
    """A stream that asks what it is to write for its length, as PySpark's encrypting one does."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        assert len(data) >= 0
        self.data += bytes(data)


def test_an_object_becomes_bytes_and_itself_again() -> None:
    rows, names = np.arange(400_000, dtype=np.float32).reshape(2, -1), ["a", "ü"]
    stream = Stream()
    pickle.dump(_AsBytes((rows, names)), stream, pickle.HIGHEST_PROTOCOL)
    again = pickle.loads(stream.data)
    assert np.array_equal(again[0], rows)
    assert again[1] == names
