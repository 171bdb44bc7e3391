"""Labels of pairs, however people save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import JobError
from jobs.evaluation import pair_labels

PAIR_IDS = [f"p{number}" for number in range(9)]
HEAD = "pair_id,image_id,other_id,similarity,same\n"


def saved(folder: Path, text: str, encoding: str = "utf-8") -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding=encoding)
    return str(path)


def test_labels_are_read_however_they_are_written(tmp_path: Path) -> None:
    rows = "p0,a,b,0.9,1\np1,a,c,0.9,0\np2,,,,TRUE\np3,,,,no \np4,,,,\np0,a,b,0.9,1\n\n"
    labels = {"p0": True, "p1": False, "p2": True, "p3": False}
    assert pair_labels.read(saved(tmp_path, HEAD + rows), PAIR_IDS) == labels
    assert pair_labels.read(saved(tmp_path, HEAD + rows, "utf-8-sig"), PAIR_IDS) == labels
    windows = (HEAD + rows).replace(",", ";").replace("\n", "\r\n")
    assert pair_labels.read(saved(tmp_path, windows), PAIR_IDS) == labels
    (tmp_path / "labels.csv").write_bytes((HEAD + rows).replace("\n", "\r").encode())
    assert pair_labels.read(str(tmp_path / "labels.csv"), PAIR_IDS) == labels
    quoted = 'same , note,pair_id\nyes,"two, or ""more""\nlines",p5\n0,,p6'
    assert pair_labels.read(saved(tmp_path, quoted), PAIR_IDS) == {"p5": True, "p6": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no column pair_id, same; it has none: label the pairs in the report"),
        ("pair_id,label\np1,1\n", r"has no column same; it has pair_id, label"),
        (HEAD, r"holds no label in 0 rows: label the pairs"),
        (HEAD + "p1,,,,\np2,,,, \n", r"holds no label in 2 rows"),
        (HEAD + "p1,,,,1\nx,,,,1\n,,,,0\n", r"rows 3 \(x\), 4 \(no pair_id\) name no pair of"),
        (HEAD + "p1,,,,1\np2,,,,maybe\n", r"rows 3 \('maybe'\) have another label than 1, 0"),
        (HEAD + "p1,,,,1\np2\np1,,,,0\n", r"rows 2 and 4 \(p1\) label a pair once same and once"),
        (HEAD + "x,,,,1\n" * 8, r"2 \(x\), .*6 \(x\) and 3 more name no pair"),
        (HEAD + f"p1,,,{'9' * 200_000},1\n", r"is no CSV: field larger than field limit"),
    ],
)
def test_wrong_labels_are_reported_with_their_rows(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        pair_labels.read(saved(tmp_path, text), PAIR_IDS)


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    text = HEAD + "x,,,,1\np1,,,,?\np2,,,,1\np2,,,,0\n"
    with pytest.raises(JobError) as caught:
        pair_labels.read(saved(tmp_path, text), PAIR_IDS)
    for part in ("rows 2 (x) name", "rows 3 ('?') have", "rows 4 and 5 (p2) label"):
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "labels.csv", tmp_path / "lost.csv"):
        with pytest.raises(JobError, match="cannot be read"):
            pair_labels.read(str(path), PAIR_IDS)
