"""Numbers in the sentences of a page, and whether the saved results have them.

    .venv/bin/python -m benchmarks.statements

It prints each number that no saved result has, with its page, heading and sentence. A sentence
cannot be rendered as a table can: if a figure changes, what it says may no longer be true. So its
numbers are only compared. A number is known if a result that the heading's part of the page shows
or names (benchmarks/render.py: marks `table`, `lines` and `from`) has it: in a cell or a line, as
it is, rounded, or in percent; or under `stated`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.render import BLOCK, INLINE, Saved, pages, relative
from benchmarks.results import ROOT, Result

# The pages whose every sentence is compared. On others it is those with a mark `from` behind them.
MEASURED = tuple(
    f"docs/{name}.md"
    for name in ("results", "encoder", "distribution", "classifier", "cost", "engines", "densities")
)
FENCE = re.compile(r"^```.*?^```$", flags=re.M | re.S)
COMMENT = re.compile(r"<!--.*?-->", flags=re.S)
FROM = re.compile(r"<!-- from: ([\w. -]+) -->")
SHOWN = re.compile(r"<!-- (?:table|lines): ([^>]+?) -->")
# Not within a name such as airplane19, nor the base of a power.
NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d⁰¹²³⁴⁵⁶⁷⁸⁹⁻])")
CELL = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Statement:
    """A number in a sentence. of: the results that it may be of, the last shown ones last."""

    page: str
    heading: str
    text: str
    start: int
    of: tuple[str, ...]

    @property
    def number(self) -> str:
        """The number as it is written."""
        found = NUMBER.match(self.text, self.start)
        return found[0] if found else ""

    def __str__(self) -> str:
        end = self.start + len(self.number)
        near = f"{self.text[max(0, self.start - 50) : self.start]}[{self.number}]"
        return f"{self.page}, {self.heading!r}: …{near}{self.text[end : end + 50]}…"


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The headings of a page with what stands below each, up to the next heading."""
    pieces = re.split(r"^#+ (.+?) *$", FENCE.sub("", text), flags=re.M)
    yield from zip(["", *pieces[1::2]], pieces[0::2], strict=True)


def statements(text: str, page: str, saved: Saved) -> Iterator[Statement]:
    """Every number in the sentences of a page that must be known."""
    for heading, body in parts(text):
        general: list[str] = []
        for shown in SHOWN.findall(body):
            general += saved.names_in(shown)
        open_blocks = BLOCK.sub("", body)
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", open_blocks)]
        for paragraph in paragraphs:
            if FROM.fullmatch(paragraph):
                general += FROM.findall(paragraph)[0].split()
        for paragraph in paragraphs:
            own = [name for names in FROM.findall(paragraph) for name in names.split()]
            if page in MEASURED or own:
                plain = plain_text(paragraph)
                for found in NUMBER.finditer(plain):
                    yield Statement(page, heading, plain, found.start(), (*general, *own))


def plain_text(paragraph: str) -> str:
    """A paragraph without what is rendered, comments, code, targets of links and emphasis."""
    text = INLINE.sub("", paragraph)
    text = re.sub(r"`[^`\n]+`", "", COMMENT.sub("", text))
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"[*\[\]]", "", re.sub(r"\s+", " ", text))


def numbers_of(result: Result) -> Iterator[float]:
    """All numbers of a result, without their signs."""
    rows = [row for table in result.tables for row in (table.columns, *table.rows)]
    for text in (*(cell for row in rows for cell in row), *result.lines, *result.stated.values()):
        for found in CELL.findall(text):
            yield float(found.replace(",", ""))


def is_known(number: str, values: set[float]) -> bool:
    """Whether a number is one of the values: as it is, rounded, or in percent.

    Only a number of two digits and more can stand for a rounded one.
    """
    value = float(number.replace(",", ""))
    digits = len(number.partition(".")[2])
    if value in values:
        return True
    significant = len(re.sub(r"\D", "", number).lstrip("0"))
    return significant > 1 and any(
        round(each, digits) == value or round(100 * each, digits) == value for each in values
    )


def unknown(text: str, page: str, saved: Saved) -> list[Statement]:
    """The numbers of a page that no result has."""
    values = {name: set(numbers_of(result)) for name, result in saved.results.items()}
    return [
        each
        for each in statements(text, page, saved)
        if not any(is_known(each.number, values[name]) for name in each.of)
    ]


def main() -> None:
    saved = Saved.load()
    found: list[Statement] = []
    for path in pages():
        page = relative(path, ROOT / "README.md")
        found += unknown(Path(path).read_text(encoding="utf-8"), page, saved)
    print("\n".join(map(str, found)))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
