"""How many faults that are planted in the code, one at a time, no test notices.

    .venv/bin/python -m benchmarks.mutants [--count 300] [--seed 1] [--processes 2] [--minutes 60]
        [--json build/mutants/outcomes.json]

Of the code of `udfs/duplicates`, `udfs/vectors`, `udfs/registration` and the stores
(`jobs/warehouse`) so many mutants are drawn, each by the position of what it changes: a number, an
operator, a comparison, a condition, a loop, an exception. Mutants that only change annotations are
passed over, and so is what a GPU computes. The tests that noticed other mutants of the module and
its folder are run first, then those that are nearest: those of the module, of its folder, and then
of the folders that use it, until one fails. What is left survives. Tests of the stores start Spark;
so of these only those are run that come to the mutant's line, or use its constant, by a run of all
of them under coverage.py at the beginning, the quickest first. Outcomes are kept, and the next call
goes on after them. Cosmic Ray makes the mutants (benchmarks/requirements.txt).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import NamedTuple
from xml.etree import ElementTree

import numba
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData

from benchmarks.results import recorded
from benchmarks.session import ROOT

FOLDERS = ("udfs/duplicates", "udfs/vectors", "udfs/registration", "jobs/warehouse")
NOT_MUTATED = ("/gpu/", "gpu.py", "__init__.py")  # no GPU, no test of it
NEEDS_ARGUMENTS = ("VariableInserter", "VariableReplacer")
# The folders of tests that are run after those of the module's own folder.
WIDER = {
    "udfs/duplicates": ("tests/jobs/duplicates",),
    "udfs/vectors": ("tests/udfs/duplicates",),
    "udfs/registration": ("tests/udfs/duplicates",),
    "jobs/warehouse": ("tests/jobs/runtime",),
}
# Of processor time of one run of pytest, by which a mutant that loops for ever is noticed, on a
# busy machine as well; and in all, for one that waits for ever.
PROCESSOR_SECONDS, SECONDS = 600, 3600
SHARED = (".venv", "build/ivy", "build/classes.jsa")  # of the checkout, in each copy of it
NO_TESTS = 5  # pytest's exit code where it was given none that is chosen
CHOSEN = "not whole and not cluster and not s3 and not faults"


OWN = {"benchmarks", "deploy", "jobs", "tests", "udfs"}  # this project's packages
PYTEST = (sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider")
MEASURED = "jobs/warehouse"  # whose tests are chosen by coverage.py
FIRST = 30  # tests that are run before the slower ones are
KILLERS = 12  # tests that noticed other mutants, which are run before all others
# What the tests import and no mutant changes: a process that has it is forked for each run of them.
IMPORTED = [
    *("_pytest.pytester", "hypothesis.extra.numpy", "hypothesis.stateful"),
    *("delta", "deltalake", "pandas", "pyarrow.dataset", "pyarrow.parquet", "pyspark.pandas"),
    *("pyspark.sql.functions", "pyspark.sql.pandas.types"),
    *("jinja2", "matplotlib.figure", "PIL.Image", "pydantic", "rich.console", "simplejpeg"),
    *("numba", "safetensors.torch", "scipy.interpolate", "scipy.ndimage", "scipy.optimize"),
    *("scipy.spatial", "scipy.stats", "tifffile", "torch"),
]
FORKED = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning", *PYTEST[3:])


class Mutant(NamedTuple):
    """A change of one place of a file."""

    path: str
    line: int
    operator: str
    occurrence: int

    @property
    def name(self) -> str:
        """What the outcome is kept by."""
        return f"{self.path}:{self.line} {self.operator} #{self.occurrence}"


def mutated_files() -> list[str]:
    """The files that are mutated, relative to the root of the project."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    names = (path.relative_to(ROOT).as_posix() for path in paths)
    return [name for name in names if not any(part in name for part in NOT_MUTATED)]


def mutants_of(path: str) -> dict[tuple[int, int], list[Mutant]]:
    """All mutants of a file, by the place of what they change."""
    found: dict[tuple[int, int], list[Mutant]] = {}
    tree = get_ast((ROOT / path).read_text(encoding="utf-8"))
    for name in sorted(operator_names()):
        if any(part in name for part in NEEDS_ARGUMENTS):
            continue
        operator = get_operator(name)()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            mutant = Mutant(path, start[0], name.partition("/")[2], occurrence)
            found.setdefault(start, []).append(mutant)
    return found


