"""Vectors that are brought along together with their images: proof without a model."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.autoencoder import encode
from jobs.duplicates import prune
from jobs.errors import SettingsError
from jobs.runtime.run import Run
from jobs.settings.load import build
from tests.support.scenes import scene, similarity, view
from tests.support.session import settings_for

FLAGS = (
    "ingest.source=parquet",
    "ingest.vector_column=embedding",
    "ingest.image_column=picture",
    "ingest.id_column=id",
    "ingest.label_column=class",
    "prune.space=raw",
    "prune.candidates=0.9",
    "publish.rule=overlap:0.7",
)
WIDTH, SCENES = 6, 8
OWN = similarity(1.2, 0, (0, 0))
Record = dict[str, Any]


def png(seed: int, shift: float) -> bytes:
    """A scene as a camera sees it from a place some pixels to the side."""
    moved = OWN + np.array([[0, 0, shift], [0, 0, 0]])
    grey = view(scene(seed), moved)
    file = io.BytesIO()
    Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(file, "PNG")
    return file.getvalue()


def rows() -> list[Record]:
    """Two views of each scene, whose vectors are near each other; all scenes' vectors are alike."""
    draw = np.random.default_rng(3)
    found = []
    for seed in range(SCENES):
        vector = 1 + 0.1 * draw.normal(size=WIDTH)
        for name, shift in (("a", 0.0), ("b", 6.0)):
            found.append(record(f"{seed}{name}", vector + 0.01 * shift, png(seed, shift)))
    return found


def record(name: str, vector: Any, picture: bytes | None) -> Record:
    return {"id": name, "class": "field", "embedding": [*vector], "picture": picture}


def save(folder: Path, records: list[Record]) -> Path:
    folder.mkdir(exist_ok=True)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("class", pa.string()),
            ("embedding", pa.list_(pa.float32())),
            ("picture", pa.binary()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(records, schema=schema), folder / "part.parquet")
    return folder


@pytest.fixture(scope="module")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`ingest`, `encode` and `prune` of pairs; three rows cannot be used."""
    folder = tmp_path_factory.mktemp("pairs")
    bad = [
        record("broken", np.ones(WIDTH), b"not a picture"),
        record("missing", np.ones(WIDTH), None),
        record("short", np.ones(WIDTH - 1), png(0, 1.0)),
    ]
    table = save(folder / "table", rows() + bad)
    rules = "prune.thresholds=['overlap:0.9', 'overlap:0.7']"
    settings = settings_for(table, folder / "warehouse", *FLAGS, rules)
    run = Run(spark, settings, "pipeline")
    for stage in (ingest.STAGE, encode.STAGE, prune.STAGE):
        run = Run(spark, settings, stage.name)
        run.execute(stage)
    return run


def test_rows_become_images_with_pixels_and_latents(finished: Run) -> None:
    images = {row.image_id: row for row in finished.warehouse.read("images").collect()}
    latents = {row.image_id: row for row in finished.warehouse.read("latents").collect()}
    given = {row["id"]: row for row in rows()}
    assert images.keys() == latents.keys() == given.keys()
    for name, row in given.items():
        vector = np.array(row["embedding"], "<f4")
        assert latents[name].latent == vector.tolist()
        digest = hashlib.sha256(vector.tobytes()).hexdigest()
        assert images[name].sha256 == latents[name].sha256 == digest
        decoded = np.asarray(Image.open(io.BytesIO(row["picture"])).convert("RGB"))
        np.testing.assert_array_equal(
            np.frombuffer(images[name].pixels, np.uint8), decoded.reshape(-1)
        )
        assert (images[name].width, images[name].height) == (64, 64)
    assert len({images[name].pixels_sha256 for name in images}) == len(given)


def test_what_lacks_either_is_rejected_with_the_reason(finished: Run) -> None:
    rejects = {row.image_id: row for row in finished.warehouse.read("rejects").collect()}
    assert rejects.keys() == {"broken", "missing", "short"}
    assert rejects["short"].error_code == "bad_vector"
    assert rejects["broken"].error_code not in ("bad_vector", "changed")
    assert rejects["missing"].error_code not in ("bad_vector", "changed")


def test_removals_are_proved(finished: Run) -> None:
    """The vectors of all scenes are alike; only the two views of one are near-copies."""
    selection = finished.warehouse.read("selection").where("rule = 'overlap:0.7'").collect()
    removed = {row.image_id: row for row in selection if not row.kept}
    assert {name: row.kept_id for name, row in removed.items()} == {
        f"{seed}b": f"{seed}a" for seed in range(SCENES)
    }
    for row in removed.values():
        assert abs(row.shift_x - 6 / 1.2) < 0.3
        assert row.agreement > 0.5
    tried = finished.warehouse.read("alignments").count()
    assert tried > 3 * SCENES


def test_a_table_without_the_column_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    table = save(tmp_path / "table", rows()[:2])
    settings = settings_for(table, tmp_path / "w", *FLAGS, "ingest.image_column=photo")
    with pytest.raises(
        SettingsError, match=r"'photo': the table has no such column; .*; leave it empty if vectors"
    ):
        Run(spark, settings, "ingest").execute(ingest.STAGE)


def test_overlap_rules_need_the_images() -> None:
    assert build({}, FLAGS).prune.overlaps  # by default
    alone = [flag for flag in FLAGS if "image_column" not in flag]
    assert not build({}, alone).prune.overlaps
    with pytest.raises(SettingsError, match=r"name the images in ingest\.image_column as well"):
        build({}, [*alone, 'prune.thresholds=["overlap:0.7"]'])
