"""The proofs in the page: from the tables to the rows that its script draws by."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.report import proofs, report
from jobs.report.evidence import COLUMNS, Evidence
from jobs.runtime.run import Run
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from tests.support import overlaps
from tests.support.overlaps import KEPT, LABELS, REMOVED, RULES, image
from tests.support.session import settings_for

EXACT = Evidence(1.0, 1.0, 0.875, 0.5, 90.0, 16.0, -8.0, 40.123, -20.0, 0)


def test_a_row_has_what_is_shown_and_the_matrix() -> None:
    """Pairs to label are found in both directions; without a picture there is no matrix."""
    nothing: dict[str, Any] = {"examples": [], "weakest": [], "groups": []}
    data = nothing | {"names": ["a", "b", "c"], "pairs": [["p", 0, 1, 0.9, 0], ["q", 2, 1, 0.9, 0]]}
    known = {("b", "a"): EXACT, ("c", "b"): replace(EXACT, agreement=math.nan), ("a", "c"): EXACT}
    shown = [1.0, 1.0, 0.875, 0.5, 90.0, 40.12, -20.0, 0]
    assert proofs.rows(data, known, {"a": 1.0, "b": 1.0}) == {
        "1 0": [*shown, 0.0, 0.5, 0.5, -0.5, 0.0, -0.25],
        "2 1": [1.0, None, *shown[2:]],
    }


def tables_of_scenes() -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables that a page of the scenes reads, in place of those of `finished`."""
    pictures, sizes = overlaps.pictures(), overlaps.aspects()
    images = [
        {"image_id": name, "label": name.split("/")[0], "pixels": pixels.tobytes()}
        | {"width": round(600 * sizes[name]), "height": 600, "pixels_sha256": f"of {name}"}
        for name, pixels in pictures.items()
    ]
    latents = [
        {name: row[name] for name in ("image_id", "label")} | {"latent": [1.0], "model_id": "m"}
        for row in images
    ]
    key: dict[str, Any] = {"rule": "overlap:0.7", "space": "raw"}
    return {
        "images": images,
        "latents": latents,
        "selection": selection(),
        "thresholds": [
            {"label": label, "rule": rule, "space": "raw", "asked": float(rule.split(":")[1])}
            for label in LABELS
            for rule, _ in RULES
        ],
        "curated": [
            key | {"image_id": image(label, 0), "label": label, "group_size": 8, "weight": 1.0}
            for label in LABELS
        ],
        "pairs": overlaps.pairs(),
        "alignments": alignments(),
    }


def selection() -> list[dict[str, Any]]:
    """All removed images of overlaps.groups, and the others as kept ones."""
    rows = []
    for (rule, space), groups in overlaps.groups().items():
        target = float(rule.split(":")[1])
        key = {"rule": rule, "space": space, "threshold": target if "fixed" in rule else None}
        for group in groups.shown:
            removed = {member.image_id: member for member in group.members}
            for number in range(1 + len(REMOVED)):
                name = image(group.label, number)
                row = key | {"image_id": name, "label": group.label, "kept": name not in removed}
                if member := removed.get(name):
                    row |= {"kept_id": group.kept_id, "similarity": member.similarity}
                    row |= asdict(member.evidence) if member.evidence else {}
                rows.append(row)
    return rows


def alignments() -> list[dict[str, Any]]:
    """Registrations of the first removed images with the kept one of each class.

    Of the first class the second one is of pixels that the image no longer has, and the third flat.
    Of the other class the third one found no transform.
    """
    rows = []
    for label in LABELS:
        for number in (1, 2, 3):
            found = asdict(overlaps.evidence(REMOVED[number - 1], KEPT, 0.3))
            is_flat = (label, number) == (LABELS[0], 3)
            is_found = (label, number) != (LABELS[1], 3)
            content = "earlier" if (label, number) == (LABELS[0], 2) else image(label, number)
            rows.append(
                {"image_id": image(label, number), "other_id": image(label, 0), "flat": is_flat}
                | found
                | ({"registration": math.nan} if is_flat else {})
                | ({} if is_found else {"overlap": 0.0})
                | {"image_content": f"of {content}", "other_content": f"of {image(label, 0)}"}
            )
    return rows


@pytest.fixture
def scenes(finished: Run, tmp_path: Path) -> Path:
    """A copy of `finished`, into which the tables of the scenes are written."""
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    return tmp_path / "w"


def written(
    spark: SparkSession, finished: Run, place: Path, content: Mapping[str, Sequence[Any]]
) -> Run:
    """A run on the warehouse after its tables were replaced, as their stages would have."""
    run = Run(spark, settings_for(Path(finished.settings.images), place), "x")
    for name, rows in content.items():
        stage = tables.TABLES[name].stages[0]
        like = run.warehouse.newest("selection" if name == "alignments" else name, stage)
        assert like is not None
        commit = CommitInfo("by hand", stage, like.fingerprint)
        run.warehouse.write(tables.rows(name, rows), name, commit)
    return run


def embedded(place: Path) -> dict[str, Any]:
    page = (place / "report/report.html").read_text("utf-8")
    data: dict[str, Any] = json.loads(page.split('id="data">')[1].split("</script>")[0])
    return data


def named(data: Mapping[str, Any]) -> dict[tuple[str, ...], list[float]]:
    """The proofs of a page by the ids of both images."""
    names = data["names"]
    return {
        tuple(names[int(number)] for number in pair.split()): row
        for pair, row in data["proofs"].items()
    }


def test_the_page_of_real_tables_holds_each_proof(
    spark: SparkSession, finished: Run, scenes: Path
) -> None:
    """Those of the removals are the ones that tests in a browser look at (tests/.../assets)."""
    content = tables_of_scenes()
    run = written(spark, finished, scenes, content)
    run.execute(report.STAGE)
    data, invented = embedded(scenes), overlaps.report().data
    assert named(data) == named(invented)
    assert [rule["rule"] for rule in data["rules"]] == [rule for rule, _ in RULES]
    assert [rule["overlap"] for rule in data["rules"]] == [0.9, 0.7, None]
    assert data["rules"][data["published"]]["rule"] == "overlap:0.7"
    assert data["rules"][1]["found"] is None

    def by_name(shown: Mapping[str, Any], name: str) -> list[Any]:
        return [
            [
                [shown["names"][kept], shown["names"][image_id], *rest]
                for kept, image_id, *rest in rows
            ]
            for rows in shown[name]
        ]

    assert by_name(data, "examples") == by_name(invented, "examples")
    assert by_name(data, "weakest") == by_name(invented, "weakest")
    assert [len(rows) for rows in data["weakest"]] == [2, 2, 0]


def test_pairs_to_label_are_proved_by_their_alignments(
    spark: SparkSession, finished: Run, scenes: Path
) -> None:
    """Also of pairs that no rule removed; not of earlier pixels, flat pictures, or no transform."""
    content = tables_of_scenes()
    kept = [
        row | {"kept": True, "kept_id": None, "similarity": None} | dict.fromkeys(COLUMNS)
        for row in content["selection"]
    ]
    run = written(spark, finished, scenes, content | {"selection": kept})
    run.execute(report.STAGE)
    found = named(embedded(scenes))
    numbers = [(LABELS[0], 1), (LABELS[1], 1), (LABELS[1], 2)]
    assert set(found) == {(image(label, n), image(label, 0)) for label, n in numbers}
    expected = named(overlaps.report().data)
    for pair, row in found.items():
        assert row[0] == 0.3
        assert row[1:] == expected[pair][1:]
