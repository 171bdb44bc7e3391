"""Saved results: what a measurement printed, of which code, when, and on which machine.

    .venv/bin/python -m benchmarks.rules WAREHOUSE --save rules

Every script here takes `--save NAME` and then writes docs/figures/NAME.json beside printing. The
tables of the pages are rendered from these files (benchmarks/render.py), and the numbers in their
sentences are checked against them (tests/system/test_figures.py). What another command prints, such
as the demo, is saved by

    .venv/bin/python -m benchmarks.results demo make demo
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import psutil

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs/figures"
BAR = re.compile(r"(?<!\\)\|")  # between two cells; a bar within one is escaped
RULE = re.compile(r"\|(?: *:?-{3,}:? *\|)+")  # the line below a table's head


@dataclass(frozen=True)
class Machine:
    """What figures of time depend on; what is not known is 0 or empty.

    memory_gib: in all; processor, gpu: their names.
    """

    cores: int = 0
    memory_gib: int = 0
    processor: str = ""
    gpu: str = ""

    def __str__(self) -> str:
        cores = self.cores and f"{self.cores} cores"
        memory = self.memory_gib and f"{self.memory_gib} GiB"
        return ", ".join(part for part in (cores, memory, self.processor, self.gpu) if part)


@dataclass(frozen=True)
class Table:
    """A table as it was printed: rows of cells, each as wide as `columns`."""

    columns: list[str]
    rows: list[list[str]]

    def __post_init__(self) -> None:
        odd = [row for row in self.rows if len(row) != len(self.columns)]
        if odd:
            raise ValueError(f"{len(self.columns)} columns, but a row has {len(odd[0])}: {odd[0]}")

    def markdown(self) -> str:
        """The table as the pages have it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("".join(f"| {c} " if c else "| " for c in line) + "|" for line in lines)


@dataclass(frozen=True)
class Result:
    """One run of a script.

    script: its path from the root; arguments: what it was given, as one writes it.
    commit, date: of the code that ran (`+`: with changes that are not committed).
    tables, lines: what it printed, in order: the tables, and everything else.
    stated: numbers of this run that a page states and that were not printed, by what they are:
    settings, what was counted by hand, what follows from several of the printed ones.
    pictures: sha256 of the pictures that it drew, by their paths from the root.
    note: what else one must know. transcribed: taken from the pages, before results were saved;
    `commit` is then the one that brought the figures to them.
    """

    script: str
    arguments: str
    commit: str
    date: str
    machine: Machine
    tables: list[Table] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stated: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    note: str = ""
    transcribed: bool = False

    @property
    def command(self) -> str:
        """What one writes to run it again; empty if no script is known."""
        if self.script.startswith("tests/") or not self.script:
            return self.script and f".venv/bin/pytest {self.script}"
        script = self.script.removesuffix(".py").replace("/", ".")
        python = f".venv/bin/python -m {script}"
        words = {"Makefile": "make", "spark-submit.sh": "./spark-submit.sh"}.get(
            self.script, python
        )
        return f"{words} {self.arguments}".strip()

    def write(self, path: Path) -> None:
        """Save it, a row of a table in a line."""
        document = {name: value for name, value in asdict(self).items() if value or name in ALWAYS}
        document["machine"] = {name: value for name, value in asdict(self.machine).items() if value}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        text = ROW.sub(lambda row: re.sub(r"\n *", "", row[0]).replace('","', '", "'), text)
        path.write_text(text + "\n", encoding="utf-8")


ALWAYS = ("script", "arguments")  # are written even if empty
ROW = re.compile(r'\[\n {4,}"(?:[^"\\]|\\.)*"(?:,\n +"(?:[^"\\]|\\.)*")*\n +\]')  # a row of a table


def path_of(name: str) -> Path:
    """Where a result is saved. Raises ValueError for a name that the pages could not have."""
    if not re.fullmatch(r"[a-z0-9][\w.-]*", name):
        raise ValueError(f"{name!r} is no name of a result: use lower case, digits, '-' and '.'")
    return FOLDER / f"{name}.json"


