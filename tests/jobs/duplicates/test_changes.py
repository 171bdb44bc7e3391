"""What a publication changed in `curated`: the rows lead from each version to each later one."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from jobs.density import anomalies
from jobs.duplicates import changes, leaks, prune, publish
from jobs.duplicates.changes import CAME, CHANGED, KEEPER, WENT
from jobs.warehouse.store import open_store
from tests.support.given_latents import GivenLatents, rows_of, withdraw

pytestmark = pytest.mark.spark

Change = tuple[str, str, str]


def released(given: GivenLatents, *flags: str) -> None:
    given.write()
    given.job(prune.STAGE, *flags)
    given.job(publish.STAGE, *flags)


def version(given: GivenLatents) -> int:
    return open_store(given.spark, str(given.folder)).version("curated")


def ids(given: GivenLatents, at: int) -> set[str]:
    rows = open_store(given.spark, str(given.folder)).read("curated", at).collect()
    return {row.image_id for row in rows}


def replayed(ids: Collection[str], rows: list[dict[str, object]]) -> set[str]:
    """The ids after changes, as docs/tables.md says it."""
    found = set(ids)
    for row in sorted(rows, key=lambda row: row["to_version"]):  # type: ignore[arg-type, return-value]
        name = str(row["image_id"])
        assert (name in found) == (row["change"] in (WENT, CHANGED)), row
        if row["change"] == CAME:
            found.add(name)
        elif row["change"] == WENT:
            found.remove(name)
    return found


def events(given: GivenLatents) -> Iterator[tuple[str, ...]]:
    """Ten states of a set: each with the settings by which it is pruned and published."""
    names, every = sorted(given.images), dict(given.images)
    yield ()
    yield ("publish.rule=fixed:0.8",)
    yield ("publish.rule=fixed:0.8", "prune.order=['-image_id']")
    yield ("prune.order=['-image_id']",)
    for name in names[::5]:
        del given.images[name]
    yield ("prune.order=['-image_id']",)
    yield ()
    given.images.update(every)
    yield ()
    for name in names[1::4]:
        given.images[name]["sha256"] += "'"
        given.latents[name] = np.roll(given.latents[name], 1)
    yield ()
    yield ("prune.protect=camera = 'c1'",)
    for name in names[::7]:
        given.images[name]["label"] = "other"
    yield ("prune.protect=camera = 'c1'", "publish.rule=fixed:0.8")


@pytest.mark.slow
@pytest.mark.whole
def test_the_changes_between_any_two_versions_lead_from_one_to_the_other(
    spark: SparkSession, tmp_path: Path
) -> None:
    given = GivenLatents(spark, tmp_path, {"a": 40, "b": 20})
    versions = []
    for flags in events(given):
        released(given, *flags)
        versions.append(version(given))
    rows = rows_of(given, "changes")
    assert {row["change"] for row in rows} == {CAME, WENT, KEEPER, CHANGED}
    assert len({row["to_version"] for row in rows}) == len(versions)
    states = {at: ids(given, at) for at in versions}
    assert (
        replayed((), [row for row in rows if row["to_version"] == versions[0]])
        == states[versions[0]]
    )
    for first, last in itertools.combinations(versions, 2):
        between = [row for row in rows if first < row["to_version"] <= last]
        assert all(row["from_version"] is not None for row in between)
        assert replayed(states[first], between) == states[last], (first, last)


@pytest.fixture
def hand(spark: SparkSession, tmp_path: Path) -> GivenLatents:
    """Images at angles: those that lie within 25° of each other are alike at 0.9."""
    given = GivenLatents(spark, tmp_path, {})
    for number, (name, degrees) in enumerate({"d": 0, "e": 14, "x": 60, "z": 150}.items()):
        add(given, name, degrees, number)
    return given


def add(given: GivenLatents, name: str, degrees: float, number: int) -> None:
    radians = np.deg2rad(degrees)
    latent = np.zeros(8, np.float32)
    latent[:2] = np.cos(radians), np.sin(radians)
    given.add(name, "a", latent, number)


def news(given: GivenLatents, *flags: str) -> set[Change]:
    """The changes of one more publication."""
    before = version(given) if (given.folder / "curated").exists() else -1
    released(given, *flags)
    rows = [row for row in rows_of(given, "changes") if row["to_version"] > before]
    assert {row["from_version"] for row in rows} <= {before if before >= 0 else None}
    return {(row["image_id"], row["change"], row["reason"]) for row in rows}


@pytest.mark.whole
def test_each_change_has_its_reason(hand: GivenLatents) -> None:
    first = {(name, CAME, changes.NEW_FILE) for name in "dxz"}
    assert news(hand) == first
    assert news(hand, "publish.seed=3", "publish.split=['train:0.5', 'test:0.5']") == set()
    # A file that is new stands for one that was there.
    add(hand, "b", 70, 7)
    assert news(hand) == {("b", CAME, changes.NEW_FILE), ("x", WENT, changes.SIMILARITY)}
    # An image that is never removed comes back, and the one that stood for it goes.
    protect = ("prune.protect=image_id = 'x'",)
    assert news(hand, *protect) == {
        ("x", CAME, changes.PROTECTED),
        ("b", WENT, changes.PROTECTED),
    }
    assert news(hand) == {("b", CAME, changes.DECIDED_ANEW), ("x", WENT, changes.SIMILARITY)}
    # A removed image has another keeper, which resembles it more.
    add(hand, "c", 27, 8)
    assert news(hand) == {("c", CAME, changes.NEW_FILE), ("e", KEEPER, changes.DECIDED_ANEW)}
    # One that stood for others is gone: they come, and it went for the reason that is known.
    del hand.images["b"], hand.images["z"]
    withdraw(hand.spark, hand.folder, "z")
    assert news(hand) == {
        ("b", WENT, changes.VANISHED),
        ("z", WENT, "withdrawn"),
        ("x", CAME, changes.KEEPER_LEFT),
    }
    # The same file with another content or label.
    hand.images["x"]["sha256"] = "other"
    assert news(hand) == {("x", CHANGED, changes.NEW_CONTENT)}
    hand.images["x"]["label"] = "c"
    assert news(hand) == {("x", CHANGED, changes.NEW_LABEL)}
    hand.images["x"]["label"] = "a"
    news(hand)
    # Another rule: 0.5 is an angle of 60°.
    wide = ("prune.thresholds=[0.9, 0.3]", "publish.rule=fixed:0.3")
    assert {reason for _, _, reason in news(hand, *wide)} == {changes.RULE}


@pytest.mark.whole
def test_an_image_went_because_it_leaks(hand: GivenLatents) -> None:
    """d (train) resembles e (test); before, d stood for e."""
    assert news(hand) == {(name, CAME, changes.NEW_FILE) for name in "dxz"}
    flags = ("leaks.split=['test']", "leaks.remove=true")
    hand.job(leaks.STAGE, *flags)
    assert news(hand, *flags) == {("d", WENT, changes.LEAK), ("e", CAME, changes.PROTECTED)}
    (row,) = (row for row in rows_of(hand, "changes") if row["change"] == WENT)
    assert row["kept_id"] == "e"
    # A leak of another image: the reason is that of the rule that is published alone.
    add(hand, "y", 200, 7)  # number 7: of the test split, and 50° from z, as 0.64
    low = (*flags, "prune.thresholds=[0.9, 0.6]")
    hand.write()
    hand.job(leaks.STAGE, *low)
    assert news(hand, *low) == {("y", CAME, changes.NEW_FILE)}
    # Without the removal of leaks everything is as it was.
    assert news(hand) == {
        ("d", CAME, changes.DECIDED_ANEW),
        ("e", WENT, changes.SIMILARITY),
    }


def test_the_leaks_are_those_that_prune_has_read(hand: GivenLatents) -> None:
    """`leaks` ran once more before the decisions were published, with a rule of its own."""
    news(hand)
    flags = ("leaks.split=['test']", "leaks.remove=true")
    hand.job(leaks.STAGE, *flags)
    hand.job(prune.STAGE, *flags)
    hand.job(leaks.STAGE, *flags, "prune.thresholds=[0.999]", "publish.rule=fixed:0.999")
    hand.job(publish.STAGE, *flags)
    rows = [row for row in rows_of(hand, "changes") if row["from_version"] is not None]
    reasons = {row["image_id"]: row["reason"] for row in rows}
    assert reasons == {"d": changes.LEAK, "e": changes.PROTECTED}


@pytest.mark.whole
def test_an_image_went_because_it_is_an_anomaly(hand: GivenLatents) -> None:
    """z is the least dense image of its class, and x the next one."""
    assert news(hand) == {(name, CAME, changes.NEW_FILE) for name in "dxz"}
    flags = ("anomalies.quantile=0.3", "anomalies.remove=true")
    hand.job(anomalies.STAGE, *flags)
    assert news(hand, *flags) == {("z", WENT, changes.ANOMALY)}
    # One more is left out. What was never published is no change: w, which now stands for z.
    wider = ("anomalies.quantile=0.5", "anomalies.remove=true")
    add(hand, "w", 155, 8)
    add(hand, "f", 5, 5)  # a copy of d: half of the six images are z, w and x
    hand.write()
    hand.job(anomalies.STAGE, *wider)
    assert news(hand, *wider) == {("x", WENT, changes.ANOMALY)}
    assert news(hand) == {(name, CAME, changes.DECIDED_ANEW) for name in "wx"}


def test_without_the_old_versions_the_reason_is_not_known(hand: GivenLatents) -> None:
    news(hand)
    add(hand, "b", 70, 7)
    hand.write()
    hand.job(prune.STAGE)
    for name in ("images", "selection"):
        table = DeltaTable((hand.folder / name).as_uri())
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    hand.job(publish.STAGE)
    rows = [row for row in rows_of(hand, "changes") if row["from_version"] is not None]
    assert {(row["image_id"], row["change"], row["reason"]) for row in rows} == {
        ("b", CAME, changes.NOT_KNOWN),
        ("x", WENT, changes.SIMILARITY),
    }


def test_a_publication_that_was_stopped_hides_no_change(
    hand: GivenLatents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`curated` is written already, `changes` is not."""
    news(hand)
    first = version(hand)
    add(hand, "b", 70, 7)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish, "write_changes", stop)
        with pytest.raises(KeyboardInterrupt):
            released(hand)
    assert version(hand) == first + 1
    given = rows_of(hand, "changes")
    hand.job(publish.STAGE)
    rows = [row for row in rows_of(hand, "changes") if row not in given]
    assert {(row["image_id"], row["change"]) for row in rows} == {("b", CAME), ("x", WENT)}
    assert {(row["from_version"], row["to_version"]) for row in rows} == {(first, first + 2)}


def test_all_reasons_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/tables.md").read_text()
    section = text[text.index("## changes") :].split("\n## ")[0]
    named = {value for name, value in vars(changes).items() if name.isupper()} - {changes.TABLE}
    assert [name for name in named if isinstance(name, str) and f"`{name}`" not in section] == []
