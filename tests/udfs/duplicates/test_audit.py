"""The audit's own cosines, and the pairs that it finds above T."""

from __future__ import annotations

import numpy as np

from tests.support.vectors import sim, spectral
from udfs.duplicates import audit

THRESHOLD = 0.9


def test_cosines_and_who_resembles_whom() -> None:
    rows = spectral(700, 20, 1)
    rows[3] = 0
    sample = rows[:40]
    i, j, cosine = audit.pairs_above(sample, rows, THRESHOLD)
    found = dict(zip(zip(i.tolist(), j.tolist(), strict=True), cosine.tolist(), strict=True))
    for a in range(40):
        for b in range(0, 700, 7):
            true = sim(sample[a], rows[b])
            assert ((a, b) in found) == (true > THRESHOLD)
            if (a, b) in found:
                assert abs(found[a, b] - true) < audit.TOLERANCE
    assert np.isnan(audit.cosines(rows[3:4], rows[:1])).all()
    assert abs(audit.cosines(rows[:1], rows[1:2])[0] - sim(rows[0], rows[1])) < audit.TOLERANCE
    assert audit.pairs_above(sample, rows[:0], THRESHOLD)[0].shape == (0,)