def read(path: Path) -> Result:
    """A saved result. Raises ValueError that names the file if it is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {each.name for each in fields(Result)}
        if unknown := document.keys() - known:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        tables = [Table(**table) for table in document.pop("tables", [])]
        return Result(machine=Machine(**document.pop("machine")), tables=tables, **document)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} is no saved result: {error}") from error


def tables_in(text: str) -> Iterator[Table | str]:
    """The Markdown tables of a text, and its other lines, in order."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if at + 1 < len(lines) and lines[at].startswith("|") and RULE.fullmatch(lines[at + 1]):
            end = at + 2
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            yield Table(cells(lines[at]), [cells(line) for line in lines[at + 2 : end]])
            at = end
        else:
            yield lines[at].rstrip()
            at += 1


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in BAR.split(line.strip())[1:-1]]


def commit() -> str:
    """The commit that is checked out; `+` behind it if tracked code differs from it.

    Raises FileNotFoundError without git, and CalledProcessError outside of a repository.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md")
    return git("rev-parse", "--short=8", "HEAD") + ("+" if changed else "")


def processor() -> str:
    """The processor's name, as Linux gives it; empty elsewhere."""
    known = Path("/proc/cpuinfo")
    text = known.read_text(encoding="utf-8") if known.is_file() else ""
    named = re.search(r"^model name\s*: (.+)$", text, flags=re.M)
    return named[1].strip() if named else ""


def gpu() -> str:
    """The name of the first GPU; empty without one, or where torch was not loaded."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else ""


def here() -> Machine:
    memory = round(psutil.virtual_memory().total / 2**30)
    return Machine(len(os.sched_getaffinity(0)), memory, processor(), gpu())


def made_now(
    script: str, arguments: Sequence[str], code: str, printed: str, drawn: Sequence[Path] = ()
) -> Result:
    """A result of this machine and day; code: the commit that ran."""
    parts = list(tables_in(printed.strip("\n")))
    return Result(
        script,
        shlex.join(arguments),
        code,
        datetime.now(UTC).date().isoformat(),
        here(),
        [part for part in parts if isinstance(part, Table)],
        [part for part in parts if isinstance(part, str)],
        pictures={path.resolve().relative_to(ROOT).as_posix(): digest(path) for path in drawn},
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Tee(io.StringIO):
    """What is written goes to a stream as well."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(text)
        return super().write(text)

    def flush(self) -> None:
        self.stream.flush()


def recorded(main: Callable[[], Sequence[Path] | None]) -> None:
    """Run the `main` of a script; with `--save NAME` save what it printed under this name.

    main: returns the pictures that it drew, if any.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--save", metavar="NAME", help="also write docs/figures/NAME.json")
    given, rest = parser.parse_known_args(sys.argv[1:])
    if {"-h", "--help"} & set(rest):
        print(f"options of every script:\n{parser.format_help().split(':', 2)[-1].strip()}\n")
    sys.argv[1:] = rest
    if not given.save:
        main()
        return
    script = Path(sys.argv[0]).resolve().relative_to(ROOT).as_posix()
    path, code = path_of(given.save), commit()  # fails before hours have passed
    with redirect_stdout(_Tee(sys.stdout)) as printed:
        drawn = main()
    made_now(script, rest, code, printed.getvalue(), drawn or ()).write(path)


def main() -> None:
    """Run a command, show what it prints, and save it."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    name, *command = sys.argv[1:]
    path, code = path_of(name), commit()
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:
        assert running.stdout
        for line in running.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if running.returncode:
        sys.exit(running.returncode)
    script = "Makefile" if command[0] == "make" else command[0].removeprefix("./")
    made_now(script, command[1:], code, "".join(printed)).write(path)


if __name__ == "__main__":
    main()
