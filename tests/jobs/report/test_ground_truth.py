"""A selection beside a list of known copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.report import ground_truth
from jobs.report.selections import selections

TRUTH = """image_id,copy_of,change,overlap
a,,,
a1,a,blur,
a2,a,shift,0.9
b,,,
b1,b,blur,
c,,,
unused,c,blur,
"""
# image: the kept one that stands for it at each of two rules, None where it is kept itself
SELECTION = {
    "a": (None, None),
    "a1": ("a", None),
    "a2": ("a", "b"),
    "b": (None, None),
    "b1": ("a", "b"),
    "c": (None, "not listed"),
    "not listed": (None, None),
}


def test_precision_and_recall_are_those_of_the_known_copies(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Of images of the list alone; a copy that is no longer there counts nowhere."""
    (tmp_path / "truth.csv").write_text(TRUTH)
    rows = [
        (name, f"fixed:0.{9 - number}", "raw", keeper is None, keeper)
        for name, keepers in SELECTION.items()
        for number, keeper in enumerate(keepers)
    ]
    columns = "image_id string, rule string, space string, kept boolean, kept_id string"
    shown = selections([{"rule": rule, "space": "raw"} for rule in ("fixed:0.9", "fixed:0.8")])
    frame = spark.createDataFrame(rows, columns)
    scores, kinds = ground_truth.compare(str(tmp_path / "truth.csv"), frame, shown)
    assert kinds == ["blur", "shift"]
    assert scores == [
        # a1 and a2 belong to a, b1 does not.
        {
            "title": "T = 0.9",
            "precision": pytest.approx(2 / 3),
            "recall": {"blur": 0.5, "shift": 1},
        },
        # Of a2 and b1 the latter belongs to b; a1 stays alone.
        {"title": "T = 0.8", "precision": 0.5, "recall": {"blur": 0.5, "shift": 0.0}},
    ]
    assert ground_truth.compare("", frame, shown) == ([], [])


def test_an_original_is_its_own_root(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("image_id,copy_of,change\na,,\nü,a,\n", encoding="utf-8")
    assert ground_truth.read_known_images(str(tmp_path / "truth.csv")) == [
        ("a", "a", "unknown", None),
        ("ü", "a", "unknown", "a"),
    ]


@pytest.mark.parametrize("content", [None, b"image_id,change\na,x\n", b"image_id\n\xff\n"])
def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "truth.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JobError, match=r"report\.truth = .*truth\.csv': cannot be read as a CSV"):
        ground_truth.read_known_images(str(path))


def test_a_changed_list_makes_a_new_report(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    assert ground_truth.file_identity(str(path)) == str(path)
    path.write_text("one")
    first = ground_truth.file_identity(str(path))
    path.write_text("longer")
    assert ground_truth.file_identity(str(path)) != first != str(path)
    assert ground_truth.file_identity("") == ""
