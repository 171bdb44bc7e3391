"""Read the vectors of a table together with the images that they were computed from.

Use it for a source that holds both (`ingest.vector_column` and `ingest.image_column`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from jobs.acquisition.candidate_reader import CandidateReader
from jobs.acquisition.image_reader import ImageReader
from jobs.acquisition.vector_reader import VectorReader


@dataclass(frozen=True)
class PairReader(CandidateReader):
    """Accepts rows with a usable vector and an image that can be decoded whole.

    An image's sha256 is that of its vector, by which `encode` finds the vector again; what its
    pixels are is in `pixels_sha256`.
    """

    vectors: VectorReader
    images: ImageReader

    def image_rows(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """Turn candidates into rows of `images`; leave out those that lack either."""
        place = schema.get_field_index("sha256")
        for batch in batches:
            rows, digests = self.vectors.usable(batch)
            usable = batch.take(pa.array(rows))
            digest_of = dict(zip(usable.column("image_id").to_pylist(), digests, strict=True))
            for decoded in self.images.image_rows([usable], schema):
                own = [digest_of[name] for name in decoded.column("image_id").to_pylist()]
                yield decoded.set_column(place, schema.field(place), pa.array(own, pa.string()))

    def examine(self, batch: pa.RecordBatch) -> Iterator[tuple[str, tuple[str, str] | None]]:
        """Check each candidate's vector, and then decode its image."""
        pairs = zip(self.vectors.examine(batch), self.images.examine(batch), strict=True)
        for (digest, bad_vector), (_, bad_image) in pairs:
            yield digest, bad_vector or bad_image
