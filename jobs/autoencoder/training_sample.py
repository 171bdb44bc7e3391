"""The images that the autoencoder is trained on, brought to the driver a partition at a time.

The driver holds their pixels once: in memory or, if they are many, in a temporary file that is
mapped into memory, so that a sample may be larger than the memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import JobError
from jobs.settings.autoencoder import Train
from jobs.warehouse.partitioning import streamed
from udfs.autoencoder.model import PIXELS

# A larger sample is kept in a file: 2 GiB, 174,762 images. The driver's Python has up to 4 GiB
# (docs/operations.md, "A cluster").
IN_MEMORY = 2 << 30


def sample(images: DataFrame, settings: Train, in_memory: int = IN_MEMORY) -> NDArray[np.uint8]:
    """Return the pixels (n, PIXELS) of at most `train.sample` images.

    The images are those of the split "train" if there is one, else all; they are ordered by a
    seeded hash of their ids, and the first ones are taken.

    Args:
        images: the table `images`.
        settings: the section [train].
        in_memory: so many bytes are kept in memory; more are kept in a temporary file.

    Raises:
        JobError: an id occurs twice, or there is no room for the temporary file.

    """
    if not images.where("split = 'train'").isEmpty():
        images = images.where("split = 'train'")
    chosen = drawn_ids(images, settings)
    matrix = empty_matrix(chosen.num_rows, in_memory)
    ranks = images.sparkSession.createDataFrame(chosen)
    rows = images.select("image_id", "pixels").join(F.broadcast(ranks), on="image_id", how="inner")
    count = 0
    for row in streamed(rows.select("rank", "pixels")):
        matrix[row.rank] = np.frombuffer(row.pixels, np.uint8)
        count += 1
    if count != len(matrix):
        raise JobError(
            f"the table images has {count:,} rows for {len(matrix):,} ids that training drew: give "
            "every image an id of its own, and run ./spark-submit.sh ingest --overwrite ingest"
        )
    return matrix


def drawn_ids(images: DataFrame, settings: Train) -> pa.Table:
    """Return the ids of the sample, and each one's `rank`: the row of the matrix."""
    draw = F.sha2(F.concat_ws("|", F.lit(settings.seed), "image_id"), 256)
    # Only ids are sorted: a sort that carries the pixels of all images would move gigabytes.
    chosen = images.select("image_id", draw.alias("draw")).orderBy("draw", "image_id")
    ids = chosen.limit(settings.sample).select("image_id").toArrow()
    return ids.append_column("rank", pa.array(range(ids.num_rows), pa.int64()))


def empty_matrix(images: int, in_memory: int = IN_MEMORY) -> NDArray[np.uint8]:
    """Return a matrix (images, PIXELS) to write to, in a temporary file if it is larger.

    The file has no name: the system deletes it when the process ends, however it ends.
    """
    size = images * PIXELS
    if size <= in_memory:
        return np.empty((images, PIXELS), np.uint8)
    with tempfile.TemporaryFile() as file:
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # Else a full disk would end the process by a signal, when a page is written.
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as refused:
            raise JobError(
                f"the sample of {images:,} images takes {size / 1e9:,.1f} GB in "
                f"{tempfile.gettempdir()}: {refused.strerror}; lower train.sample, or set TMPDIR "
                "to a larger folder of the driver"
            ) from refused
        mapped = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapped, np.uint8).reshape(images, PIXELS)
