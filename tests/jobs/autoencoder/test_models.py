"""Models in the warehouse: stored whole, found by their settings, and checked when read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.autoencoder import models, train
from jobs.errors import JobError, MissingError
from jobs.runtime.stage import RunContext
from jobs.settings.autoencoder import SHIPPED
from jobs.settings.load import build
from jobs.warehouse.files import LocalFiles
from udfs.autoencoder import shipped, weights


def warehouse_at(folder: Path, vectors: bool = False) -> Any:
    """A warehouse of models alone; `images` holds pixels unless it was made of vectors."""
    commit = SimpleNamespace(metadata={"vectors": "clip"} if vectors else {})
    return SimpleNamespace(files=LocalFiles(folder), newest=lambda table, stage: commit)


def test_the_newest_model_of_the_same_settings_is_found(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path)
    settings = build({}, ["train.epochs=3"])
    with pytest.raises(MissingError, match="no model of these settings"):
        models.current(warehouse, settings)
    training = models.training_fingerprint(settings)
    for data, fingerprint, day in ((b"a", training, 1), (b"b", training, 3), (b"c", "other", 5)):
        about = {"fingerprint": fingerprint, "trained_at": f"2026-01-0{day}"}
        models.store(warehouse, data, about)
    (tmp_path / "models/broken").mkdir()
    (tmp_path / "models/broken/model.json").write_text("{")
    found = models.current(warehouse, settings)
    assert (found.model_id, found.weights) == (weights.model_id(b"b"), b"b")
    assert models.training_fingerprint(build({}, ["train.epochs=4"])) != training
    same = build({}, ["train.epochs=3", "ingest.layout=split/label"])
    assert models.training_fingerprint(same) == training


def test_the_same_weights_again_replace_the_description(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path)
    first = models.store(warehouse, b"data", {"fingerprint": "one"})
    again = models.store(warehouse, b"data", {"fingerprint": "two"})
    assert (again.model_id, again.weights) == (first.model_id, b"data")
    about = json.loads((tmp_path / "models" / first.model_id / "model.json").read_text())
    assert about == {"model_id": first.model_id, "fingerprint": "two"}
    assert [path.name for path in (tmp_path / "models").iterdir()] == [first.model_id]


def test_a_damaged_file_of_weights_is_refused(tmp_path: Path) -> None:
    model = models.store(warehouse_at(tmp_path), b"data", {})
    (tmp_path / "models" / model.model_id / models.WEIGHTS).write_bytes(b"Data")
    with pytest.raises(JobError, match="its sha256 differs"):
        _ = model.weights
    (tmp_path / "models" / model.model_id / models.WEIGHTS).unlink()
    with pytest.raises(
        JobError, match=r"weights.safetensors: the file is missing. Put .*--overwri"
    ):
        _ = model.weights


def test_a_given_model_is_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / models.WEIGHTS).write_bytes(b"data")
    assert models.read_given(str(tmp_path)) == b"data"
    assert models.read_given(str(tmp_path / models.WEIGHTS)) == b"data"
    with pytest.raises(JobError, match=r"train\.model = .*lost': No such file"):
        models.read_given(str(tmp_path / "lost"))


def test_a_shipped_model_that_is_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks into its tensors before the executors do."""
    data = models.read_given(SHIPPED)
    folder = tmp_path / shipped.FOLDER
    folder.mkdir()
    (folder / shipped.ABOUT).write_text(json.dumps({"sha256": weights.model_id(data)}))
    (folder / shipped.WEIGHTS).write_bytes(data)
    monkeypatch.setattr(shipped, "_file", lambda name: folder / name)
    assert models.read_given(SHIPPED) == data
    (folder / shipped.WEIGHTS).write_bytes(data[:-1])
    with pytest.raises(JobError, match=r"weights\.safetensors is damaged: .*: install"):
        models.read_given(SHIPPED)
    # Before any image is read.
    run = cast(RunContext, SimpleNamespace(settings=build({}, ["train.model=shipped"])))
    with pytest.raises(JobError, match=r"weights\.safetensors is damaged"):
        train.STAGE.before(run)


def test_vectors_have_no_pixels_for_a_model(tmp_path: Path) -> None:
    models.check_pixels(warehouse_at(tmp_path))
    with pytest.raises(JobError, match="was made of vectors, and a model encodes pixels"):
        models.check_pixels(warehouse_at(tmp_path, vectors=True))


def test_a_model_may_be_a_link_to_another_warehouses(tmp_path: Path) -> None:
    """Links that lead back to a folder above are passed over."""
    settings = build({}, ["train.model=trained"])
    about = {"fingerprint": models.training_fingerprint(settings), "trained_at": "2026-01-01"}
    model = models.store(warehouse_at(tmp_path / "first"), b"data", about)
    folder = tmp_path / "second/models"
    folder.mkdir(parents=True)
    (folder / model.model_id).symlink_to(tmp_path / "first/models" / model.model_id)
    (folder / "back").symlink_to(tmp_path / "second")
    assert models.current(warehouse_at(tmp_path / "second"), settings).weights == b"data"


@pytest.mark.parametrize(
    "text",
    [
        b"[1, 2]",
        b'{"fingerprint": "FINGERPRINT"}',
        b'{"fingerprint": "FINGERPRINT", "trained_at": 20260101}',
        b'{"fingerprint": ["FINGERPRINT"], "trained_at": "2026-01-01"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_description_that_lacks_something_is_passed_over(tmp_path: Path, text: bytes) -> None:
    """It may come from elsewhere; a good one beside it is found."""
    warehouse = warehouse_at(tmp_path)
    settings = build({}, ["train.model=trained"])
    training = models.training_fingerprint(settings)
    about = {"fingerprint": training, "trained_at": "2026-01-01", "summary": "1 epoch"}
    good = models.store(warehouse, b"good", about)
    (tmp_path / "models/other").mkdir()
    described = text.replace(b"FINGERPRINT", training.encode())
    (tmp_path / "models/other/model.json").write_bytes(described)
    assert models.current(warehouse, settings).model_id == good.model_id
