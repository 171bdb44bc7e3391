"""Which classes and groups the page holds when there are very many."""

from __future__ import annotations

from jobs.report import gallery, page_data, thumbnails
from tests.support import example_report


def test_the_largest_classes_are_shown_when_there_are_too_many() -> None:
    summary = example_report.summary([f"{n:05}" for n in range(1500)])
    shown = page_data.shown_classes(summary)
    assert len(shown) == page_data.MOST_CLASSES
    assert min(row["images"] for row in shown) >= 120 + 2
    assert [row["label"] for row in shown] == sorted(row["label"] for row in shown)


def test_every_class_has_a_group_in_the_page() -> None:
    labels = [f"{n:04}" for n in range(1000)]
    images = thumbnails.Thumbnails(5000)
    summary = example_report.summary(labels)
    data = page_data.page_data(
        summary,
        example_report.groups(labels, 2),
        example_report.optional_tables(labels),
        [],
        [],
        images,
    )
    most = gallery.members_per_group(5000, 1000)
    assert most == gallery.FEWEST_MEMBERS
    assert len({group[0] for group in data["groups"][1]["rows"]}) > 400  # of up to nine images each
    assert len(images.image_ids) >= 4990
