"""The proofs in the page: of each pair that it shows, how the one picture is laid over the other.

A row has first the numbers that the page shows, then the six of the matrix by which its script
draws the one picture over the other (udfs.report.overlay).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.report.evidence import COLUMNS, Evidence
from jobs.report.gallery import Groups
from jobs.report.thumbnails import Encoded
from jobs.runtime.stage import RunContext, StageRun
from jobs.warehouse.commits import UNFINISHED
from jobs.warehouse.sql import quoted

ALIGNMENTS = "alignments"
Pair = tuple[str, str]  # the ids of an image and of the other one, which it is laid over


def reads(run: RunContext) -> dict[str, str]:
    """Return the table `alignments` with its stage, if it is as new as `selection`."""
    commits = [run.warehouse.newest(table, "prune") for table in (ALIGNMENTS, "selection")]
    fingerprints = {commit.fingerprint if commit else UNFINISHED for commit in commits}
    is_new = len(fingerprints) == 1 and UNFINISHED not in fingerprints
    return {ALIGNMENTS: "prune"} if is_new else {}


def of_groups(groups: Mapping[Any, Groups]) -> dict[Pair, Evidence]:
    """Return the evidence of the removals in the groups of all selections."""
    return {
        (member.image_id, group.kept_id): member.evidence
        for selection in groups.values()
        for group in selection.shown
        for member in group.members
        if member.evidence
    }


def of_pairs(
    stage_run: StageRun, pairs: Sequence[Mapping[str, Any]], encoded: Mapping[str, Encoded]
) -> dict[Pair, Evidence]:
    """Return the evidence of pairs to label for which registration found a transform, good or bad.

    Alignments of pixels that an image no longer has are left out.

    Args:
        stage_run: reads the table `alignments`, if there is one.
        pairs: the rows of `pairs`.
        encoded: the pictures of the page by id.

    """
    if not pairs or ALIGNMENTS not in stage_run.reads:
        return {}
    ids = quoted(sorted({row[name] for row in pairs for name in ("image_id", "other_id")}))
    rows = stage_run.query(
        ALIGNMENTS,
        f"SELECT image_id, other_id, image_content, other_content, {', '.join(COLUMNS)} "
        f"FROM rows WHERE NOT flat AND overlap > 0 AND image_id IN ({ids}) AND other_id IN ({ids})",
    )
    contents = {(image_id, picture.pixels_sha256) for image_id, picture in encoded.items()}
    return {
        (row["image_id"], row["other_id"]): evidence
        for row in rows
        if (row["image_id"], row["image_content"]) in contents
        and (row["other_id"], row["other_content"]) in contents
        and (evidence := Evidence.of(row))
    }


def rows(
    data: Mapping[str, Any], evidence: Mapping[Pair, Evidence], aspects: Mapping[str, float]
) -> dict[str, list[float | None]]:
    """Return the evidence of all pairs in the page: rows by the numbers `image other`.

    A row has no matrix if one of the pictures is missing.

    Args:
        data: that of the page (page_data.page_data).
        evidence: what is known of pairs.
        aspects: width / height of the original of each image that has a picture.

    """
    names, shown = data["names"], {}
    for image, other in _pairs(data):
        pair = names[image], names[other]
        if pair in evidence:
            row = evidence[pair].shown()
            if all(image_id in aspects for image_id in pair):
                row += evidence[pair].matrix(*(aspects[image_id] for image_id in pair))
            shown[f"{image} {other}"] = row
    return shown


def _pairs(data: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the numbers of each removed image and the kept one, and those of pairs to label."""
    for kept, removed, *_ in itertools.chain(*data["examples"], *data["weakest"]):
        yield removed, kept
    for _, kept, _, members in itertools.chain(*(listed["rows"] for listed in data["groups"])):
        for member in members:
            yield member[0], kept
    for _, image, other, *_ in data["pairs"]:
        yield image, other
        yield other, image
