"""The sample that training takes: which images, in which order, and where the driver keeps them."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from jobs.autoencoder import training_sample
from jobs.errors import JobError
from jobs.settings.autoencoder import Train
from udfs.autoencoder import model as autoencoder

COLUMNS = "image_id string, split string, pixels binary"


def test_the_sample_is_the_same_whatever_the_partitions(spark: SparkSession) -> None:
    """Of 40 images the ten whose hashes are smallest, in the hashes' order; a seed changes it."""
    ids = [f"ü{i:02}" for i in range(40)]
    rows = [(name, None, bytes([i]) * autoencoder.PIXELS) for i, name in enumerate(ids)]
    images = spark.createDataFrame(rows, COLUMNS)
    for seed in (0, 3):
        hashes = {hashlib.sha256(f"{seed}|{name}".encode()).hexdigest(): name for name in ids}
        expected = [ids.index(hashes[digest]) for digest in sorted(hashes)[:10]]
        for parts in (1, 7):
            for in_memory in (1 << 20, 0):  # in memory, and in a temporary file
                drawn = training_sample.sample(
                    images.repartition(parts), Train(sample=10, seed=seed), in_memory
                )
                assert drawn.shape == (10, autoencoder.PIXELS)
                assert drawn[:, 0].tolist() == expected
                assert np.array_equal(drawn.min(axis=1), drawn.max(axis=1))


def test_the_sample_is_of_the_split_train_if_there_is_one(spark: SparkSession) -> None:
    rows = [(f"{i}", split, bytes([i]) * autoencoder.PIXELS) for i, split in enumerate("abcd")]
    everything = spark.createDataFrame(rows, COLUMNS)
    assert sorted(training_sample.sample(everything, Train())[:, 0].tolist()) == [0, 1, 2, 3]
    with_split = everything.replace({"b": "train", "d": "train"}, subset=["split"])
    assert sorted(training_sample.sample(with_split, Train())[:, 0].tolist()) == [1, 3]
    nothing = training_sample.sample(everything.limit(0), Train())
    assert nothing.shape == (0, autoencoder.PIXELS)


def test_an_id_that_occurs_twice_is_refused(spark: SparkSession) -> None:
    rows = [("a", None, bytes(autoencoder.PIXELS))] * 2
    images = spark.createDataFrame(rows, COLUMNS)
    with pytest.raises(JobError, match="an id of its own"):
        training_sample.sample(images, Train(sample=2))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_sample_lies_in_a_file_that_goes_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    matrix = training_sample.empty_matrix(3, in_memory=1)
    assert matrix.shape == (3, autoencoder.PIXELS)
    assert matrix.sum() == 0
    matrix[1] = 7
    assert matrix.sum() == 7 * autoencoder.PIXELS
    assert f"{tmp_path}/" in Path("/proc/self/maps").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_sample_for_which_there_is_no_room_is_refused() -> None:
    with pytest.raises(JobError, match=r"takes 12,288,000\.0 GB in .*: .*; lower train\.sample"):
        training_sample.empty_matrix(10**12, in_memory=1)
