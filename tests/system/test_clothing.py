"""Real photographs: the clothing set with its splits, and one aerial photograph in tiles."""

from __future__ import annotations

import collections
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.acquisition import ingest
from jobs.autoencoder import training_sample
from jobs.runtime.run import Run
from jobs.settings.autoencoder import Train
from tests.support.browser import Opener
from tests.support.session import Runner, settings_for

pytestmark = [pytest.mark.spark, pytest.mark.data, pytest.mark.long, pytest.mark.whole]
THRESHOLDS = (0.99, 0.95)
SPLITS = ("test", "train", "validation")


def listed(root: Path) -> list[tuple[str, str, str]]:
    """Split, label and id of every file."""
    names = [str(path.relative_to(root)) for path in root.glob("*/*/*") if path.is_file()]
    return sorted((*name.split("/")[:2], name) for name in names)  # type: ignore[misc]


def planted(root: Path) -> dict[str, str]:
    """The first photograph of each class, and its name under the class after it."""
    labels = sorted(path.name for path in (root / "train").iterdir())
    return {
        min(name for split, of, name in listed(root) if (split, of) == ("train", label)): (
            f"train/{after}/~ {label}.jpg"
        )
        for label, after in zip(labels, labels[1:] + labels[:1], strict=True)
    }


@pytest.fixture(scope="module")
def photographs(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to the set's photographs, and ten of them saved again under another label."""
    source, root = real_images / "clothing", tmp_path_factory.mktemp("photographs")
    for _, _, name in listed(source):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(source / name)
    for name, copy in planted(source).items():
        Image.open(source / name).convert("RGB").save(root / copy, quality=95)
    return root


@pytest.fixture(scope="module")
def clothing(
    run_pipeline: Runner, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    return run_pipeline(
        photographs,
        tmp_path_factory.mktemp("clothing"),
        "ingest.layout=split/label",
        "train.epochs=1",
        "train.sample=64",
        f"prune.thresholds={list(THRESHOLDS)}",
        "publish.rule=fixed:0.95",
        "leaks.split=['test']",
        "conflicts.threshold=0.9995",
    )


def test_every_photograph_arrives_in_its_class_and_split(clothing: Run, photographs: Path) -> None:
    rows = clothing.warehouse.read("images").select("split", "label", "image_id").collect()
    assert sorted(tuple(row) for row in rows) == listed(photographs)
    assert len(rows) == 3791
    assert len({row.label for row in rows}) == 10
    assert {row.split for row in rows} == set(SPLITS)
    assert clothing.warehouse.read("rejects").isEmpty()
    latents = clothing.warehouse.read("latents").select("split", "label", "image_id").collect()
    assert sorted(tuple(row) for row in latents) == listed(photographs)


TWINS = (
    "train/shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg",
    "train/skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg",
)


def test_one_photograph_under_two_labels_is_a_conflict_and_no_duplicate(clothing: Run) -> None:
    """A class is pruned in itself, so the twin in another class is never the one that stays."""
    rows = clothing.warehouse.read("conflicts").collect()
    assert TWINS in {(row.image_id, row.other_id) for row in rows}
    assert all(row.label != row.other_label and row.similarity > 0.9995 for row in rows)
    assert len(rows) < 100
    removed = clothing.warehouse.read("selection").where("NOT kept").collect()
    assert all(row.kept_id.split("/")[1] == row.label for row in removed)


def test_the_page_shows_planted_label_conflicts(
    clothing: Run, real_images: Path, opened: Opener
) -> None:
    page = opened(Path(clothing.warehouse.root, "report/report.html"))
    part = page.locator("#conflicts")
    further = part.get_by_role("button", name="Next page of conflicts")
    seen = set()
    while True:
        for card in part.locator(".pair").all():
            names = [image.get_attribute("title") for image in card.get_by_role("img").all()]
            seen.add((*names, *card.locator(".labels span").all_inner_texts()))
        if not further.is_visible() or further.is_disabled():
            break
        further.click()
    for name, copy in planted(real_images / "clothing").items():
        pair = sorted((name, copy), key=str.encode)
        assert (*pair, *(one.split("/")[1] for one in pair)) in seen


def test_images_that_resemble_the_test_split_are_listed(clothing: Run) -> None:
    """Compared with plain float64 cosines at T = 0.99; pairs within 1e-9 of T may go either way."""
    rows = clothing.warehouse.read("latents").select("image_id", "split", "latent").collect()
    vectors = np.array([row.latent for row in rows], np.float32).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    test = np.array([row.split == "test" for row in rows])
    names = np.array([row.image_id for row in rows])
    nearest = (vectors[~test] @ vectors[test].T).max(axis=1)
    found = clothing.warehouse.read("leaks").where("threshold = 0.99").collect()
    leaked = {row.image_id for row in found}
    assert leaked >= set(names[~test][nearest > 0.99 + 1e-9])
    assert leaked <= set(names[~test][nearest > 0.99 - 1e-9])
    assert len(leaked) > 100
    assert {row.split for row in found} == {"train", "validation"}
    assert {row.reference_split for row in found} == {"test"}


def test_training_sees_only_the_split_train(clothing: Run) -> None:
    """A sample larger than the split `train` is the whole split, and nothing else."""
    images = clothing.warehouse.read("images")
    drawn = training_sample.sample(images, Train(sample=100_000))
    rows = images.where("split = 'train'").select("pixels").collect()
    assert len(rows) == 3078
    assert sorted(row.tobytes() for row in drawn) == sorted(bytes(row.pixels) for row in rows)
    (about,) = Path(clothing.warehouse.root, "models").glob("*/model.json")
    said = json.loads(about.read_text())
    assert said["images"] + said["held_out"] == 64


def test_selection_keeps_both_promises_in_every_class(clothing: Run) -> None:
    """Compared with plain float64 cosines of the latents; pairs within 1e-9 of T are not judged."""
    latents = {
        row.image_id: row.latent
        for row in clothing.warehouse.read("latents").select("image_id", "latent").collect()
    }
    rows = clothing.warehouse.read("selection").collect()
    classes = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: row.image_id.encode()):
        classes[row.label, row.threshold].append(row)
    assert len(classes) == 10 * len(THRESHOLDS)
    removed = collections.Counter(row.threshold for row in rows if not row.kept)
    assert 0 < removed[0.99] < removed[0.95] < len(latents)
    for (label, threshold), group in classes.items():
        vectors = np.array([latents[row.image_id] for row in group], np.float32).astype(float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = vectors @ vectors.T
        place = {row.image_id: number for number, row in enumerate(group)}
        kept = np.array([row.kept for row in group])
        among = cosines[np.ix_(kept, kept)] - 2 * np.eye(kept.sum())
        assert among.max(initial=-1) <= threshold + 1e-9, (label, threshold)
        for number, row in enumerate(group):
            if row.kept:
                assert row.kept_id is None
                continue
            keeper = place[row.kept_id]
            assert kept[keeper]
            assert keeper < number
            assert row.similarity > threshold
            assert row.similarity == pytest.approx(cosines[number, keeper], abs=1e-9)
            earlier = cosines[number, :keeper][kept[:keeper]]
            assert earlier.max(initial=-1) <= threshold + 1e-9, "an earlier kept one was passed by"


def test_curated_carries_the_splits(clothing: Run) -> None:
    selection = clothing.warehouse.read("selection").where("rule = 'fixed:0.95' AND kept")
    kept = {row.image_id for row in selection.collect()}
    curated = clothing.warehouse.read("curated").collect()
    assert {row.image_id for row in curated} == kept
    assert all(row.split == row.image_id.split("/")[0] for row in curated)
    assert sum(row.group_size for row in curated) == 3791


def test_an_aerial_photograph_is_cut_into_tiles(
    spark: SparkSession, real_images: Path, tmp_path: Path
) -> None:
    """256 x 256 px give 7 x 7 tiles of 64 px at a stride of 32 px, as parts of the photograph."""
    source = sorted((real_images / "ucmerced/airplane").glob("*.jpg"))[0]
    target = tmp_path / "images/airplane" / source.name
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    settings = settings_for(
        tmp_path / "images", tmp_path / "warehouse", "ingest.tile=64", "ingest.stride=32"
    )
    run = Run(spark, settings, "ingest")
    run.execute(ingest.STAGE)
    levels = np.asarray(Image.open(source).convert("RGB"))
    height, width = levels.shape[:2]
    corners = [(x, y) for y in range(0, height - 63, 32) for x in range(0, width - 63, 32)]
    assert len(corners) == 49
    rows = {row.image_id: row for row in run.warehouse.read("images").collect()}
    assert rows.keys() == {f"airplane/{source.name}#{x},{y}" for x, y in corners}
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for x, y in corners:
        row = rows[f"airplane/{source.name}#{x},{y}"]
        assert bytes(row.pixels) == levels[y : y + 64, x : x + 64].tobytes()
        assert (row.width, row.height, row.label, row.sha256) == (64, 64, "airplane", digest)
    assert run.warehouse.read("rejects").isEmpty()
