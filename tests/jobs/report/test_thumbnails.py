"""Small pictures in the page: each once, and as many as there is room for."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.support import example_report
from tests.support.pictures import picture
from udfs.acquisition import decode


def test_a_thumbnail_is_small_and_near_the_image() -> None:
    pixels = picture(3, 64)
    data = decode.jpeg(pixels.reshape(-1), 78)
    assert len(data) < 2500
    shown = np.asarray(Image.open(io.BytesIO(data)), int)
    assert np.abs(shown - pixels).mean() < 8


def test_one_picture_is_in_the_page_once() -> None:
    report = example_report.report()
    pictures = [text for text in report.data["pictures"] if text]
    assert len(set(report.data["names"])) == len(report.data["names"]) == len(pictures)
    assert all(report.text.count(text) == pictures.count(text) for text in pictures[:20])


def test_groups_without_room_are_left_out_but_counted() -> None:
    report = example_report.report(most=200)
    shown = [
        image for group in report.data["groups"][1]["rows"] for image in (group[1], group[3][0][0])
    ]
    assert shown
    assert max(shown) < 200
    assert report.data["groups"][1]["total"] == 120
    assert len(report.data["groups"][1]["rows"]) < 60
