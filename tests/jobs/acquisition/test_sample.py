"""The job `sample`: the same bytes always, no file of others touched, and the list of copies."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import features

import jobs.acquisition
from jobs.acquisition import sample
from jobs.errors import JobError, SettingsError
from jobs.settings.acquisition import Sample
from jobs.settings.load import build
from jobs.settings.model import Settings
from tests.support.folders import ROOT
from udfs.acquisition import decode
from udfs.acquisition.synthetic import survey, terrain

SMALL = Sample(labels=3, scenes=12, side=64, seed=5, processes=1)


def settings_for(folder: Path, wanted: Sample = SMALL) -> Settings:
    return Settings(images=str(folder / "images"), sample=wanted, quiet=True)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    sample.main(settings_for(folder))
    return folder


@pytest.fixture(scope="module")
def shots() -> list[survey.Shot]:
    """What the default settings ask for; nothing is rendered."""
    return [shot for scene in sample.planned(Sample()) for shot in scene.shots]


def test_the_number_of_processes_does_not_change_the_files(written: Path, tmp_path: Path) -> None:
    sample.main(settings_for(tmp_path, replace(SMALL, processes=2)))
    assert content(tmp_path / "images") == content(written / "images")
    assert (tmp_path / "truth.csv").read_bytes() == (written / "truth.csv").read_bytes()


def test_another_seed_gives_other_pictures(written: Path) -> None:
    scene = sample.planned(SMALL)[0]
    name, data = survey.photograph(scene, SMALL.side, SMALL.seed)[0]
    assert content(written / "images")[name] == data
    assert survey.photograph(scene, SMALL.side, SMALL.seed + 1)[0][1] != data
    other = sample.planned(replace(SMALL, seed=SMALL.seed + 1))
    assert [len(scene.shots) for scene in other] != [
        len(scene.shots) for scene in sample.planned(SMALL)
    ]


def test_a_scene_is_the_same_whatever_else_is_rendered(written: Path) -> None:
    larger = survey.plan(labels=8, scenes=15, side=SMALL.side, seed=SMALL.seed)
    scene = next(scene for scene in larger if (scene.label, scene.number) == ("forest", 7))
    assert scene in sample.planned(SMALL)
    files = content(written / "images")
    for name, data in survey.photograph(scene, SMALL.side, SMALL.seed):
        assert files[name] == data


def test_a_second_run_writes_only_what_is_missing_or_damaged(tmp_path: Path) -> None:
    wanted = replace(SMALL, labels=1, scenes=4)
    sample.main(settings_for(tmp_path, wanted))
    files = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in files}
    damaged = next(path for path in files if path.suffix == ".jpg" and path.stat().st_size > 100)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50])
    sample.main(settings_for(tmp_path, wanted))
    assert damaged.read_bytes() == whole
    changed = [path for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == [damaged]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many scenes each run has rendered that rendered any."""
    counts: list[int] = []
    render = sample.rendered

    def counted(scenes: list[survey.Scene], wanted: Sample) -> Iterator[list[tuple[str, bytes]]]:
        counts.append(len(scenes))
        return render(scenes, wanted)

    monkeypatch.setattr(sample, "rendered", counted)
    return counts


