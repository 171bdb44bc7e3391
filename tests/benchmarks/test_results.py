"""Results are saved as they were printed, and the pages are rendered from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.render import Saved, rendered
from benchmarks.results import Machine, Result, Table
from benchmarks.statements import is_known, unknown

PRINTED = """
1,034 photographs

| method | found | |
| --- | ---: | --- |
| **ours** | 0.905 (0.896–0.914) | a \\| b |
| theirs | 0.68 | |

In all 7 of 9 were found.
"""
TABLE = Table(
    ["method", "found", ""],
    [["**ours**", "0.905 (0.896–0.914)", "a \\| b"], ["theirs", "0.68", ""]],
)
PAGE = Path(results.ROOT / "docs/page.md")


def result(**given: object) -> Result:
    machine = Machine(2, 24, "AMD EPYC")
    return Result("benchmarks/rules.py", "W", "1234567a", "2026-11-29", machine, **given)  # type: ignore[arg-type]


def saved(numbers: dict[str, str] | None = None, **given: object) -> Saved:
    table = {"columns": ["what", "share"], "rows": [["ours", "**{=run 1 | ours | found as .1%}**"]]}
    quoted: dict[str, dict[str, Any]] = {"numbers": numbers or {}, "tables": {"short": table}}
    return Saved({"run": result(**{"tables": [TABLE], **given})}, quoted)


def test_what_is_printed_is_taken_apart_and_put_together() -> None:
    first, _, table, *rest = results.tables_in(PRINTED.strip())
    assert (first, table) == ("1,034 photographs", TABLE)
    assert rest == ["", "In all 7 of 9 were found."]
    assert list(results.tables_in(TABLE.markdown())) == [TABLE]


def test_a_row_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 columns, but a row has 1: \['x'\]"):
        Table(["a", "b"], [["x"]])


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = result(
        tables=[TABLE], lines=["two", ""], stated={"of … tiles": "1,034"}, note='"odd", is it'
    )
    whole.write(tmp_path / "run.json")
    assert results.read(tmp_path / "run.json") == whole
    assert '["theirs", "0.68", ""]' in (tmp_path / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "{}", '{"script": "a", "colour": "red"}', '{"machine": 3}'])
def test_another_file_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json is no saved result: "):
        results.read(tmp_path / "odd.json")


def test_a_script_saves_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = results.ROOT / "docs/removal.png"
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    script = str(results.ROOT / "benchmarks/rules.py")
    monkeypatch.setattr(sys, "argv", [script, "W H", "--save", "run", "--threads", "2"])

    def main() -> list[Path]:
        assert sys.argv[1:] == ["W H", "--threads", "2"]
        print(PRINTED)
        return [picture]

    results.recorded(main)
    assert capsys.readouterr().out == PRINTED + "\n"
    found = results.read(tmp_path / "run.json")
    assert (found.script, found.arguments) == ("benchmarks/rules.py", "'W H' --threads 2")
    assert found.tables == [TABLE]
    assert found.lines[0] == "1,034 photographs"
    assert found.pictures == {"docs/removal.png": results.digest(picture)}
    assert found.machine.cores >= 1
    assert not found.transcribed


def test_without_an_option_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["rules.py", "W"])
    results.recorded(lambda: print(PRINTED))
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(results.ROOT / "benchmarks/rules.py")
    monkeypatch.setattr(sys, "argv", [script, "--save", "../a"])
    with pytest.raises(ValueError, match=r"'\.\./a' is no name of a result"):
        results.recorded(lambda: pytest.fail("it ran"))


def test_a_page_gets_its_tables_lines_and_numbers() -> None:
    page = (
        "<!-- table: run 1 -->\nold\n<!-- /table -->\n"
        "<!-- lines: run 2 -->\n<!-- /lines -->\n"
        "<!-- table: quoted short -->\n<!-- /table -->\n"
        "It finds **0.9<!-- = copies -->** of them.\n"
    )
    known = saved({"copies": "run 1 | ours | found"}, lines=["one", "two", "three"])
    once = rendered(page, PAGE, known)
    assert once == (
        f"<!-- table: run 1 -->\n{TABLE.markdown()}\n\n"
        "<sub>[rules.py](../benchmarks/rules.py) at 1234567a of 2026-11-29, 2 cores, 24 GiB, "
        "AMD EPYC: [run](figures/run.json)</sub>\n<!-- /table -->\n"
        "<!-- lines: run 2 -->\n```\ntwo\nthree\n```\n<!-- /lines -->\n"
        "<!-- table: quoted short -->\n| what | share |\n| --- | --- |\n| ours | **90.5%** |\n\n"
        "<sub>[rules.py](../benchmarks/rules.py) at 1234567a of 2026-11-29, 2 cores, 24 GiB, "
        "AMD EPYC: [run](figures/run.json)</sub>\n<!-- /table -->\n"
        "It finds **0.905<!-- = copies -->** of them.\n"
    )
    assert rendered(once, PAGE, known) == once


def test_a_page_may_leave_out_rows() -> None:
    shown = saved().table("run 1 without their")
    assert (shown.columns, [row[0] for row in shown.rows]) == (TABLE.columns, ["**ours**"])
    with pytest.raises(ValueError, match="run 1 has no row that begins with 'mine'"):
        saved().table("run 1 without mine")


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("run 1 | ours | found", "0.905"),
        ("run 1 | ours | found as .1f", "0.9"),
        ("run 1 | theirs | found as .0%", "68%"),
        ("run 1 | theirs | found #1", "0.68"),
        ("run 1 | ours | found / run 1 | theirs | found as .2f", "1.33"),
        ("run : tiles", "102,545"),
        ("run : tiles as ,.0f", "102,545"),
    ],
)
def test_a_number_is_quoted(reference: str, number: str) -> None:
    assert saved(stated={"tiles": "102,545"}).number(reference) == number


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("other 1 | ours | found", r"docs/figures has no other\.json"),
        ("run 2 | ours | found", r"run\.json has 1 tables, but a page has 'run 2'"),
        ("run 1 | mine | found", "0 rows of run 1"),
        ("run 1 | ours | lost", "1 rows of run 1"),
        ("run 1 | ours | found #2", "1 rows of run 1"),
        ("run 1 | theirs | method", "there is no number"),
        ("run : tiles", "states no 'tiles'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_an_error(reference: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        saved().number(reference)
    with pytest.raises(ValueError, match=r"docs/page\.md: "):
        rendered("5<!-- = five -->", PAGE, saved())


@pytest.mark.parametrize(
    ("number", "known"),
    [
        ("0.905", True),
        ("0.91", True),
        ("0.92", False),
        ("90.5", True),
        ("90", True),
        ("1,034", True),
        ("1034", True),
        ("1,035", False),
        ("1", False),  # 0.905 rounded: a digit says too little
        ("7", True),
    ],
)
def test_a_number_is_known_as_it_is_rounded_or_in_percent(number: str, known: bool) -> None:
    assert is_known(number, {0.905, 1034.0, 7.0}) == known


def test_a_sentence_with_another_number_is_told() -> None:
    told = (
        "## Finds\n\n<!-- from: run -->\n\nOf 1,034 it finds 90.5 %, of airplane19 10⁻⁵ and `12`.\n"
    )
    known = saved(stated={"photographs": "1,034"})
    page = "docs/results.md"
    assert unknown(told, page, known) == []
    (found,) = unknown(told.replace("90.5", "91.5"), page, known)
    assert (found.number, found.heading) == ("91.5", "Finds")
    assert "it finds [91.5] %, of" in str(found)
    # Without a result nothing is known; on other pages only what has a mark is compared.
    assert len(unknown(told.replace("<!-- from: run -->\n\n", ""), page, known)) == 2
    assert unknown("It finds 91.5 %.", "docs/method.md", known) == []
    assert len(unknown("It finds 91.5 %. <!-- from: run -->", "docs/method.md", known)) == 1


def test_a_table_of_quotes_is_of_the_results_that_it_names() -> None:
    assert saved().names_in("quoted short") == ["run"]
    assert saved().names_in("run 1") == ["run"]
