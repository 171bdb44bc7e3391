"""The table of proved pairs that are right, where the truth is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import agreement, proofs, truth


def test_tiles_that_lie_where_they_were_cut_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one photograph without repetition all that is proved is right; moved tiles are not."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)
    names = (f"town/{number}.jpg" for number in range(100))
    name = next(name for name in names if truth.half_of(name) == truth.FIGURES)
    target = tmp_path / "ucmerced" / name
    target.parent.mkdir(parents=True)
    picture.save(target, quality=95)
    pool = truth.pool(tmp_path, truth.FIGURES, 32)
    pairs = proofs.proposed(np.ones((len(pool), 1), np.float32), pool, 0.0)
    found = proofs.register(pool.pixels, pairs.first, pairs.second, 1)
    proofs.save(tmp_path / "kept.npz", pairs, found)
    command = ["agreement", str(tmp_path), str(tmp_path / "kept.npz")]
    monkeypatch.setattr(sys, "argv", command)
    agreement.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[2:5] for row in rows] == [["100.00%", "0", "0"]] * len(agreement.AGREEMENTS)
    assert int(rows[0][1]) > 50
    found.shift_x[:] += agreement.NEAR + 1
    proofs.save(tmp_path / "kept.npz", pairs, found)
    agreement.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert all(row[2] == "0.00%" and row[3] == row[1] for row in rows)
