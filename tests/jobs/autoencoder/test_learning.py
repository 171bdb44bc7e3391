"""The loss that the settings ask for."""

from __future__ import annotations

import hashlib

import numpy as np
from pyspark.sql import SparkSession

from jobs.autoencoder import learning
from jobs.settings.autoencoder import Train
from udfs.autoencoder import model as autoencoder
from udfs.autoencoder.contrastive import ContrastiveTerm


def test_the_contrastive_term_follows_the_settings() -> None:
    assert learning.contrastive_term(Train(objective="reconstruction")) is None
    asked = Train(objective="reconstruction+instance", temperature=0.2, instance_weight=0.5)
    assert learning.contrastive_term(asked) == ContrastiveTerm(weight=0.5, temperature=0.2)


def test_the_papers_objective_keeps_to_float32_unless_another_precision_is_given() -> None:
    assert learning.precision_of(Train(objective="reconstruction"), "cuda:0") == "float32"
    given = Train(objective="reconstruction", precision="bfloat16")
    assert learning.precision_of(given, "cpu") == "bfloat16"


def test_the_sample_is_the_same_whatever_the_partitions(spark: SparkSession) -> None:
    """Of 40 images the ten whose hashes are smallest, in the hashes' order; a seed changes it."""
    ids = [f"ü{i:02}" for i in range(40)]
    rows = [(name, None, bytes([i]) * autoencoder.PIXELS) for i, name in enumerate(ids)]
    images = spark.createDataFrame(rows, "image_id string, split string, pixels binary")
    for seed in (0, 3):
        hashes = {hashlib.sha256(f"{seed}|{name}".encode()).hexdigest(): name for name in ids}
        expected = [ids.index(hashes[digest]) for digest in sorted(hashes)[:10]]
        for parts in (1, 7):
            drawn = learning.sample(images.repartition(parts), Train(sample=10, seed=seed))
            assert drawn.shape == (10, autoencoder.PIXELS)
            assert drawn[:, 0].tolist() == expected
            assert np.array_equal(drawn.min(axis=1), drawn.max(axis=1))
