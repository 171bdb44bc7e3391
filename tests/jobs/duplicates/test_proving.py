"""Rules that ask for a proof, in small groups and in rounds, and what of them is stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.autoencoder import whiten
from jobs.duplicates import window_covers
from jobs.duplicates.group_placement import ROUNDS
from jobs.runtime.stage import StageRun
from tests.support.folders import Once
from tests.support.given_latents import ROUNDS_OF, THRESHOLDS, prepared, rows_of, withdraw
from tests.support.given_pictures import OVERLAPS, PROOF_FLAGS, GivenPictures
from udfs.registration import Alignments

SIZES = {"large": 60, "small": 30, "one": 1}
Pairs = dict[tuple[str, str], dict[str, Any]]


class StoppedError(Exception):
    """Raised in place of whatever may stop a run."""


@pytest.fixture(scope="module")
def written(
    spark: SparkSession, once: Once, tmp_path_factory: pytest.TempPathFactory
) -> GivenPictures:
    """Two classes of pictures that overlap, and one image alone."""
    images = GivenPictures(spark, tmp_path_factory.mktemp("pictured"), SIZES)
    prepared(images, "given_pictures", once)
    return images


@pytest.fixture
def pictured(written: GivenPictures, tmp_path: Path, once: Once) -> GivenPictures:
    """A copy to prune."""
    images = GivenPictures(written.spark, tmp_path, SIZES)
    prepared(images, "given_pictures", once)
    return images


def is_given_up(row: dict[str, Any]) -> bool:
    return row["registration"] is None and not row["flat"]


def pairs_of(images: GivenPictures) -> Pairs:
    """The pairs by their ids, each once; or twice if it was given up, and then registered."""
    rows = rows_of(images, "alignments")
    given_up, ended = (
        {(row["image_id"], row["other_id"]): row for row in rows if is_given_up(row) == flag}
        for flag in (True, False)
    )
    assert len(given_up) + len(ended) == len(rows)
    return given_up | ended


def out_of_tries(images: GivenPictures) -> dict[str, int]:
    return {row["rule"]: row["out_of_tries"] for row in rows_of(images, "audit")}


def no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds register nothing on the driver; the audit may."""

    def never(*_: Any) -> Alignments:
        raise AssertionError("a pair is registered again")

    monkeypatch.setattr(window_covers, "PictureAligner", lambda *_: SimpleNamespace(align=never))


def test_small_groups_are_decided_as_defined(pictured: GivenPictures) -> None:
    expected = pictured.proved_selection()
    for level in OVERLAPS:
        of_rule = [kept for (_, rule), (kept, *_) in expected.items() if rule == f"overlap:{level}"]
        assert 0 < sum(of_rule) < len(of_rule)
    pictured.prune(*PROOF_FLAGS)
    assert pictured.selection() == expected
    pairs = pairs_of(pictured)
    for row in rows_of(pictured, "selection"):
        evidence = {name: row[name] for name in ("registration", "overlap", "scale", "shift_x")}
        if row["kept"]:
            assert set(evidence.values()) == {None}
        else:
            pair = pairs[row["image_id"], row["kept_id"]]
            assert evidence == {name: pair[name] for name in evidence}
            assert pair["overlap"] >= float(row["rule"].split(":")[1])
            same = pictured.content(row["image_id"]) == pictured.content(row["kept_id"])
            assert same or pair["registration"] >= 0.5
    for (image, other), pair in pairs.items():
        assert pair["image_content"] == pictured.content(image)
        assert pair["other_content"] == pictured.content(other)
        assert pictured.images[image]["label"] == pictured.images[other]["label"]
    moved = [pair for pair in pairs.values() if pair["shift_x"]]
    for pair in moved:  # images are 128×64: a pixel of the frame is two, and one, of the original
        assert pair["shift_x_source"] == pytest.approx(2 * pair["shift_x"] / pair["scale"])
        assert pair["shift_y_source"] == pytest.approx(pair["shift_y"] / pair["scale"])
    assert moved


def test_each_space_is_decided_by_itself(pictured: GivenPictures) -> None:
    """By its own candidates; a pair that both spaces try is registered once."""
    candidates = {"raw": 0.5, "whitened": 0.1}
    spaces = ("prune.space=['raw', 'whitened']", "publish.space=raw", "prune.axes=8")
    pictured.job(whiten.STAGE, *spaces)
    pictured.prune(*PROOF_FLAGS, *spaces, f"prune.candidates={list(candidates.values())}")
    vectors = {row["image_id"]: row["vector"] for row in rows_of(pictured, "vectors")}
    selection = rows_of(pictured, "selection")
    latents = {"raw": pictured.latents, "whitened": {n: np.array(v) for n, v in vectors.items()}}
    decided = {}
    for space, least in candidates.items():
        pictured.latents = latents[space]
        decided[space] = pictured.proved_selection(candidates=least)
        found = {
            (row["image_id"], row["rule"]): (row["kept"], row["kept_id"], row["similarity"])
            for row in selection
            if row["space"] == space
        }
        assert found == decided[space]
    assert decided["raw"] != decided["whitened"]
    proposed = {row["space"] for row in pairs_of(pictured).values()}
    assert proposed == candidates.keys()


