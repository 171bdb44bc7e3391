"""The comparison of a settled window with all images that follow it, as tasks on the executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast

from jobs.duplicates.rules import Rules
from jobs.warehouse import arrow_frames
from udfs import arrow
from udfs.duplicates import greedy
from udfs.duplicates.cover_search import Cover, Flags
from udfs.vectors.cosine import Matrix

# What is decided by a rule. An image that is kept has the similarity NaN and the kept_rank -1.
DECISIONS = arrow_frames.struct("rule string, rank bigint, kept_rank bigint, similarity double")


@dataclass(frozen=True)
class WindowOfKept:
    """The images of a window that some rule keeps, on their way to the executors.

    ranks: (n,), of the images in their group, rising. vectors: (n, width).
    reference_mask: (rules, n), by which rules each is kept.
    """

    ranks: NDArray[np.int64]
    vectors: Matrix
    reference_mask: Flags


@dataclass(frozen=True)
class WindowScan:
    """Images of a group against the kept images of a window that comes before them."""

    rules: Rules
    group: str
    kept: Broadcast[WindowOfKept]

    def removals(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows with `rank`, `open` and `latent` to the rows of DECISIONS that remove.

        open: the bytes of the image's pending mask, the lowest first.
        """
        kept = self.kept.value
        reference: greedy.Reference | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            if reference is None:
                reference = greedy.Reference(
                    kept.vectors,
                    self.rules.values(self.group),
                    kept.reference_mask,
                    self.rules.task_device(),
                )
            masks = arrow.masks(batch.column("open"))
            covers = reference.against(
                arrow.float_matrix(batch.column("latent")),
                self.rules.flags(masks),
                block=self.rules.block,
            )
            ranks = batch.column("rank").to_numpy()
            yield arrow.record_batch(removals(self.rules, ranks, covers, kept.ranks), schema)


def removals(
    rules: Rules, ranks: NDArray[np.int64], covers: Sequence[Cover], keepers: NDArray[np.int64]
) -> dict[str, Any]:
    """The columns of DECISIONS: what covers of images remove.

    ranks: (n,), of the images. covers: one for each rule. keepers: the ranks of the images to which
    `Cover.keeper` points.
    """
    columns: dict[str, list[Any]] = {"rule": [], "rank": [], "kept_rank": [], "similarity": []}
    for rule, cover in zip(rules.names, covers, strict=True):
        removed = np.flatnonzero(cover.keeper >= 0)
        columns["rule"].append(np.full(len(removed), rule))
        columns["rank"].append(ranks[removed])
        columns["kept_rank"].append(keepers[cover.keeper[removed]])
        columns["similarity"].append(cover.similarity[removed])
    return {name: np.concatenate(parts) for name, parts in columns.items()}
