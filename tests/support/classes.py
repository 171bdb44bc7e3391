"""Classes of several sizes, some of them larger than a chunk."""

from __future__ import annotations

from udfs.density import pca

WIDTH = 16
SIZES = {"alike": 2 * pca.BLOCK, "small": 40, "ünits": 3 * pca.BLOCK + 3, "one": 1}
CUT = ("alike", "ünits")  # with groups of one block
