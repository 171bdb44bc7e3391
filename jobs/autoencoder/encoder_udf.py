"""What executors do with pixels: one model a worker, in the exchange that the settings name.

Here and not in the job: a job is `__main__`, whose functions are pickled by value, and a cache of
theirs would be a new one in every task.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import Column
from pyspark.sql.pandas.functions import pandas_udf

from udfs import arrow
from udfs.autoencoder.device import encoding_platform, select_device
from udfs.autoencoder.inference import encoder
from udfs.autoencoder.model import PIXELS, Encoder

# Its overloads for type checkers do not know iterators of series.
_pandas_udf: Any = pandas_udf
ISA = "ONEDNN_MAX_CPU_ISA"
_encoders: dict[tuple[str, int, str, int, int], Encoder] = {}  # what this worker has made


class Encoding:
    """A weights file on its way to the workers; there, the encoder made of it."""

    def __init__(
        self, weights: bytes, model_id: str, batch: int, device: str, orientations: int = 1
    ) -> None:
        self.weights = weights
        self.model_id = model_id
        self.batch = batch
        self.device = device
        self.orientations = orientations

    def pandas(self) -> Callable[[Column], Column]:
        """Binary pixels to array<float>, by pandas; null where the latent is not finite."""

        def encode(parts: Iterator[pd.Series]) -> Iterator[pd.Series]:
            run = self.encoder()
            for pixels in parts:
                latents = run(arrow.series_matrix(pixels, PIXELS))
                yield arrow.list_series(latents, _finite(latents))

        return _column_function(_pandas_udf(encode, "array<float>"))

    def rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Rows with pixels to rows of `latents`, by Arrow; none where the latent is not finite."""
        run = self.encoder()
        for batch in batches:
            latents = run(arrow.binary_matrix(batch.column("pixels"), PIXELS))
            columns = {name: batch.column(name) for name in schema.names if name != "latent"}
            finite = _finite(latents)
            columns["latent"] = arrow.list_column(latents, finite)
            yield arrow.record_batch(columns, schema).filter(pa.array(finite))

    def encoder(self) -> Encoder:
        """The worker's encoder: made once, kept between tasks."""
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
    """Rows without NaN and infinity; Spark itself takes as long for that as for the exchange."""
    return np.asarray(np.isfinite(latents).all(axis=1))


def place_of(requested: str) -> Callable[[Column], Column]:
    """Device and instruction set of the executor that evaluates the column."""

    def place(ids: pd.Series) -> pd.Series:
        name = encoding_platform(task_device(requested), os.environ.get(ISA))
        return pd.Series([name] * len(ids))

    return _column_function(_pandas_udf(place, "string"))


def task_device(requested: str) -> str:
    """The GPU that Spark gave the task, else CUDA where there is one, else the CPU."""
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    return select_device(requested, gpus.addresses[0] if gpus else None)


def _column_function(function: Any) -> Callable[[Column], Column]:
    # A filter behind a deterministic function is pushed in front of it, with a second copy of it.
    return cast(Callable[[Column], Column], function.asNondeterministic())
