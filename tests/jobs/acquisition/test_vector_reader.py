"""Vectors that a table brings along: no pixels, no model, and all later steps as for images."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row, SparkSession

from jobs.acquisition import ingest
from jobs.autoencoder import encode, train
from jobs.errors import JobError, SettingsError
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse.store import open_store
from tests.support.session import Runner, settings_for
from udfs.vectors import cosine

WIDTH = 12
LABELS = ("field", "shore", "town")
FLAGS = (
    "ingest.source=parquet",
    "ingest.vector_column=embedding",
    "ingest.vector_name=clip",
    "ingest.id_column=id",
    "ingest.label_column=class",
    "prune.thresholds=[0.999, 0.9]",
    "prune.space=raw",
    "publish.rule=fixed:0.9",
    f"estimate.components={WIDTH + 2}",
)


Record = dict[str, Any]


def good_rows() -> list[Record]:
    """66 vectors a class around a few centres; every third is a near-copy of the one before."""
    draw = np.random.default_rng(5)
    rows: list[Record] = []
    for label in LABELS:
        centres = draw.normal(size=(8, WIDTH))
        for place in range(66):
            vector = centres[draw.integers(8)] + 0.2 * draw.normal(size=WIDTH)
            if place % 3 == 2:
                vector = np.array(rows[-1]["embedding"]) + 1e-4
            rows.append(record(f"{label}/{place:02}", label, vector.tolist(), place / 4))
    return rows


def record(name: str | None, label: str | None, vector: Any, score: float = 0.0) -> Record:
    return {"id": name, "class": label, "embedding": vector, "score": score}


def replaced(place: int, value: float | None) -> list[float | None]:
    return [value if i == place else float(i) for i in range(WIDTH)]


SHORT = "the vector holds 7 numbers, most of the table's hold 12: give vectors of one model"
BAD = [
    (record("null", "town", None), "bad_vector", "fill the column that ingest.vector_column names"),
    (record("none", "town", []), "bad_vector", "the vector holds no numbers"),
    (record("short", "town", [1.0] * 7), "bad_vector", SHORT),
    (record("long", "town", [1.0] * 13), "bad_vector", "holds 13 numbers"),
    (record("hole", "town", replaced(2, None)), "bad_vector", "number 3 of the vector is null"),
    (record("nan", "town", replaced(0, math.nan)), "bad_vector", "number 1 of the vector is NaN"),
    (record("inf", "town", replaced(11, -math.inf)), "bad_vector", "number 12 .* is infinite"),
    (record("big", "town", replaced(1, 1e39)), "bad_vector", r"1e\+39, more than float32 holds"),
    (record("lost", None, replaced(1, 5.0)), "missing_label", "it has no class"),
    (record(None, "town", replaced(1, 6.0)), "missing_label", "the row has no id"),
]


def save(folder: Path, rows: list[Record], kind: pa.DataType | None = None) -> Path:
    """Two files of a table, as pyarrow writes them."""
    folder.mkdir(exist_ok=True)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("class", pa.string()),
            ("embedding", pa.list_(kind or pa.float64())),
            ("score", pa.float64()),
        ]
    )
    for part in range(2):
        table = pa.Table.from_pylist(rows[part::2], schema=schema)
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def twins() -> list[Record]:
    """Three rows with the same id: two with the same vector, one with another."""
    first, other = replaced(1, 7.0), replaced(1, 8.0)
    return [record("twin", "field", vector) for vector in (first, first, other)]


def digest(vector: Any) -> str:
    return hashlib.sha256(np.asarray(vector, "<f4").tobytes()).hexdigest()


def as_stored(vector: Any) -> list[float]:
    stored: list[float] = np.array(vector, np.float32).tolist()
    return stored


def latents_of(run: Run) -> dict[str, Row]:
    return {row.image_id: row for row in run.warehouse.read("latents").collect()}


def versions(run: Run) -> dict[str, int]:
    warehouse = open_store(run.spark, run.warehouse.root)
    return {name: warehouse.version(name) for name in ("images", "latents", "selection", "curated")}


@pytest.fixture(scope="module")
def finished(run_pipeline: Runner, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pipeline over vectors; tests read it and do not change it."""
    folder = tmp_path_factory.mktemp("vectors")
    rows = good_rows() + [row for row, _, _ in BAD] + twins()
    return run_pipeline(save(folder / "table", rows), folder / "warehouse", *FLAGS)


def test_latents_are_the_vectors_of_the_table(finished: Run) -> None:
    expected = {row["id"]: row["embedding"] for row in good_rows()}
    expected["twin"] = min((row["embedding"] for row in twins()), key=digest)
    found = latents_of(finished)
    assert found.keys() == expected.keys()
    for name, vector in expected.items():
        row = found[name]
        assert row.latent == as_stored(vector)
        assert row.sha256 == digest(vector)
        assert (row.model_id, row.encoded_on, row.split) == ("clip", "given", None)


def test_unusable_vectors_are_rejected_with_the_reason(finished: Run) -> None:
    rejects = finished.warehouse.read("rejects").collect()
    assert {row.stage for row in rejects} == {"ingest"}
    twice = [row for row in rejects if row.image_id == "twin"]
    assert [row.error_code for row in twice] == ["duplicate_id"] * 2
    others = {row.image_id: row for row in rejects if row.image_id != "twin"}
    assert others.keys() == {row["id"] for row, _, _ in BAD}
    for row, code, message in BAD:
        assert others[row["id"]].error_code == code
        assert re.search(message, others[row["id"]].error_message)