def code_of(mutant: Mutant) -> str | None:
    """The file with the mutant in it; None if it says the same as before, or is no Python."""
    before = (ROOT / mutant.path).read_text(encoding="utf-8")
    after = mutate_code(before, get_operator(f"core/{mutant.operator}")(), mutant.occurrence)
    try:
        is_other = after is not None and meaning(before) != meaning(after)
    except SyntaxError:
        return None
    return str(after) if is_other else None


def meaning(code: str) -> str:
    """The code without its annotations, which are never evaluated here."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(0)
    return ast.dump(tree)


def drawn(count: int, seed: int) -> Iterator[Mutant]:
    """Draw places without repetition, and of each one mutant that changes the meaning."""
    places = [
        mutants for path in mutated_files() for _, mutants in sorted(mutants_of(path).items())
    ]
    draw = random.Random(seed)
    draw.shuffle(places)
    for mutants in places:
        mutant = draw.choice(mutants)
        if code_of(mutant) is not None:
            yield mutant
            count -= 1
        if not count:
            return


def tests_of(mutant: Mutant, coverage: Coverage) -> list[list[str]]:
    """What pytest is given in turn: the tests nearest to a mutant come first."""
    path = mutant.path
    if path.startswith(MEASURED):
        tests = coverage.tests_of(path, mutant.line)
        if tests:
            return [part for part in (tests[:FIRST], tests[FIRST:]) if part]
    file = Path(path)
    own = Path("tests") / file.with_name(f"test_{file.name}")
    top = next(folder for folder in FOLDERS if path.startswith(folder))
    has_own = (ROOT / own).exists()
    done = [f"--ignore={own}"] if has_own else []
    return [*([[str(own)]] if has_own else []), [f"tests/{top}", *done], list(WIDER[top])]


@dataclass(frozen=True)
class Coverage:
    """Which tests come to a line, and how long each takes.

    lines: of a file, the tests by line. seconds: of a test.
    """

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    @classmethod
    def measured(cls, folder: Path) -> Coverage:
        """Run the tests of the stores under coverage.py, if no earlier call did."""
        data, times = folder / "coverage", folder / "times.xml"
        if not data.exists():
            tests = [f"tests/{MEASURED}", *WIDER[MEASURED]]
            how = ["--cov", MEASURED, "--cov-context", "test", "--cov-report", ""]
            words = [*PYTEST, "-p", "pytest_cov", "-n", "2", "--dist", "loadfile", *how]
            subprocess.run(
                [*words, "--junitxml", str(times), "-m", CHOSEN, *tests],
                cwd=ROOT,
                env=os.environ | {"COVERAGE_FILE": str(data)},
                check=True,
            )
        found = CoverageData(str(data))
        found.read()
        lines = {
            Path(file).relative_to(ROOT).as_posix(): {
                line: sorted({context.partition("|")[0] for context in contexts if context})
                for line, contexts in found.contexts_by_lineno(file).items()
            }
            for file in found.measured_files()
        }
        seconds: dict[str, float] = {}
        for case in ElementTree.parse(times).iter("testcase"):
            module = case.get("classname", "").replace(".", "/")
            seconds[f"{module}.py::{case.get('name')}"] = float(case.get("time", 0))
        return cls(lines, seconds)

    def tests_of(self, path: str, line: int) -> list[str]:
        """The tests that come to the statement at a line, the quickest first.

        Of a constant they are those that come to a statement which has its name.
        """
        statement = self._statement(path, line)
        tests = {test for at in statement for test in self.lines.get(path, {}).get(at, ())}
        if not tests:
            source = (ROOT / path).read_text(encoding="utf-8").splitlines()
            names = re.findall(r"\b[A-Z_]{3,}\b", source[statement.start - 1].partition("=")[0])
            for file, lines in self.lines.items():
                text = (ROOT / file).read_text(encoding="utf-8").splitlines()
                for at, found in lines.items():
                    if any(re.search(rf"\b{name}\b", text[at - 1]) for name in names):
                        tests |= set(found)
        return sorted(tests, key=lambda test: self.seconds.get(test, 0.0))

    def _statement(self, path: str, line: int) -> range:
        """The lines of the innermost statement at a line, without the statements within it."""
        found = range(line, line + 1)
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.stmt):
                continue
            body = getattr(node, "body", [])
            end = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            lines = range(node.lineno, max(end, node.lineno) + 1)
            if line in lines:
                found = lines
        return found


def copy_of_checkout(number: int) -> Path:
    """A copy of the code, with the environment of this one."""
    folder = ROOT / f"build/mutants/{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    (folder / "build").mkdir()
    for name in SHARED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def killers(mutant: Mutant, outcomes: dict[str, dict[str, str]]) -> list[str]:
    """The tests that noticed most mutants of the module, and then of its folder."""
    folder = mutant.path.rpartition("/")[0]
    found: Counter[str] = Counter()
    for name, one in outcomes.items():
        kind, _, test = one["killed by"].partition(" ")
        path = name.partition(":")[0]
        if kind == "FAILED" and path.rpartition("/")[0] == folder:
            found[test] += 100 if path == mutant.path else 1
    return [test for test, _ in found.most_common(KILLERS)]


def outcome(mutant: Mutant, folder: Path, coverage: Coverage, first: list[str]) -> dict[str, str]:
    """Run the tests with a mutant in a copy of the code; say what came of it.

    first: the tests to begin with.
    """
    code = code_of(mutant)
    assert code is not None
    before = (ROOT / mutant.path).read_text(encoding="utf-8")
    write(folder / mutant.path, code)
    try:
        steps = [*([first] if first else []), *tests_of(mutant, coverage)]
        found = next(filter(None, (failure(step, folder) for step in steps)), "")
    finally:
        write(folder / mutant.path, before)
    lines = difflib.unified_diff(before.splitlines(), code.splitlines(), n=0, lineterm="")
    change = [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]
    return {"killed by": found, "change": "\n".join(change)}


def write(path: Path, code: str) -> None:
    """Write a module. Its compiled file goes by size and second, so it may be that of a mutant."""
    path.write_text(code, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def failure(tests: list[str], folder: Path) -> str:
    """The first test that fails, or ""."""
    said = folder / "build/said.txt"
    process = multiprocessing.get_context("forkserver").Process(
        target=run_pytest, args=([*FORKED, "-x", "-m", CHOSEN, *tests], folder, said)
    )
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return f"longer than {SECONDS} s"
    if process.exitcode in (0, NO_TESTS):
        return ""
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0] if failed else f"pytest ended with {process.exitcode}"


def run_pytest(words: list[str], folder: Path, said: Path) -> None:
    """Run pytest in this process, which was forked, with a copy of the code; end with its status.

    A process that has taken PROCESSOR_SECONDS is ended, and so is each that it starts.
    """
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]  # the forking process has this file's
    sys.path = [str(folder), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(folder / "build/numba")
    status = pytest.main(words)
    sys.stdout.flush()
    os._exit(int(status))


def report(outcomes: dict[str, dict[str, str]]) -> None:
    """Print how many survive by folder, and each of them."""
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for name, found in outcomes.items():
        (folder,) = (folder for folder in FOLDERS if name.startswith(folder))
        tried[folder] += 1
        survived[folder] += not found["killed by"]
    print("\n| code | mutants | survived |\n| --- | --- | --- |")
    for folder in FOLDERS:
        print(f"| {folder} | {tried[folder]} | {survived[folder]} |")
    for name, found in sorted(outcomes.items()):
        if not found["killed by"]:
            print(f"\n{name}\n{found['change']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="then no other one is begun")
    parser.add_argument("--json", type=Path, default=ROOT / "build/mutants/outcomes.json")
    given = parser.parse_args()
    outcomes = json.loads(given.json.read_text()) if given.json.exists() else {}
    end = time.monotonic() + 60 * given.minutes
    multiprocessing.set_forkserver_preload(IMPORTED)
    copies: Queue[Path] = Queue()
    coverage = Coverage.measured(given.json.parent)
    for number in range(given.processes):
        copies.put(copy_of_checkout(number))

    def tried(mutant: Mutant) -> None:
        if mutant.name in outcomes or time.monotonic() > end:
            return
        folder = copies.get()
        try:
            first = killers(mutant, dict(outcomes))
            outcomes[mutant.name] = outcome(mutant, folder, coverage, first)
        finally:
            copies.put(folder)
        given.json.write_text(json.dumps(outcomes, indent=1))
        print(mutant.name, "|", outcomes[mutant.name]["killed by"] or "SURVIVED", flush=True)

    with ThreadPoolExecutor(given.processes) as pool:
        list(pool.map(tried, drawn(given.count, given.seed)))
    report(outcomes)


if __name__ == "__main__":
    recorded(main)
