"""What the page's script gets, as plain lists: images, classes and rules by number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.report.findings import Findings, audited
from jobs.report.gallery import Group, Groups, Member
from jobs.report.summary import Facts
from jobs.report.thumbnails import Album

MOST_CLASSES = 1000  # in the page: the largest
MOST_CELLS = 40_000  # of the table of classes and rules
EXAMPLES = 12  # pairs shown at each step of the explorer
PUBLISHED = 0.8  # of the pictures left for the gallery: to the published rule; the others share
DIGITS = 6  # of similarities to look at

Selected = Mapping[tuple[str, str], Groups]


@dataclass
class Names:
    """Labels by number: the page's classes first, then others that are mentioned."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, label: str) -> int:
        """The number of a label, new or known."""
        return self.numbers.setdefault(label, len(self.numbers))


def classes(facts: Facts) -> list[dict[str, Any]]:
    """The classes in the page, by label: of too many the largest."""
    rows = facts.by_class
    most = min(MOST_CLASSES, MOST_CELLS // max(len(facts.rules), 1))
    if len(rows) <= most:
        return rows
    largest = sorted(rows, key=lambda row: (-row["images"], row["label"]))[:most]
    return sorted(largest, key=lambda row: str(row["label"]))


def gather(
    facts: Facts,
    groups: Selected,
    findings: Findings,
    densities: Sequence[Any],
    similarities: Sequence[Any],
    album: Album,
) -> dict[str, Any]:
    """All of it but the pictures, of which it asks the album: the most wanted first."""
    shown = classes(facts)
    names = Names()
    for row in shown:
        names.number(row["label"])
    content = {
        "pairs": [_pair(row, album, names) for row in findings.of("pairs")],
        "conflicts": [_conflict(row, album, names) for row in findings.of("conflicts")],
        "leaks": [_leak(row, album, names) for row in findings.of("leaks")],
        "anomalies": [_anomaly(row, album, names) for row in findings.of("anomalies")],
    }
    order = _published_first(facts)
    examples = {place: _examples(_of(groups, facts, place), album) for place in order}
    listed = _shared_out([_of(groups, facts, place) for place in order], album, names)
    listed_at = dict(zip(order, listed, strict=True))
    places = range(len(facts.rules))
    return content | {
        "rules": [_rule(facts, findings, place, shown) for place in places],
        "published": facts.published_rule,
        "total": facts.images_encoded,
        "examples": [examples[place] for place in places],
        "groups": [listed_at[place] for place in places],
        "modes": _modes(findings, names),
        "densities": list(densities),
        "similarities": list(similarities),
        "classes": len(shown),
        "images": [row["images"] for row in shown],
        "labels": list(names.numbers),
        "names": album.names,
    }


def finite(number: float | None) -> float | None:
    """A number that JSON can hold: no infinity, no NaN."""
    return None if number is None or not math.isfinite(number) else number


def _published_first(facts: Facts) -> list[int]:
    places = list(range(len(facts.rules)))
    return sorted(places, key=lambda place: place != facts.published_rule)


def _of(groups: Selected, facts: Facts, place: int) -> Groups:
    rule = facts.rules[place]
    return groups.get((rule["rule"], rule["space"]), Groups(0, ()))


def _rule(
    facts: Facts, findings: Findings, place: int, shown: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    rule = facts.rules[place]
    cells = [row["cells"][place] for row in shown]
    return {
        "title": rule["title"],
        "rule": rule["rule"],
        "space": rule["space"],
        "threshold": rule["threshold"],
        "kept": rule["kept"],
        "of_class": [cell["kept"] for cell in cells],
        "found": [cell["found"] for cell in cells] if rule["finds"] else None,
        "audited": audited(findings.of("calibration"), rule),
    }


def _examples(groups: Groups, album: Album) -> list[list[Any]]:
    """The pairs nearest to T, of as many classes as possible: [kept, removed, Sim, Sim − T]."""
    turns: dict[str, int] = {}
    ordered = []
    for group in sorted(groups.shown, key=lambda group: (group.members[0].margin, group.kept_id)):
        turns[group.label] = turns.get(group.label, 0) + 1
        ordered.append((turns[group.label], group.members[0].margin, group))
    ordered.sort(key=lambda item: item[:2])
    chosen = [group for _, _, group in ordered[:EXAMPLES]]
    chosen.sort(key=lambda group: group.members[0].margin)
    return [
        [album.number(group.kept_id), *_member(group.members[0], album)[:3]] for group in chosen
    ]


def _shared_out(groups: Sequence[Groups], album: Album, names: Names) -> list[dict[str, Any]]:
    """The groups of each selection that have room: most of the first, as many of every other."""
    listed = []
    for turn, selection in enumerate(groups):
        part = PUBLISHED if turn == 0 else 1 / (len(groups) - turn)
        share = album.filled + part * (1 - album.filled)
        listed.append(_groups(selection, share, album, names))
    if groups:  # what the others left
        listed[0] = _groups(groups[0], 1.0, album, names)
    return listed


def _groups(groups: Groups, share: float, album: Album, names: Names) -> dict[str, Any]:
    """As many groups as have room: [label, kept, removed, members]."""
    rows = []
    for group in groups.shown:
        if album.has_room(_images(group), share):
            members = [_with_label(member, group, album, names) for member in group.members]
            kept = album.number(group.kept_id)
            rows.append([names.number(group.label), kept, group.removed, members])
    return {"total": groups.total, "rows": rows}


def _images(group: Group) -> Iterable[str]:
    return (group.kept_id, *(member.image_id for member in group.members))


def _member(member: Member, album: Album) -> list[Any]:
    similarity, margin = round(member.similarity, DIGITS), round(member.margin, DIGITS)
    return [album.number(member.image_id), similarity, margin]


def _with_label(member: Member, group: Group, album: Album, names: Names) -> list[Any]:
    """A member, and its label where it is not the group's."""
    other = [] if member.label == group.label else [names.number(member.label)]
    return _member(member, album) + other


def _pair(row: Mapping[str, Any], album: Album, names: Names) -> list[Any]:
    """The similarity as it is stored: it goes into the CSV of labels."""
    images = album.number(row["image_id"]), album.number(row["other_id"])
    return [row["pair_id"], *images, row["similarity"], names.number(row["label"])]


def _conflict(row: Mapping[str, Any], album: Album, names: Names) -> list[Any]:
    one = album.number(row["image_id"]), names.number(row["label"])
    other = album.number(row["other_id"]), names.number(row["other_label"])
    return [*one, *other, round(row["similarity"], DIGITS)]


def _leak(row: Mapping[str, Any], album: Album, names: Names) -> list[Any]:
    place = row["reference_warehouse"]
    reference = f"{place}#{row['reference_id']}" if place else row["reference_id"]
    one = album.number(row["image_id"]), names.number(row["label"])
    other = album.number(reference), names.number(row["reference_label"])
    splits = row["split"], row["reference_split"] or place
    return [*one, *other, round(row["similarity"], DIGITS), *splits, row["threshold"]]


def _anomaly(row: Mapping[str, Any], album: Album, names: Names) -> list[Any]:
    density = finite(row["log_density"])
    number = album.number(row["image_id"]), names.number(row["label"])
    return [*number, None if density is None else round(density, 3), row["rank"]]


def _modes(findings: Findings, names: Names) -> list[list[Any]]:
    """[class, component, stable modes, their positions] of the classes in the page."""
    return [
        [
            names.numbers[row["label"]],
            row["component"],
            row["stable_modes"],
            list(row["positions"] or []),
        ]
        for row in findings.of("modes")
        if row["label"] in names.numbers
    ]
