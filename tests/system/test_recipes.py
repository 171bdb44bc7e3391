"""The blocks of the recipes and of the tutorial are run on a warehouse that a pipeline made."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb_extensions
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs import main as command
from jobs.runtime.run import Run
from jobs.warehouse.lock import lock
from tests.support import commands
from tests.support.commands import LOCAL
from tests.support.folders import ROOT

pytestmark = pytest.mark.whole

PAGES = ("docs/recipes.md", "docs/tutorial.md")
WAREHOUSE = "build/demo/warehouse"
Names = dict[str, Any]


def sections() -> dict[str, list[tuple[str, str]]]:
    """The fenced blocks of each section that have a language, in order."""
    found = {}
    for page in PAGES:
        for part in re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.M)[1:]:
            title, _, text = part.partition("\n")
            fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
            blocks = [(language, block) for language, block in fences if language]
            if blocks or page == PAGES[0]:
                found[title] = blocks
    return found


SECTIONS = sections()
NAMED = "A name in a catalog"  # its commands and its code are processes with a metastore


@pytest.fixture(scope="module")
def desk(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    spark: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A folder as after `make demo`: a copied warehouse, pruned and published by the defaults."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(undisturbed[0], folder / WAREHOUSE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        duckdb_extensions.import_extension("delta")  # as DuckDB's own download would
        for job in ("describe", "prune", "publish"):
            run_command(f"./spark-submit.sh {job} --warehouse {WAREHOUSE}", spark, folder)
        yield folder


def run_command(line: str, spark: SparkSession, folder: Path) -> None:
    """Do what a call of ./spark-submit.sh does, in this process and its Spark session."""
    script, job, *arguments = shlex.split(at(folder, line))
    assert script == "./spark-submit.sh"
    given = [*arguments, "--quiet", "--settings", str(ROOT / "conf/local.toml")]
    settings = command.parse(job, given)
    with lock(settings.warehouse):
        current = Run(spark, settings, job)
        try:
            current.close_stale()
            command.execute(current, job)
        finally:
            current.close()


def at(folder: Path, block: str) -> str:
    """A block with its paths made absolute: the JVM stays where this process was started."""
    return re.sub(r"\b(build/|kept\.)", rf"{folder}/\1", block)


READING = """
import json, sys
sys.path.insert(0, {root!r})
from benchmarks.session import start
spark = start(1, {settings!r})
{block}
print("ANSWER" + json.dumps({{"per_class": per_class, "meaning": meaning}}))
spark.stop()
"""


def with_metastore(folder: Path) -> Names:
    """What the blocks of NAMED say, by ./spark-submit.sh and by another session of Spark."""
    (_, command_block), (_, code) = SECTIONS[NAMED]
    words = shlex.split(at(folder, command_block.replace("\\\n", " ")))
    submit = words[words.index("--") + 1 :]
    arguments = words[2 : words.index("--")]
    done = commands.run_command(words[1], *arguments, cwd=folder, submit=(*LOCAL, *submit))
    assert done.returncode == 0, done.stdout + done.stderr
    settings = dict(word.split("=", 1) for word in submit if word != "--conf")
    program = READING.format(root=str(ROOT), settings=settings, block=code)
    read = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300
    )
    answers = re.findall(r"^ANSWER(.*)$", read.stdout, flags=re.M)
    assert answers, read.stdout + read.stderr
    return dict(json.loads(answers[0]))


def curated() -> pl.DataFrame:
    return pl.read_delta(f"{WAREHOUSE}/curated")


def check_spark(names: Names) -> None:
    assert sum(row["count"] for row in names["per_class"]) == len(curated())


def check_polars(names: Names) -> None:
    assert names["per_class"]["len"].sum() == len(curated())


def check_duckdb(names: Names) -> None:
    assert [label for label, *_ in names["per_class"]] == ["field", "shore", "town"]
    assert [stand_for for *_, stand_for in names["per_class"]] == [33, 33, 33]


def check_pandas(names: Names) -> None:
    assert names["per_class"].sum() == len(curated())
    assert list(names["curated"].columns) == curated().columns


def check_files(names: Names) -> None:
    assert names["images"].shape == (32, 3, 224, 224)
    assert 0 <= names["images"].min() < names["images"].max() <= 1
    assert set(names["labels"].tolist()) <= {0, 1, 2}
    assert len(names["as_before"]) == -(-99 // 32)
    assert names["drawn"].shape == (32, 3, 224, 224)


def check_pixels(names: Names) -> None:
    table = names["table"]
    assert len(table) == len(names["dataset"]) == 99
    sums = table.group_by("group_id").agg(pl.col("weight").sum())
    assert len(sums) == len(curated())
    assert sums["weight"].to_list() == pytest.approx([1.0] * len(sums))
    assert names["images"].shape == (32, 3, 64, 64)
    assert set(names["labels"]) == {0, 1, 2}


def published_splits() -> dict[str, str]:
    rows = pl.read_delta(f"{WAREHOUSE}/splits").filter("kept")
    return dict(rows.select("image_id", "split").rows())


def check_splits(names: Names) -> None:
    train, test = names["train"], names["test"]
    assert len(train) + len(test) == len(curated())
    assert min(len(train), len(test)) > 0
    assert not set(train["group_id"]) & set(test["group_id"])


def check_stream(names: Names) -> None:
    """Two epochs, in each of which every image of the split comes once."""
    labels = dict(curated().select("image_id", "label").rows())
    of_split = [labels[name] for name, split in published_splits().items() if split == "train"]
    classes = sorted(set(labels.values()))
    seen = [classes[number] for number in names["seen"]]
    first, second = seen[: len(of_split)], seen[len(of_split) :]
    assert sorted(first) == sorted(second) == sorted(of_split)
    assert first != second
    assert names["images"].shape[1:] == (3, 64, 64)
    assert 0 < names["weights"].min() <= names["weights"].max() <= 1


def check_shards(names: Names) -> None:
    splits = published_splits()
    of_train = {name for name, split in splits.items() if split == "train"}
    assert names["checked"]
    assert {told["image_id"] for told in names["told"]} == of_train
    assert {told["split"] for told in names["told"]} == {"train"}
    assert len(names["told"]) == len(names["classes"]) == len(of_train)
    assert len(names["train"]) > 1  # so that two workers have something to do
    labels = dict(curated().select("image_id", "label").rows())
    assert sorted(names["classes"]) == sorted(labels[name] for name in of_train)


def check_links(names: Names) -> None:
    splits = published_splits()
    rows = curated().filter(pl.col("image_id").replace_strict(splits) == "train")
    images = names["images"]
    assert images.classes == ["field", "shore", "town"]
    inodes = {Path(path).stat().st_ino for path, _ in images.samples}
    assert inodes == {Path(path).stat().st_ino for path in rows["path"]}
    assert len(images) == sum(map(len, names["drawn"])) == len(rows)
    assert images[0][0].shape == (3, 64, 64)
    assert sorted(names["sizes"]["group_size"]) == sorted(rows["group_size"])


def check_hugging_face(names: Names) -> None:
    kept, splits = names["kept"], published_splits()
    assert kept.num_rows == {
        split: sum(own == split for own in splits.values()) for split in ("train", "test")
    }
    assert kept["train"].features["label"].names == ["field", "shore", "town"]
    assert names["first"]["image"].mode == "RGB"
    weights = dict(curated().select("path", "weight").rows())
    paths = kept["train"].cast_column("image", names["datasets"].Image(decode=False))["image"]
    assert [weights[each["path"]] for each in paths] == list(kept["train"]["weight"])


def check_batches(names: Names) -> None:
    numbers = [names["classes"][number] for part in names["seen"] for number in part]
    assert sorted(numbers) == sorted(curated()["label"])
    pixels, _, weights = next(names["batches"](8))
    assert pixels.shape[1:] == (64, 64, 3)
    assert pixels.dtype == "uint8"
    assert len(pixels) == len(weights) <= 8
    parts = [(pixels.mean(axis=(1, 2)), weights) for pixels, _, weights in names["batches"]()]
    colours = [np.average(levels, axis=0, weights=weights) for levels, weights in parts]
    np.testing.assert_allclose(np.stack(names["colours"]), np.stack(colours), rtol=1e-5)


def check_text(names: Names) -> None:
    assert Path("kept.txt").read_text().splitlines() == curated().sort("image_id")["path"].to_list()


def check_parquet(names: Names) -> None:
    """The file can be ingested again: with the same ids, labels and bytes."""
    assert b"huggingface" in pq.read_schema("kept.parquet").metadata
    columns = ["image_id", "label", "sha256", "width"]
    back = pl.read_delta("build/kept/images").select(columns).sort("image_id")
    assert back.equals(curated().select(columns).sort("image_id"))


def check_groups(names: Names) -> None:
    assert names["groups"].columns == ["kept_id", "image_id", "similarity", "removed"]


def check_rules(names: Names) -> None:
    assert set(names["before"]["rule"]) == {"fixed:0.999"} == {names["earlier_rule"]}
    assert set(names["after"]["rule"]) == {"overlap:0.5"}
    assert set(names["after"]["space"]) == {"gradients"}
    assert len(names["before"]) == names["before_by_spark"].count() > 0


def check_changes(names: Names) -> None:
    assert names["now"] == set(curated()["image_id"])
    assert set(names["why"]["reason"]) <= {"rule"}
    # From the first publication on, which was at a cosine.
    rows = pl.read_delta(f"{WAREHOUSE}/changes").sort("to_version", "image_id")
    first = min(rows["to_version"].to_list())
    ids = set(pl.read_delta(f"{WAREHOUSE}/curated", version=first)["image_id"])
    assert ids != names["now"]
    for change, name in (
        rows.filter(pl.col("to_version") > first).select("change", "image_id").rows()
    ):
        if change in ("came", "went"):
            (ids.add if change == "came" else ids.remove)(name)
    assert ids == names["now"]


def check_named(names: Names) -> None:
    per_class = curated().group_by("label").len().sort("label")
    assert names["per_class"] == [list(row) for row in per_class.rows()]
    assert names["meaning"]["weight"].startswith("1/group_size")
    assert all(names["meaning"][name] for name in curated().columns)


CHECKS: dict[str, Callable[[Names], None]] = {
    "Reading with Spark": check_spark,
    "Reading with Polars": check_polars,
    "Reading with DuckDB": check_duckdb,
    "Reading with pandas": check_pandas,
    "A PyTorch Dataset over the files": check_files,
    "Training and test sets": check_splits,
    "A PyTorch IterableDataset, with several workers": check_stream,
    "A PyTorch Dataset over the pixels": check_pixels,
    "The kept list as a text file": check_text,
    "A Parquet file in Hugging Face's layout": check_parquet,
    "Shards for WebDataset": check_shards,
    "A folder for ImageFolder": check_links,
    "Hugging Face datasets": check_hugging_face,
    "JAX or TensorFlow, through Parquet": check_batches,
    NAMED: check_named,
    "Another rule, and back again": check_rules,
    "What changed since last week": check_changes,
    "4. Look at what was removed": check_groups,
}


def test_every_section_is_checked() -> None:
    assert list(SECTIONS) == list(CHECKS)
    assert all(SECTIONS.values())


@pytest.mark.spark
@pytest.mark.parametrize("title", SECTIONS)
def test_a_recipe_runs_as_written(desk: Path, spark: SparkSession, title: str) -> None:
    names: Names = {"spark": spark}
    if title == NAMED:
        names |= with_metastore(desk)
    for language, block in SECTIONS[title] if title != NAMED else ():
        if language == "python":
            exec(compile(at(desk, block), title, "exec"), names)
        else:
            for line in block.splitlines():
                run_command(line, spark, desk)
    CHECKS[title](names)
