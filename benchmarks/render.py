"""Renders the tables and figures of README.md and docs/*.md from the saved results.

    make figures

A page has marks, which no reader sees:

    <!-- table: rules 1 -->      the first table of docs/figures/rules.json, up to <!-- /table -->
    <!-- table: rules 1 without earlier -->   the same less the rows whose first cell begins so
    <!-- lines: demo 12 -->      the last 12 lines that demo.json has, up to <!-- /lines -->
    <!-- results -->             a line for each saved result, up to <!-- /results -->
    0.905<!-- = copies -->       the number `copies` of docs/figures/quoted.json
    <!-- from: demo -->          (says of the heading's part of the page which results its numbers
                                 are of, beside those whose tables it has; nothing is rendered)

Below a table stands which script made it, at which commit and on which machine. quoted.json has no
figures of its own. It names what the pages quote of the saved results: `numbers`, and `tables` in
whose cells {=…} stands for a number:

    "rules 1 | 0.97 | ours | share"          table 1 of rules.json: the keys in its first columns,
                                             then the column (`share #2`: the second one of
                                             this name); the first number of that cell
    "rules : tiles"                          what rules.json has under `stated`
    "rules 1 | 0.97 | ours | share as .1f"   in another format of Python's; in percent: `as .1%`
    "pipeline 1 | … / pipeline 1 | … as .1f" a ratio of two such numbers

Rendered twice, a page stays as it is: in a clean clone `make figures` changes nothing.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.results import FOLDER, ROOT, Result, Table

QUOTED = "quoted"
NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
BLOCK = re.compile(
    r"(?P<open><!-- (?P<kind>table|lines|results)(?:: (?P<what>[^>]+?))? -->\n)"
    r".*?(?P<close><!-- /(?P=kind) -->)",
    flags=re.S,
)
INLINE = re.compile(r"(?P<number>[^\s|*(]*)(?P<mark><!-- = (?P<what>[^>]+?) -->)")


@dataclass(frozen=True)
class Saved:
    """All saved results by name, and what the pages quote of them."""

    results: dict[str, Result]
    quoted: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> Saved:
        """What a folder has. Raises ValueError that names a file that is no saved result."""
        paths = sorted(path for path in folder.glob("*.json") if path.stem != QUOTED)
        quoted = json.loads((folder / f"{QUOTED}.json").read_text(encoding="utf-8"))
        return cls({path.stem: results.read(path) for path in paths}, quoted)

    def result(self, name: str) -> Result:
        """A saved result by its name."""
        if name not in self.results:
            raise ValueError(f"docs/figures has no {name}.json")
        return self.results[name]

    def table(self, reference: str) -> Table:
        """`NAME NUMBER`, or `quoted NAME` with its quoted cells filled in; perhaps less rows."""
        whole, _, start = reference.partition(" without ")
        if start:
            table = self.table(whole)
            rows = [row for row in table.rows if not _plain(row[0]).startswith(start)]
            if len(rows) == len(table.rows):
                raise ValueError(f"{whole} has no row that begins with {start!r}")
            return Table(table.columns, rows)
        name, _, which = reference.partition(" ")
        if name == QUOTED:
            table = Table(**self.quoted["tables"][which])
            rows = [[self._filled(cell) for cell in row] for row in table.rows]
            return Table(table.columns, rows)
        tables = self.result(name).tables
        if not which.isdecimal() or not 1 <= int(which) <= len(tables):
            raise ValueError(f"{name}.json has {len(tables)} tables, but a page has {reference!r}")
        return tables[int(which) - 1]

    def _filled(self, cell: str) -> str:
        """`=REFERENCE` within a cell becomes the number; other text stays."""
        return re.sub(r"\{=(.+?)\}", lambda found: self.number(found[1]), cell)

    def number(self, reference: str) -> str:
        """A number as the pages write it. Raises ValueError if the reference leads nowhere."""
        where, _, form = reference.partition(" as ")
        texts = [self._quoted(part.strip()) for part in where.split(" / ")]
        if len(texts) == 1 and not form:
            return texts[0]
        values = [float(text.replace(",", "").replace("−", "-")) for text in texts]
        value = values[0] if len(values) == 1 else values[0] / values[1]
        return format(value, form)

    def _quoted(self, reference: str) -> str:
        if " : " in reference:
            name, _, what = reference.partition(" : ")
            stated = self.result(name).stated
            if what not in stated:
                raise ValueError(f"{name}.json states no {what!r}")
            return stated[what]
        which, *keys, column = (part.strip() for part in reference.split("|"))
        table = self.table(which)
        rows = [row for row in table.rows if [_plain(c) for c in row[: len(keys)]] == keys]
        column, _, nth = column.partition(" #")
        places = [at for at, name in enumerate(table.columns) if name == column]
        if len(rows) != 1 or not (nth or len(places) == 1) or len(places) < int(nth or 1):
            raise ValueError(f"{reference!r}: {len(rows)} rows of {which}, {table.columns}")
        number = NUMBER.search(rows[0][places[int(nth or 1) - 1]])
        if not number:
            raise ValueError(f"{reference!r}: there is no number")
        return number[0]

    @cached_property
    def numbers(self) -> dict[str, str]:
        """The numbers that the pages quote, by their names there."""
        return {name: self.number(of) for name, of in self.quoted["numbers"].items()}

    def names_in(self, reference: str) -> list[str]:
        """The results that a table is of."""
        name, _, which = reference.partition(" ")
        if name != QUOTED:
            return [name]
        text = json.dumps(self.quoted["tables"][which])
        return sorted(set(re.findall(r"(?:\{=| / )([\w.-]+) ", text)))

    def source(self, name: str, page: Path) -> str:
        """Which script made a result, of which commit, when, and on which machine."""
        result = self.result(name)
        script = "script not recorded,"
        if result.script:
            script = f"[{Path(result.script).name}]({relative(ROOT / result.script, page)})"
        saved = f"[{name}]({relative(results.path_of(name), page)})"
        return f"{script} at {result.commit} of {result.date}, {result.machine}: {saved}"


def _plain(cell: str) -> str:
    return cell.replace("*", "")


def relative(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()


def rendered(text: str, page: Path, saved: Saved) -> str:
    """The text of a page with all that its marks ask for."""

    def block(found: re.Match[str]) -> str:
        what = found["what"] or ""
        if found["kind"] == "table":
            sources = "; ".join(saved.source(name, page) for name in saved.names_in(what))
            body = f"{saved.table(what).markdown()}\n\n<sub>{sources}</sub>\n"
        elif found["kind"] == "lines":
            name, _, count = what.partition(" ")
            body = "```\n" + "\n".join(saved.result(name).lines[-int(count) :]) + "\n```\n"
        else:
            body = overview(page, saved).markdown() + "\n"
        return found["open"] + body + found["close"]

    def inline(found: re.Match[str]) -> str:
        if found["what"] not in saved.numbers:
            raise ValueError(f"quoted.json has no number {found['what']!r}")
        return saved.numbers[found["what"]] + found["mark"]

    try:
        return INLINE.sub(inline, BLOCK.sub(block, text))
    except ValueError as error:
        raise ValueError(f"{relative(page, ROOT / 'README.md')}: {error}") from error


def overview(page: Path, saved: Saved) -> Table:
    """A line for each saved result."""
    rows = []
    for name, result in saved.results.items():
        command = result.command.replace("|", "\\|")
        made = f"`{command}`" if command else "not recorded"
        commit = f"{result.commit}, {result.date}"
        rows.append(
            [
                f"[{name}]({relative(results.path_of(name), page)})",
                made,
                commit + (" (taken from the page)" if result.transcribed else ""),
                str(result.machine),
                result.note,
            ]
        )
    return Table(["result", "made by", "commit", "machine", "note"], rows)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> None:
    saved = Saved.load()
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = rendered(before, page, saved)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"rendered {relative(page, ROOT / 'README.md')}")


if __name__ == "__main__":
    main()
