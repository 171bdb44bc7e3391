"""What the page is made of, without Spark: lists in turn, histograms, states, budgets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import deltalake
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.report import (
    class_plots,
    findings,
    gallery,
    optional_tables,
    page_data,
    render,
    summary,
    thumbnails,
)
from jobs.runtime.run import Run
from jobs.warehouse.commits import CommitInfo
from tests import invented
from tests.conftest import picture
from udfs.acquisition import decode
from udfs.report import charts


def asked(folder: Path, sql: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a query of the report says of these rows."""
    deltalake.write_deltalake(str(folder / "t"), pa.Table.from_pylist(rows))
    query = deltalake.QueryBuilder().register("rows", deltalake.DeltaTable(str(folder / "t")))
    return [dict(row) for row in pa.table(query.execute(sql).read_all()).to_pylist()]


def conflict(number: int, labels: tuple[str, str], similarity: float) -> dict[str, Any]:
    return {"image_id": f"a{number:04}", "label": labels[0], "other_label": labels[1]} | {
        "other_id": f"b{number:04}",
        "similarity": similarity,
    }


def test_of_many_conflicts_every_pair_of_labels_is_shown(tmp_path: Path) -> None:
    """Ten planted ones stay in sight beside a thousand of two labels that overlap."""
    overlap = [conflict(n, ("grass", "meadow"), 0.99 + n / 1e6) for n in range(1000)]
    planted = [conflict(2000 + n, ("car", f"boat{n}"), 0.971) for n in range(10)]
    found = asked(tmp_path, findings.CONFLICTS, overlap + planted)
    assert len(found) == findings.MOST
    assert {row["total"] for row in found} == {1010}
    assert {row["other_label"] for row in found} >= {f"boat{n}" for n in range(10)}
    grass = [row["similarity"] for row in found if row["label"] == "grass"]
    assert grass == sorted((row["similarity"] for row in overlap), reverse=True)[: len(grass)]


def test_a_leak_is_shown_once_at_its_highest_threshold(tmp_path: Path) -> None:
    rows = [
        {"image_id": image, "label": "a", "reference_label": "b", "threshold": threshold}
        | {"space": "raw", "similarity": 0.98, "reference_id": f"r{threshold}"}
        for image in ("x", "y")
        for threshold in (0.93, 0.95, 0.97)
    ]
    found = asked(tmp_path, findings.LEAKS, rows)
    assert [(row["image_id"], row["reference_id"], row["total"]) for row in found] == [
        ("x", "r0.97", 2),
        ("y", "r0.97", 2),
    ]


def test_rejects_by_code_have_examples(tmp_path: Path) -> None:
    rows = [
        {"stage": "ingest", "error_code": code, "path": f"/{n}", "image_id": None}
        | {"error_message": f"message {n}"}
        for n, code in enumerate(["empty"] + 5 * ["truncated"])
    ]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    deltalake.write_deltalake(str(tmp_path / "t"), pa.Table.from_pylist(rows, schema))
    query = deltalake.QueryBuilder().register("rows", deltalake.DeltaTable(str(tmp_path / "t")))
    codes = summary.rejects(pa.table(query.execute(summary.CODES).read_all()).to_pylist())
    assert [(row["code"], row["files"]) for row in codes] == [("truncated", 5), ("empty", 1)]
    assert [example["example"] for example in codes[0]["examples"]] == ["/1", "/2", "/3"]
    assert codes[0]["message"] == "message 1"


@pytest.mark.parametrize(
    ("low", "precision", "high", "said"),
    [
        (0.95, 0.97, 0.99, "97 ± 2 %, 200 pairs"),
        (0.9, 0.99, 1.0, "99 % (90 … 100 %), 200 pairs"),
        (None, None, None, ""),
    ],
)
def test_the_audited_precision_in_words(low: Any, precision: Any, high: Any, said: str) -> None:
    key = {"rule": "fixed:0.95", "space": "raw"}
    row = {"precision": precision, "precision_low": low, "precision_high": high, "pairs": 200}
    assert findings.audited([key | row], key) == said
    assert findings.audited([], key) == ""


@given(st.lists(st.integers(0, 9), min_size=1, max_size=900))
def test_a_shown_histogram_keeps_all_counts(counts: list[int]) -> None:
    row = {"label": "a", "space": "raw", "sampled": 5, "origin": -1.0, "step": 0.125}
    row |= {"counts": counts, "heat_ids": [], "heat": b""}
    shown = class_plots.shown_similarities([row], {"a": 0})[0]
    assert sum(shown["counts"]) == sum(counts)
    assert len(shown["counts"]) <= class_plots.BINS
    filled = np.flatnonzero(counts)
    if len(filled):
        end = shown["origin"] + shown["step"] * len(shown["counts"])
        assert shown["origin"] == -1.0 + 0.125 * filled[0]
        assert end >= -1.0 + 0.125 * (filled[-1] + 1)


