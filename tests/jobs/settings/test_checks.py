"""Mistakes that only show when several settings, the job or the files are looked at together."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import SettingsError
from jobs.settings.checks import check_published
from jobs.settings.load import build

VECTORS = ("ingest.source=parquet", "ingest.id_column=i", "ingest.vector_column=v")
UNFIXED = 'prune.thresholds="keep_share:0.5"'


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["ingest.stride=32"], r"ingest\.stride: needs ingest\.tile"),
        ([*VECTORS, 'prune.space=["raw", "whitened"]'], r"prune\.thresholds: name them"),
        (["leaks.split=test", UNFIXED], r"leaks: needs a number, or overlap:0\.7, among prune"),
        (
            ["leaks.split=test", "leaks.remove=true", UNFIXED],
            r"leaks\.remove: needs one prune\.space and a number, or overlap:0\.7",
        ),
        (["leaks.split=test", "leaks.warehouse=w"], r"give leaks\.split or leaks\.warehouse, not"),
        (["leaks.remove=true"], r"leaks\.remove: needs leaks\.split or leaks\.warehouse"),
        (["anomalies.remove=true"], r"needs anomalies\.quantile, such as 0\.01"),
        (["generate.components=4"], r"only estimate\.components = 3 axes are modelled"),
        (
            ["generate.count=2", "encode.orientations=8"],
            r"generate\.count: needs encode\.orientations = 1",
        ),
        (["modes.draws=50"], r"at least 59 are needed for estimate\.components = 3"),
        (["ingest.vector_column=v", "ingest.id_column=i"], r"needs ingest\.source = parquet or"),
        ([*VECTORS, "ingest.id_column="], r"vector_column: needs ingest\.id_column"),
        ([*VECTORS, "ingest.tile=64"], r"ingest\.tile: cuts frames"),
        ([*VECTORS, "train.model=m"], r"train\.model: encodes pixels"),
        (
            ["train.model=shipped", "train.epochs=24"],
            r"train\.epochs: is of a training.*--set train\.model=trained",
        ),
        ([*VECTORS, "encode.orientations=8"], r"encode\.orientations: turns what is encoded"),
        ([*VECTORS, "conflicts.threshold=overlap:0.7"], r"conflicts\.threshold: overlap rules lay"),
        ([*VECTORS, 'prune.thresholds="overlap:0.7"'], r"overlap rules lay pixels over each"),
        (
            ["prune.candidates=[0.5, 0.6]"],
            r"holds 2 numbers; give one for each of prune\.space \(g",
        ),
        ([*VECTORS, "generate.count=2"], r"generate\.count: images are decoded by the model"),
        ([*VECTORS, "publish.export=webdataset"], r"publish\.export: writes images, and with"),
    ],
)
def test_what_does_not_go_together_is_one_line(flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        build({}, flags)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["ingest.stride=32", "ingest.tile=64"],
        ["leaks.split=test", "leaks.remove=true"],
        ["leaks.split=test", "leaks.remove=true", 'prune.thresholds="overlap:0.7"'],
        ["leaks.warehouse=w", 'prune.space=["raw", "whitened"]'],
        ["anomalies.remove=true", "anomalies.quantile=0.01"],
        ["generate.components=4", "estimate.components=4"],
        ["modes.draws=59"],
        ["modes.draws=50", "modes.level=0.1"],
        ["encode.orientations=8"],
        [*VECTORS],
    ],
)
def test_what_goes_together_is_no_mistake(flags: list[str]) -> None:
    build({}, flags)


@pytest.mark.parametrize(
    ("job", "flags", "told"),
    [
        ("pipeline", [], "--images PATH is missing"),
        ("ingest", [], "--images PATH is missing"),
        ("sample", [], "--images PATH is missing"),
        ("encode", VECTORS, "--images PATH is missing: encode takes the vectors"),
        ("train", VECTORS, "nothing to train"),
        ("train", ["train.model=lost"], r"train\.model = 'lost': there is no such file"),
        ("report", ["report.truth=lost"], r"report\.truth = 'lost': there is no such file"),
        ("calibrate", [], r"calibrate\.labels is missing"),
        ("calibrate", ["calibrate.labels=lost"], "there is no such file"),
    ],
)
def test_what_would_stop_a_job_later(job: str, flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        build({}, flags, job=job)
    assert len(str(caught.value).splitlines()) == 1
    build({}, flags, job="prune")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["prune.group_by=['sublabel']"], r"sublabel needs modes\.draws, such as 200"),
        (["publish.rule=fixed:0.5"], r"not among the computed rules \(overlap:0\.9, "),
        (["publish.space=raw"], r"not among the computed spaces \(gradients\)"),
    ],
)
def test_what_would_stop_a_pipeline_later(flags: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        build({}, flags, job="pipeline", images=".")
    build({}, flags, job="prune")


def test_a_file_that_is_there_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.touch()
    build({}, [f"calibrate.labels={file}"], job="calibrate")


def test_only_a_rule_and_a_space_that_are_computed_can_be_published() -> None:
    settings = build({}, ["publish.rule=fixed:0.8"])
    check_published(settings, ["fixed:0.8"], ["whitened"])
    with pytest.raises(SettingsError) as caught:
        check_published(settings, ["fixed:0.9"], ["raw"])
    rule, space = str(caught.value).splitlines()
    assert rule.startswith("publish.rule = 'fixed:0.8': not among the computed rules (fixed:0.9)")
    assert space.startswith("publish.space = 'whitened': not among the computed spaces (raw)")


@pytest.mark.parametrize("job", ["pipeline", "export"])
def test_what_would_stop_an_export_is_told_before(job: str, tmp_path: Path) -> None:
    images = str(tmp_path / "images")
    links = ("publish.export=imagefolder", "ingest.tile=64")
    with pytest.raises(SettingsError, match=r"with ingest\.tile images are parts of files"):
        build({}, links, job=job, images=images)
    build({}, links, job="publish", images=images)
    build({}, ("publish.export=webdataset", "ingest.tile=64"), job=job, images=images)
    inside = f"publish.export_folder={images}/shards"
    with pytest.raises(SettingsError, match="so that the next run would take what is exp"):
        build({}, ("publish.export=webdataset", inside), job=job, images=images)
    beside = f"publish.export_folder={images}_exported"
    build({}, ("publish.export=webdataset", beside), job=job, images=images)
    remote = ("publish.export=webdataset", "publish.export_folder=hdfs://host/images/x")
    with pytest.raises(SettingsError, match="lies below --images"):
        build({}, remote, job=job, images="hdfs://host/images/")
