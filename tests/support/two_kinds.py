"""A class of two kinds of images, whose sub-labels are known, beside classes of one kind."""

from __future__ import annotations

ASKED = ("modes.draws=100", "prune.group_by=['sublabel']")
SIZES = {"two": 160, "one": 90, "lone": 1, "two/1": 4}


def second(number: int) -> bool:
    """Whether an image of the class `two` belongs to its smaller kind."""
    return number % 8 < 3


def kind(image: dict[str, str]) -> tuple[str, bool]:
    """The label of an image, and whether it belongs to the smaller kind: its true sub-label."""
    number = int(image["image_id"][-7:-4])
    return image["label"], image["label"] == "two" and second(number)