@pytest.mark.slow
@pytest.mark.whole
def test_rounds_decide_as_whole_groups_do(
    pictured: GivenPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows are whole blocks of places; the pairs are those of whole groups."""
    monkeypatch.setattr("jobs.duplicates.rules.PLACES", 7)
    pictured.prune(*PROOF_FLAGS)
    expected, audited = pairs_of(pictured), out_of_tries(pictured)
    assert any(audited.values())
    for window in (1, 20):
        images = GivenPictures(pictured.spark, pictured.folder / str(window), SIZES)
        images.write()
        images.prune(*PROOF_FLAGS, "prune.largest_class=20", f"prune.window={window}")
        assert images.selection() == pictured.selection()
        pairs = pairs_of(images)
        assert pairs.keys() == expected.keys()
        for pair, row in pairs.items():
            assert row["overlap"] == expected[pair]["overlap"]
        assert out_of_tries(images) == audited


@pytest.mark.whole
def test_numbers_beside_proofs_decide_as_alone(pictured: GivenPictures) -> None:
    rules = [*THRESHOLDS, *(f"overlap:{level}" for level in OVERLAPS)]
    both = (*PROOF_FLAGS, f"prune.thresholds={rules}")
    expected = pictured.defined() | pictured.proved_selection()
    pictured.prune(*both)
    assert pictured.selection() == expected
    pictured.prune(*both, *ROUNDS_OF, "prune.order=['image_id']")
    assert pictured.selection() == expected


@pytest.mark.whole
def test_no_pair_is_registered_twice(
    pictured: GivenPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictured.prune(*PROOF_FLAGS)
    first = pairs_of(pictured)
    # Another V and overlap try pairs of which most are known; in rounds the driver registers some.
    more = ("prune.thresholds=['overlap:0.8']", "publish.rule=overlap:0.8", "prune.proof=0.9")
    pictured.prune(*PROOF_FLAGS, *more)
    second = pairs_of(pictured)
    ended = {pair: row for pair, row in first.items() if not is_given_up(row)}
    assert {pair: second[pair] for pair in ended} == ended
    assert second.keys() - first.keys()
    selection = pictured.selection()
    for flags in (PROOF_FLAGS, (*PROOF_FLAGS, *more)):  # nothing is left to be registered
        no_registration(monkeypatch)
        order = "prune.order=['image_id']"  # the order that there is, under another name
        pictured.prune(*flags, order, "prune.largest_class=1", "prune.window=1000")
        assert pairs_of(pictured).keys() == second.keys()
    assert pictured.selection() == selection


@pytest.mark.whole
def test_a_smaller_overlap_registers_anew_what_was_given_up_for_it(
    pictured: GivenPictures,
) -> None:
    """And only this; the decisions are those of a run that began with it."""
    strict = ("prune.thresholds=['overlap:0.9']", "publish.rule=overlap:0.9")
    pictured.prune(*PROOF_FLAGS, *strict)
    first = pairs_of(pictured)
    given_up = {
        pair: row for pair, row in first.items() if row["registration"] is None and not row["flat"]
    }
    assert given_up
    assert all(0 < row["overlap_half"] < 0.8 for row in given_up.values())
    pictured.prune(*PROOF_FLAGS)
    assert pictured.selection() == pictured.proved_selection()
    rows = rows_of(pictured, "alignments")
    keys = [(row["image_id"], row["other_id"]) for row in rows]
    twice = {pair for pair in keys if keys.count(pair) == 2}
    assert twice
    assert twice <= given_up.keys()
    assert len(rows) == len(set(keys)) + len(twice)
    smallest = min(OVERLAPS) - 0.1
    assert all(given_up[pair]["overlap_half"] >= smallest for pair in twice)
    fresh = GivenPictures(pictured.spark, pictured.folder / "fresh", SIZES)
    fresh.write()
    fresh.prune(*PROOF_FLAGS)
    for pair, row in pairs_of(fresh).items():
        stored = [each for each, key in zip(rows, keys, strict=True) if key == pair]
        if row["registration"] is not None:
            assert row["overlap"] in [each["overlap"] for each in stored]
        elif pair in given_up:
            assert pair not in twice  # neither run can use it


def test_pairs_of_changed_pictures_are_registered_anew(pictured: GivenPictures) -> None:
    pictured.prune(*PROOF_FLAGS)
    before = {tuple(sorted(row.items(), key=str)) for row in rows_of(pictured, "alignments")}
    changed = sorted(pictured.images)[3]
    pixels = pictured.pixels
    other = np.random.default_rng(5).integers(0, 256, (64, 64, 3)).astype(np.uint8)

    def altered(name: str) -> Any:
        return other if name == changed else pixels(name)

    pictured.pixels = altered  # type: ignore[method-assign]
    pictured.images[changed]["sha256"] = "other"
    pictured.write()
    pictured.prune(*PROOF_FLAGS)
    assert pictured.selection() == pictured.proved_selection()
    rows = rows_of(pictured, "alignments")
    new = [row for row in rows if tuple(sorted(row.items(), key=str)) not in before]
    of_changed = [row for row in new if changed in (row["image_id"], row["other_id"])]
    assert of_changed
    contents = {(row["image_content"], row["other_content"]) for row in of_changed}
    assert all(pictured.content(changed) in pair for pair in contents)


@pytest.mark.slow
@pytest.mark.whole
def test_a_batch_is_appended_as_in_one_run(
    pictured: GivenPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places count images that are removed already, so blocks and tries are those of one run."""
    monkeypatch.setattr("jobs.duplicates.rules.PLACES", 7)
    names = sorted(pictured.images, key=str.encode)
    early, late = names[:20] + names[61:75], names[20:61] + names[75:]  # large; one, small
    assert all(a < b for a in early for b in late if a.split("/")[0] == b.split("/")[0])
    whole = GivenPictures(pictured.spark, pictured.folder / "whole", SIZES)
    whole.write()
    whole.prune(*PROOF_FLAGS)
    for name, flags in {
        "tasks": (),
        "rounds": ("prune.largest_class=10", "prune.window=8"),
    }.items():
        batches = GivenPictures(pictured.spark, pictured.folder / name, SIZES)
        for batch in (early, names):
            batches.write(batch)
            batches.prune(*PROOF_FLAGS, "prune.mode=append", *flags)
        assert batches.selection() == whole.selection()


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.parametrize(
    "flags", [(), ("prune.largest_class=10", "prune.window=8")], ids=["tasks", "rounds"]
)
def test_a_withdrawn_image_frees_those_that_were_proved_against_it(
    pictured: GivenPictures, flags: tuple[str, ...]
) -> None:
    """No pair of the withdrawn image stays in `alignments`, which tell what it showed."""
    new = sorted(pictured.images)[::11]
    pictured.write([name for name in pictured.images if name not in new])
    pictured.prune(*PROOF_FLAGS, "prune.mode=append", *flags)
    first = pictured.selection()
    keepers = Counter(keeper for _, keeper, _ in first.values() if keeper)
    ((out, _),) = keepers.most_common(1)
    assert any(out in pair for pair in pairs_of(pictured))
    stay = {key: row for key, row in first.items() if out not in (key[0], row[1])}
    assert len(stay) < len(first) - len(OVERLAPS), "no image is free"
    del pictured.images[out]
    pictured.write()
    withdraw(pictured.spark, pictured.folder, out)
    pictured.prune(*PROOF_FLAGS, "prune.mode=append", *flags)
    assert pictured.selection() == pictured.proved_selection(earlier=stay, last=new)
    assert not any(out in pair for pair in pairs_of(pictured))


def test_protected_images_come_first_and_groups_are_those_of_the_settings(
    pictured: GivenPictures,
) -> None:
    flags = ("prune.protect=split = 'test'", "prune.never_across=['camera']")
    pictured.prune(*PROOF_FLAGS, *flags)
    selection = pictured.selection()
    keepers = set()
    for (name, _), (kept, keeper, _) in selection.items():
        image = pictured.images[name]
        assert kept or image["split"] != "test"
        if keeper:
            assert pictured.images[keeper]["camera"] == image["camera"]
            keepers.add(pictured.images[keeper]["split"])
    assert keepers == {"train", "test", None}
    order = "prune.order=['image_id']"  # the order that there is, under another name
    pictured.prune(*PROOF_FLAGS, *flags, order, "prune.largest_class=20", "prune.window=8")
    assert pictured.selection() == selection


@pytest.mark.slow
@pytest.mark.whole
def test_rounds_resume_after_a_stop_without_registering_again(
    pictured: GivenPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.duplicates.rules.PLACES", 7)
    flags = (*PROOF_FLAGS, "prune.largest_class=20", "prune.window=8")
    rounds: list[str] = []
    write = StageRun.write

    def stopping(stage_run: StageRun, frame: DataFrame, table: str, **how: Any) -> None:
        if table == ROUNDS and len(rounds) == 3:
            raise StoppedError
        rounds.extend([table] if table == ROUNDS else [])
        write(stage_run, frame, table, **how)

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "write", stopping)
        with pytest.raises(StoppedError):
            pictured.prune(*flags)
    pairs = pairs_of(pictured)
    assert pairs
    pictured.prune(*flags)
    after = pairs_of(pictured)
    assert {pair: after[pair] for pair in pairs} == pairs
    small = GivenPictures(pictured.spark, pictured.folder / "small", SIZES)
    small.write()
    small.prune(*PROOF_FLAGS)
    assert pictured.selection() == small.selection()
    assert after.keys() == pairs_of(small).keys()