def test_a_heat_map_shows_the_first_images_dark_to_bright() -> None:
    levels = np.arange(155, 255, dtype=np.uint8).reshape(10, 10)
    row = {"heat_ids": ["x"] * 10, "heat": levels.tobytes(), "space": "whitened"}
    shown = class_plots.heat_map(row, 4)
    assert (shown["side"], shown["of"]) == (4, 10)
    assert shown["low"] == pytest.approx(2 * 155 / 255 - 1)
    assert class_plots.heat_map(row | {"heat": b"odd"}, 4)["map"] == ""
    assert charts.heat_map(levels)[:4] == b"\x89PNG"
    assert class_plots.map_side(8) == class_plots.LARGEST
    assert class_plots.SMALLEST <= class_plots.map_side(2000) < 50


def test_densities_after_stand_on_the_cells_before() -> None:
    key = {"label": "a", "component": 1, "step": 0.5}
    rows = [
        key | {"rule": "none", "space": None, "origin": -1.0, "counts": [1, 2, 3]},
        key | {"rule": "fixed:0.9", "space": "raw", "origin": 0.0, "counts": [2]},
        key | {"rule": "fixed:0.8", "space": "raw", "origin": 0.0, "counts": [1]},
    ]
    found = class_plots.of_classes(rows, {"a": 4}, {("fixed:0.9", "raw"): 7})
    assert found == [[4, 1, -1.0, 0.5, [1, 2, 3], {7: [2, [2]]}]]


def commit(content_of: str, version: int, stage: str = "encode") -> CommitInfo:
    return CommitInfo("run", stage, content_of, {}, version)


@pytest.mark.parametrize(
    ("commits", "state"),
    [
        ([commit("one", 3)], "there"),
        ([commit("two", 5), commit("one", 3)], "stale"),
        ([commit("one", 5), commit("one", 3)], "there"),  # encoded anew, to the same
        ([commit("two", 5, "whiten"), commit("one", 3)], "there"),  # not by the job it is of
        ([commit("two", 9)], "there"),  # the log no longer tells
    ],
)
def test_a_table_is_stale_when_what_it_was_made_of_changed(
    commits: list[CommitInfo], state: str
) -> None:
    run = SimpleNamespace(warehouse=SimpleNamespace(commits=lambda table: commits), stages=())
    done = {"conflicts": {"versions_read": [("latents", 4)]}}
    found = optional_tables.states(cast(Run, run), {"conflicts": 1}, done)
    assert found["conflicts"].name == state
    assert ("./spark-submit.sh conflicts" in found["conflicts"].note) == (state == "stale")
    assert found["leaks"].name == "absent"
    assert "./spark-submit.sh leaks" in found["leaks"].note


def test_tables_of_a_job_that_died_between_them_are_not_read() -> None:
    marks = {"similarities": "new", "pairs": "old", "modes": "m"}

    def newest(table: str, stage: str) -> CommitInfo | None:
        return commit(marks[table], 0, stage) if table in marks else None

    run = SimpleNamespace(warehouse=SimpleNamespace(newest=newest))
    assert optional_tables.present(cast(Run, run)) == {"modes": "modes"}


def test_of_too_many_classes_the_largest_are_shown() -> None:
    known = invented.facts([f"{n:05}" for n in range(1500)])
    shown = page_data.classes(known)
    assert len(shown) == page_data.MOST_CLASSES
    assert min(row["images"] for row in shown) >= 120 + 2
    assert [row["label"] for row in shown] == sorted(row["label"] for row in shown)


def test_every_class_has_a_group_in_the_page() -> None:
    labels = [f"{n:04}" for n in range(1000)]
    shelf = thumbnails.Album(5000)
    known = invented.facts(labels)
    data = page_data.gather(
        known, invented.groups(labels, 2), invented.findings(labels), [], [], shelf
    )
    most = gallery.members(5000, 1000)
    assert most == gallery.FEWEST
    assert len({group[0] for group in data["groups"][1]["rows"]}) > 400  # of up to nine images each
    assert len(shelf.names) >= 4990


def test_a_page_that_is_too_large_loses_its_last_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = invented.report()
    size = len(whole.text.encode())
    monkeypatch.setattr(render, "MOST_BYTES", size - 100_000)
    cut = invented.report()
    assert len(cut.text.encode()) <= size - 100_000
    left = json.loads(cut.text.split('id="data">')[1].split("</script>")[0])["pictures"]
    kept = sum(map(bool, left))
    assert left[:kept] == whole.data["pictures"][:kept]
    assert kept < len(left)


def test_a_picture_is_coded_small_and_alike() -> None:
    pixels = picture(3, 64)
    data = decode.jpeg(pixels.reshape(-1), 78)
    assert len(data) < 2500
    shown = np.asarray(Image.open(io.BytesIO(data)), int)
    assert np.abs(shown - pixels).mean() < 8