def test_selection_is_the_greedy_cover_of_the_vectors(finished: Run) -> None:
    latents = {name: np.array(row.latent, np.float32) for name, row in latents_of(finished).items()}
    selection = finished.warehouse.read("selection").collect()
    assert {row.kept for row in selection if row.threshold == 0.999} == {True, False}
    for threshold in (0.999, 0.9):
        for label in LABELS:
            rows = [r for r in selection if (r.label, r.threshold) == (label, threshold)]
            kept: list[str] = []
            for row in sorted(rows, key=lambda row: row.image_id.encode()):
                alike = (
                    (name, cosine.exact_similarity(latents[row.image_id], latents[name]))
                    for name in kept
                )
                first = next((pair for pair in alike if pair[1] > threshold), (None, None))
                assert (row.kept_id, row.similarity) == first
                kept += [row.image_id] if row.kept else []
    assert len(selection) == 2 * len(latents)


def test_curated_has_the_callers_columns_and_no_picture(finished: Run) -> None:
    images = finished.warehouse.read("images")
    assert "embedding" not in images.columns
    assert images.where("pixels IS NOT NULL OR path IS NOT NULL OR width > 0").isEmpty()
    scores = {row["id"]: row["score"] for row in good_rows()} | {"twin": 0.0}
    curated = finished.warehouse.read("curated")
    assert not {"pixels", "embedding", "_vector"} & set(curated.columns)
    assert {row.image_id: row.score for row in curated.collect()} == {
        row.image_id: scores[row.image_id]
        for row in finished.warehouse.read("selection").where("kept AND threshold = 0.9").collect()
    }


def test_more_components_than_a_vector_has_numbers(finished: Run) -> None:
    axes = finished.warehouse.read("axes").where("label = 'town'").orderBy("component").collect()
    assert [row.component for row in axes] == list(range(1, WIDTH + 1))
    for row in finished.warehouse.read("projections").collect():
        assert row.components[WIDTH:] == [None, None]
        assert math.isfinite(row.log_density)


def test_no_model_takes_part(finished: Run) -> None:
    stages = {row.stage for row in finished.warehouse.read("runs").collect()}
    assert "train" not in stages
    assert not Path(finished.warehouse.root, "models").exists()
    summary = json.loads(Path(finished.warehouse.root, "report/summary.json").read_text())
    assert "vectors brought along: clip" in summary["versions"]


def test_the_same_command_again_does_nothing(finished: Run, run_pipeline: Runner) -> None:
    before = versions(finished)
    place = Path(finished.settings.images)
    again = run_pipeline(place, Path(finished.warehouse.root), *FLAGS)
    rows = again.warehouse.read("runs").where(f"run_id = '{again.run_id}'").collect()
    assert {row.state for row in rows} == {"skipped"}
    assert versions(again) == before


def small_rows() -> list[Record]:
    draw = np.random.default_rng(6)
    return [record(str(place), "cat", draw.normal(size=3).tolist()) for place in range(8)]


def test_a_changed_vector_replaces_the_stored_one(spark: SparkSession, tmp_path: Path) -> None:
    """Vectors of 3 float32: one has changed, one is gone, one is repaired and one is new."""
    rows = [*small_rows(), record("mended", "cat", [1.0, math.nan, 2.0])]

    def settings(*flags: str) -> Settings:
        return settings_for(tmp_path / "table", tmp_path / "warehouse", *FLAGS, *flags)

    def latents() -> dict[str, list[float]]:
        run = Run(spark, settings(), "pipeline")
        run.execute(ingest.STAGE)
        run.execute(encode.STAGE)
        return {row.image_id: row.latent for row in run.warehouse.read("latents").collect()}

    def as_float32(rows: list[Record]) -> dict[str, list[float]]:
        return {row["id"]: as_stored(row["embedding"]) for row in rows}

    save(tmp_path / "table", rows, pa.float32())
    assert latents() == as_float32(rows[:-1])
    rows[0]["embedding"] = [1.0, 2.0, 3.0]
    gone = rows.pop(1)
    rows[-1]["embedding"] = [3.0, 4.0, 5.0]
    rows.append(record("new", "dog", [0.0, 0.0, 0.0]))
    save(tmp_path / "table", rows, pa.float32())
    with pytest.raises(JobError, match="is not what ingest read"):
        Run(spark, settings("ingest.vector_name=other"), "encode").execute(encode.STAGE)
    assert latents() == as_float32(rows)
    run = Run(spark, settings(), "x")
    rejects = run.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [(gone["id"], "vanished")]
    with pytest.raises(JobError, match="made of vectors, and a model encodes pixels"):
        Run(spark, settings("ingest.vector_column="), "train").execute(train.STAGE)


def test_a_column_of_another_type_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    texts = [row | {"embedding": ["0.5", "0.25"]} for row in small_rows()]
    save(tmp_path / "table", texts, pa.string())
    settings = settings_for(tmp_path / "table", tmp_path / "warehouse", *FLAGS)
    with pytest.raises(SettingsError, match=r"is array<string>; expected an array of numbers"):
        Run(spark, settings, "ingest").execute(ingest.STAGE)


def test_one_message_holds_all_settings_that_contradict_vectors() -> None:
    flags = ("ingest.vector_column=v", "ingest.tile=64", "train.model=m", 'ingest.vector_name=""')
    with pytest.raises(SettingsError) as caught:
        build({}, flags)
    told = str(caught.value)
    for part in (
        "vector_column: needs ingest.source",
        "needs ingest.id_column",
        "ingest.tile: cuts frames",
        "train.model: encodes pixels",
        "ingest.vector_name = '': must not be empty",
    ):
        assert part in told
    assert len(told.splitlines()) == 5


@pytest.mark.parametrize(
    ("job", "told"), [("train", "nothing to train"), ("encode", "--images PATH is missing")]
)
def test_single_jobs_say_why_they_cannot_run_on_vectors(job: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, FLAGS, job=job)
