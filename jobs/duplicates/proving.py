"""What a run needs to decide by rules that ask for a proof: pictures, and alignments to reuse.

Use `Proving` on the driver. The pairs that one step tried are stored in the table `alignments`
before the next step begins, so that it finds them known, and before the selection is written.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.duplicates.alignments import KNOWN, StoredAlignments, with_known
from jobs.duplicates.candidates import with_places
from jobs.duplicates.pictures import PICTURES, contents, pictures
from jobs.duplicates.rules import Proofs
from jobs.runtime import session
from jobs.runtime.stage import StageRun
from jobs.warehouse import partitioning, tables

Exhausted = Counter[tuple[str, str]]  # images by space and rule
PICTURE = tuple(name for name in PICTURES.names if name != "image_id")
# The columns of candidates that tasks need, as `proof_tasks.group_proofs` describes them.
CANDIDATE = (
    "image_id",
    "label",
    "group",
    "reference_mask",
    "pending_mask",
    "latent",
    "place",
    *PICTURE,
    *KNOWN,
)


class Proving:
    """The proofs of one run.

    exhausted: how many kept images used up their tries, of all that is decided so far.
    """

    def __init__(self, stage_run: StageRun, proofs: Proofs, stack: ExitStack) -> None:
        """Proofs of a stage; what is kept on the executors' disks is released with `stack`."""
        self.exhausted: Exhausted = Counter()
        self._stage_run = stage_run
        self._stack = stack
        self._pictures = pictures(stage_run)
        self._contents = contents(stage_run)
        self._stored = StoredAlignments(stage_run, proofs.orientations)

    def prepared(self, candidates: DataFrame) -> DataFrame:
        """Candidates with their place and their picture, which is null where there is none."""
        settings = self._stage_run.settings
        with_removed = settings.prune.mode == "append" or settings.leaks.remove
        placed = with_places(candidates, settings.prune, with_removed=with_removed)
        return placed.join(self._pictures, on="image_id", how="left")

    def known_pairs(self) -> DataFrame | None:
        """Rows of `alignments` that hold for the pictures of this run; None where there are none.

        They include those that this run has stored so far.
        """
        return self._stored.pairs(self._contents)

    def known_on_disk(self) -> DataFrame | None:
        """The `known_pairs`, computed once and kept on the executors' disks."""
        pairs = self.known_pairs()
        return None if pairs is None else self._kept(pairs)

    def with_known(self, rows: DataFrame) -> DataFrame:
        """Images with the columns KNOWN."""
        return with_known(rows, self.known_pairs())

    def stored(self, outcomes: DataFrame) -> DataFrame:
        """Compute rows of OUTCOMES, store their pairs, and return their rows of `selection`."""
        computed = self._kept(outcomes)
        # The first query computes all of it, by as many tasks as there are; each of the fewer ones
        # that write the tables writes a file.
        exhausted = computed.where("kept AND exhausted").groupBy("space", "rule").count()
        self.exhausted.update(
            {(row["space"], row["rule"]): row["count"] for row in exhausted.collect()}
        )
        spark = self._stage_run.spark
        computed = computed.coalesce(partitioning.TASKS_A_SLOT * session.slots(spark))
        self.store_pairs(computed)
        return computed.where(F.col("kept").isNotNull()).select(
            tables.TABLES["selection"].schema.names
        )

    def store_pairs(self, outcomes: DataFrame) -> None:
        """Store the rows with an `other_id`; pairs of pictures without content are not reusable."""
        pairs = outcomes.where(F.col("other_id").isNotNull())
        self._stored.add(pairs.where("image_content IS NOT NULL AND other_content IS NOT NULL"))

    def _kept(self, rows: DataFrame) -> DataFrame:
        """Rows that are computed once, and kept on the executors' disks until the stack ends."""
        persisted = rows.persist(StorageLevel.DISK_ONLY)
        self._stack.callback(persisted.unpersist)
        return persisted

    def finish(self) -> None:
        """Say that all alignments are stored."""
        self._stored.finish()
