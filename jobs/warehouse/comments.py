"""What the columns of the published tables mean, for catalogs; docs/tables.md says more."""

from __future__ import annotations

from collections.abc import Mapping

_IMAGE = {
    "image_id": "key: the path relative to the input root, with #x,y for a tile, or your own id",
    "label": "the class: the folder, or your own column",
    "split": "train, test, ...; null if there is none",
    "path": "path of the source file; null for bytes that came in a table without a path",
    "sha256": "hash of the source file's bytes; for a vector, of its numbers",
    "width": "in pixels, after the EXIF orientation was applied; of the tile, if it is one",
    "height": "in pixels, after the EXIF orientation was applied; of the tile, if it is one",
    "size_bytes": "of the source file",
    "modified_at": "of the source file; null for rows of a table",
}
_RULE = {"rule": "the published rule", "space": "the vectors that the rule compares"}

COMMENTS: Mapping[str, Mapping[str, str]] = {
    "curated": {
        **_IMAGE,
        **_RULE,
        "group_size": "the number of images that this one represents: itself and those that were "
        "removed as its duplicates",
        "weight": "1/group_size: over all images it gives every group the same chance",
    },
    "splits": {
        "image_id": _IMAGE["image_id"],
        "label": _IMAGE["label"],
        "group_id": "the kept image that represents it, or itself if it is kept",
        "split": "a name of publish.split; a whole group gets one split",
        **_RULE,
        "kept": "whether the image is in the curated table",
    },
}
