"""Encode pixels on the executors, by Arrow or as a pandas UDF, with one model for each worker.

These functions stand in a module of their own, which workers import. Functions of the module
`__main__` are pickled by value, and their cache of encoders would be a new one in every task.
Only what runs in a task imports torch: the driver, which sends the functions, needs none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import Column
from pyspark.sql.pandas.functions import pandas_udf

from jobs.errors import JobError
from udfs import arrow
from udfs.acquisition.decode import PIXELS

if TYPE_CHECKING:
    from udfs.autoencoder.model import Encoder

# The overloads of pandas_udf for type checkers do not cover iterators of series.
_pandas_udf: Any = pandas_udf
ISA = "ONEDNN_MAX_CPU_ISA"  # the environment variable that limits oneDNN's instruction set
_encoders: dict[tuple[str, int, str, int, int], Encoder] = {}  # this worker's cache


class EncoderTask:
    """The bytes of a weights file, sent to the workers, which make the encoder of them.

    platform: what the latents will be said to be encoded on; a worker that is of another kind
        refuses. None: that is not checked.
    """

    def __init__(
        self,
        weights: bytes,
        model_id: str,
        batch: int,
        device: str,
        orientations: int = 1,
        platform: str | None = None,
    ) -> None:
        self.weights = weights
        self.model_id = model_id
        self.batch = batch
        self.device = device
        self.orientations = orientations
        self.platform = platform

    def pandas(self) -> Callable[[Column], Column]:
        """Return a pandas UDF from binary pixels to array<float>; null for a latent not finite."""

        def encode(parts: Iterator[pd.Series]) -> Iterator[pd.Series]:
            run = self.encoder()
            for pixels in parts:
                latents = run(arrow.series_matrix(pixels, PIXELS))
                yield arrow.list_series(latents, _finite(latents))

        return _column_function(_pandas_udf(encode, "array<float>"))

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn rows with pixels into rows of `latents`, without those whose latent is not finite.

        The columns that `latents` has beside the latent must be among those of the batches.
        """
        run = self.encoder()
        for batch in batches:
            latents = run(arrow.binary_matrix(batch.column("pixels"), PIXELS))
            columns = {name: batch.column(name) for name in schema.names if name != "latent"}
            finite = _finite(latents)
            columns["latent"] = arrow.list_column(latents, finite)
            yield arrow.record_batch(columns, schema).filter(pa.array(finite))

    def encoder(self) -> Encoder:
        """Return the worker's encoder. It is made once and kept between tasks.

        Raises JobError if the worker is of another kind than those that were asked before, such as
        one of an executor that came later.
        """
        from udfs.autoencoder.inference import encoder

        own = platform_name(self.device, self.orientations)
        if self.platform not in (None, own):
            raise JobError(unlike([own, str(self.platform)]))
        context = TaskContext.get()
        threads = context.cpus() if context else 1
        device = task_device(self.device)
        key = (self.model_id, self.batch, device, threads, self.orientations)
        if key not in _encoders:
            _encoders[key] = encoder(
                self.weights,
                device=device,
                batch=self.batch,
                threads=threads,
                orientations=self.orientations,
            )
        return _encoders[key]


def _finite(latents: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The rows without NaN and infinity, as a mask (n,).

    It is tested here, since Spark would take as long for it as for the exchange of the rows.
    """
    return np.asarray(np.isfinite(latents).all(axis=1))


def platform_name(requested: str, orientations: int) -> str:
    """Name the device, the instruction set and, if there are several, the orientations.

    Args:
        requested: the setting `encode.device`.
        orientations: the setting `encode.orientations`.

    """
    from udfs.autoencoder.device import encoding_platform

    name = encoding_platform(task_device(requested), os.environ.get(ISA))
    return f"{name}, {orientations} orientations" if orientations > 1 else name


def platform_of(requested: str, orientations: int) -> Callable[[Column], Column]:
    """Return a UDF with the `platform_name` of the executor that evaluates it."""

    def platform(ids: pd.Series) -> pd.Series:
        return pd.Series([platform_name(requested, orientations)] * len(ids))

    return _column_function(_pandas_udf(platform, "string"))


def unlike(platforms: Iterable[str]) -> str:
    """Return the message that the executors differ."""
    return (
        f"the executors are of unlike kinds ({'; '.join(sorted(platforms))}), whose latents differ "
        f"in the last bits: encode on machines of one kind ({ISA} makes CPUs alike)"
    )


def task_device(requested: str) -> str:
    """Return the device for this task, given a setting such as `encode.device`.

    For "auto" it is the GPU that Spark assigned to the task, else any CUDA device, else the CPU.
    """
    from udfs.autoencoder.device import select_device

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    return select_device(requested, gpus.addresses[0] if gpus else None)


def _column_function(function: Any) -> Callable[[Column], Column]:
    # Spark pushes a filter below a deterministic function and then evaluates the function twice.
    return cast(Callable[[Column], Column], function.asNondeterministic())
