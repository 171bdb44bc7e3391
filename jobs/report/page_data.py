"""Builds the data that the page's script reads, as plain lists.

Images, classes and rules stand in them by number, so that each name is in the page once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from jobs.report.gallery import Group, Groups, Member
from jobs.report.optional_tables import OptionalTables, precision_text
from jobs.report.summary import Summary
from jobs.report.thumbnails import Thumbnails

MOST_CLASSES = 1000  # in the page: the largest
MOST_CELLS = 40_000  # of the table with a row for each class and columns for each rule
EXAMPLES = 12  # pairs shown at each step of the explorer
PUBLISHED_SHARE = 0.8  # of the pictures of the gallery, for the published rule
DIGITS = 6  # of similarities that are only looked at

GroupsByKey = Mapping[tuple[str, str], Groups]  # by rule and space


@dataclass
class Labels:
    """The numbers of the labels: first those of the classes in the page, then any other."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, label: str) -> int:
        """Return the number of a label; a new label gets the next one."""
        return self.numbers.setdefault(label, len(self.numbers))


def shown_classes(summary: Summary) -> list[dict[str, Any]]:
    """Return the classes in the page, sorted by label; if there are too many, the largest."""
    rows = summary.by_class
    most = min(MOST_CLASSES, MOST_CELLS // max(len(summary.rules), 1))
    if len(rows) <= most:
        return rows
    largest = sorted(rows, key=lambda row: (-row["images"], row["label"]))[:most]
    return sorted(largest, key=lambda row: str(row["label"]))


def page_data(
    summary: Summary,
    groups: GroupsByKey,
    optional: OptionalTables,
    densities: Sequence[Any],
    similarities: Sequence[Any],
    thumbnails: Thumbnails,
) -> dict[str, Any]:
    """Return all data of the script but the pictures.

    The images are numbered in `thumbnails` as they come, the most important ones first: lists of
    pairs, examples, then groups.
    """
    classes = shown_classes(summary)
    labels = Labels()
    for row in classes:
        labels.number(row["label"])
    lists = {
        "pairs": [_pair(row, thumbnails, labels) for row in optional.of("pairs")],
        "conflicts": [_conflict(row, thumbnails, labels) for row in optional.of("conflicts")],
        "leaks": [_leak(row, thumbnails, labels) for row in optional.of("leaks")],
        "anomalies": [_anomaly(row, thumbnails, labels) for row in optional.of("anomalies")],
    }
    order = _published_first(summary)
    ordered = [_groups_of(groups, summary, rule) for rule in order]
    examples = dict(zip(order, (_examples(each, thumbnails) for each in ordered), strict=True))
    weakest = dict(zip(order, (_weakest(each, thumbnails) for each in ordered), strict=True))
    listed = dict(zip(order, _share_out(ordered, thumbnails, labels), strict=True))
    rules = range(len(summary.rules))
    return lists | {
        "rules": [_rule(summary, optional, rule, classes) for rule in rules],
        "published": summary.published_index,
        "total": summary.images_encoded,
        "examples": [examples[rule] for rule in rules],
        "weakest": [weakest[rule] for rule in rules],
        "groups": [listed[rule] for rule in rules],
        "modes": _modes(optional, labels),
        "densities": list(densities),
        "similarities": list(similarities),
        "classes": len(classes),
        "images": [row["images"] for row in classes],
        "labels": list(labels.numbers),
        "names": thumbnails.image_ids,
    }


def finite(number: float | None) -> float | None:
    """Return a number that JSON can hold; None for infinity and NaN."""
    return None if number is None or not math.isfinite(number) else number


def _published_first(summary: Summary) -> list[int]:
    """Return the indices of the rules, the published one before the others."""
    rules = range(len(summary.rules))
    return sorted(rules, key=lambda rule: rule != summary.published_index)


def _groups_of(groups: GroupsByKey, summary: Summary, index: int) -> Groups:
    """Return the groups of a rule by its index; none if it has none."""
    rule = summary.rules[index]
    return groups.get((rule["rule"], rule["space"]), Groups(0, ()))


def _rule(
    summary: Summary,
    optional: OptionalTables,
    index: int,
    classes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a rule by its index, with what it keeps of each class in the page."""
    rule = summary.rules[index]
    cells = [row["cells"][index] for row in classes]
    return {
        "title": rule["title"],
        "rule": rule["rule"],
        "space": rule["space"],
        "threshold": rule["threshold"],
        "overlap": rule["overlap"],
        "kept": rule["kept"],
        "of_class": [cell["kept"] for cell in cells],
        "found": [cell["found"] for cell in cells] if rule["finds"] else None,
        "audited": precision_text(optional.of("calibration"), rule),
    }


def _examples(groups: Groups, thumbnails: Thumbnails) -> list[list[Any]]:
    """Return the pairs nearest to T, or to the least overlap: [kept, removed, similarity, margin].

    The classes take turns, so that the pairs are of as many classes as possible.
    """
    return _first_pairs(groups, thumbnails, attrgetter("margin"))


def _weakest(groups: Groups, thumbnails: Thumbnails) -> list[list[Any]]:
    """Return the pairs with the lowest registration in the same way; none without evidence."""
    has_evidence = any(group.members[0].evidence for group in groups.shown)
    return _first_pairs(groups, thumbnails, attrgetter("fit")) if has_evidence else []


def _first_pairs(
    groups: Groups, thumbnails: Thumbnails, doubt: Callable[[Member], float]
) -> list[list[Any]]:
    """Return EXAMPLES pairs, one of a group, with the smallest `doubt` first."""
    turns: dict[str, int] = {}
    ordered = []
    pairs = [(min(group.members, key=doubt), group) for group in groups.shown]
    for member, group in sorted(pairs, key=lambda pair: (doubt(pair[0]), pair[1].kept_id)):
        turns[group.label] = turns.get(group.label, 0) + 1
        ordered.append((turns[group.label], doubt(member), member, group))
    ordered.sort(key=lambda item: item[:2])
    chosen = sorted(ordered[:EXAMPLES], key=lambda item: item[1])
    return [
        [thumbnails.number(group.kept_id), *_member(member, thumbnails)]
        for _, _, member, group in chosen
    ]


def _share_out(
    groups: Sequence[Groups], thumbnails: Thumbnails, labels: Labels
) -> list[dict[str, Any]]:
    """Return the groups of each selection whose pictures have room.

    The first selection gets PUBLISHED_SHARE of the pictures that are left, and what the others did
    not use; these share the rest equally.
    """
    listed = []
    for turn, selection in enumerate(groups):
        part = PUBLISHED_SHARE if turn == 0 else 1 / (len(groups) - turn)
        share = thumbnails.filled + part * (1 - thumbnails.filled)
        listed.append(_groups(selection, share, thumbnails, labels))
    if groups:
        listed[0] = _groups(groups[0], 1.0, thumbnails, labels)
    return listed


def _groups(groups: Groups, share: float, thumbnails: Thumbnails, labels: Labels) -> dict[str, Any]:
    """Return the groups whose pictures have room: [label, kept, removed, members].

    share: the part of all pictures that may be used up by then.
    """
    rows = []
    for group in groups.shown:
        if thumbnails.has_room(_images(group), share):
            members = [_with_label(member, group, thumbnails, labels) for member in group.members]
            kept = thumbnails.number(group.kept_id)
            rows.append([labels.number(group.label), kept, group.removed, members])
    return {"total": groups.total, "rows": rows}


def _images(group: Group) -> Iterable[str]:
    """Return the ids of all images of a group."""
    return (group.kept_id, *(member.image_id for member in group.members))


def _member(member: Member, thumbnails: Thumbnails) -> list[Any]:
    """Return a removed image: [image, similarity, margin]."""
    similarity, margin = round(member.similarity, DIGITS), round(member.margin, DIGITS)
    return [thumbnails.number(member.image_id), similarity, margin]


def _with_label(member: Member, group: Group, thumbnails: Thumbnails, labels: Labels) -> list[Any]:
    """Return a removed image, with its label if this is not that of the group."""
    label = [] if member.label == group.label else [labels.number(member.label)]
    return _member(member, thumbnails) + label


def _pair(row: Mapping[str, Any], thumbnails: Thumbnails, labels: Labels) -> list[Any]:
    """Return a pair to label; the similarity is not rounded: it goes into the CSV of labels."""
    images = thumbnails.number(row["image_id"]), thumbnails.number(row["other_id"])
    return [row["pair_id"], *images, row["similarity"], labels.number(row["label"])]


def _conflict(row: Mapping[str, Any], thumbnails: Thumbnails, labels: Labels) -> list[Any]:
    """Return [image, label, image, label, similarity] of two images with unlike labels."""
    left = thumbnails.number(row["image_id"]), labels.number(row["label"])
    right = thumbnails.number(row["other_id"]), labels.number(row["other_label"])
    return [*left, *right, round(row["similarity"], DIGITS)]


def _leak(row: Mapping[str, Any], thumbnails: Thumbnails, labels: Labels) -> list[Any]:
    """Return an image and its reference: [image, label, image, label, similarity, splits, T].

    The name of another warehouse takes the place of the split of the reference.
    """
    warehouse = row["reference_warehouse"]
    reference_id = f"{warehouse}#{row['reference_id']}" if warehouse else row["reference_id"]
    image = thumbnails.number(row["image_id"]), labels.number(row["label"])
    reference = thumbnails.number(reference_id), labels.number(row["reference_label"])
    splits = row["split"], row["reference_split"] or warehouse
    return [*image, *reference, round(row["similarity"], DIGITS), *splits, row["threshold"]]


def _anomaly(row: Mapping[str, Any], thumbnails: Thumbnails, labels: Labels) -> list[Any]:
    """Return [image, label, log-density, rank]; None for a density of zero."""
    density = finite(row["log_density"])
    image = thumbnails.number(row["image_id"]), labels.number(row["label"])
    return [*image, None if density is None else round(density, 3), row["rank"]]


def _modes(optional: OptionalTables, labels: Labels) -> list[list[Any]]:
    """Return [class, component, stable modes, their positions] of the classes in the page."""
    return [
        [
            labels.numbers[row["label"]],
            row["component"],
            row["stable_modes"],
            list(row["positions"] or []),
        ]
        for row in optional.of("modes")
        if row["label"] in labels.numbers
    ]