def test_what_is_there_is_not_rendered_again(
    tmp_path: Path, rendered: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = replace(SMALL, labels=1, scenes=4)
    settings = replace(settings_for(tmp_path, wanted), quiet=False)
    sample.main(replace(settings, dry_run=True))
    assert "would be written" in capsys.readouterr().out
    sample.main(settings)
    assert rendered == [4]
    sample.main(settings)
    sample.main(replace(settings, dry_run=True))
    assert rendered == [4]
    said = capsys.readouterr().out
    assert "0 files written anew" in said
    assert "are there already" in said
    larger = replace(wanted, side=96)  # the same names
    sample.main(settings_for(tmp_path, larger))
    assert rendered == [4, 4]
    first = survey.photograph(sample.planned(larger)[0], larger.side, larger.seed)
    assert content(tmp_path / "images").items() >= dict(first).items()


@pytest.mark.parametrize("change", ["killed", "touched", "code", "encoder"])
def test_what_may_have_changed_is_rendered_again(
    change: str, tmp_path: Path, rendered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, replace(SMALL, labels=1, scenes=4))
    sample.main(settings)
    before = content(tmp_path / "images")
    record = tmp_path / "truth.csv.sample.json"
    if change == "killed":
        record.write_text(record.read_text()[:-3])
    elif change == "touched":
        os.utime(tmp_path / "images" / next(iter(before)), (0, 0))
    elif change == "code":
        monkeypatch.setattr(sample, "synthetic", jobs.acquisition)
    else:
        monkeypatch.setattr(features, "version", lambda name: f"another {name}")
    sample.main(settings)
    sample.main(settings)
    assert rendered == [4, 4]
    assert content(tmp_path / "images") == before


@pytest.mark.parametrize("name", ["field/mine.png", "notes.txt"])
def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / "images" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    with pytest.raises(JobError, match=f"holds 1 other files .{name}"):
        sample.main(settings_for(tmp_path))
    assert content(tmp_path) == {f"images/{name}": b"mine"}


def test_the_refusal_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.main", "sample", "--images", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "mine.txt" in done.stdout
    assert "empty folder" in done.stdout


def test_without_a_folder_the_settings_are_wrong() -> None:
    with pytest.raises(SettingsError, match="--images"):
        build({}, job="sample")


def test_the_list_of_copies_names_every_usable_file_and_no_other(written: Path) -> None:
    with (written / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ("image_id", "copy_of", "change", "overlap")
    names = [row["image_id"] for row in rows]
    assert len(set(names)) == len(names)
    broken = {name for name, _ in survey.broken_files("field", SMALL.side)}
    assert set(names) | broken == set(content(written / "images"))
    originals = {row["image_id"] for row in rows if not row["copy_of"]}
    copies = [row for row in rows if row["copy_of"]]
    assert {row["copy_of"] for row in copies} <= originals
    assert all(bool(row["change"]) == bool(row["copy_of"]) for row in rows)
    assert all(bool(row["overlap"]) == (row["change"] == "shift") for row in rows)
    # The class of a copy is that of its original.
    assert all(row["copy_of"].split("/")[0] == row["image_id"].split("/")[0] for row in copies)


def test_the_default_settings_plan_a_survey_of_the_promised_size(shots: list[survey.Shot]) -> None:
    assert len({shot.image_id for shot in shots}) == len(shots) >= 3_500
    labels = [shot.image_id.split("/")[0] for shot in shots]
    assert set(labels) == set(terrain.TERRAINS)
    assert min(labels.count(label) for label in set(labels)) >= 400
    changes = [shot.change for shot in shots]
    for change in ("shift", *survey.CHANGES):
        assert changes.count(change) >= 200, change
    overlaps = [shot.overlap for shot in shots if shot.overlap is not None]
    assert 0.68 < min(overlaps) < 0.75
    assert 0.95 < max(overlaps) < 1


def test_every_kind_of_file_is_planned(shots: list[survey.Shot]) -> None:
    assert {shot.image_id.rsplit(".", 1)[1] for shot in shots} == set(survey.FORMATS)


def decoded(data: bytes) -> decode.Tile:
    (tile,) = decode.decode(data, max_pixels=10**6, tile=None, stride=None)
    return tile


def test_every_planned_image_is_usable(written: Path) -> None:
    scenes = sample.planned(SMALL)
    for name in (shot.image_id for scene in scenes for shot in scene.shots):
        tile = decoded((written / "images" / name).read_bytes())
        if "_scale" not in name:
            assert (tile.width, tile.height) == (SMALL.side, SMALL.side)
