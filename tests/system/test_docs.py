"""What the documents say is what the code declares.

Every path, name, setting, column, command, option and link that a page names must exist.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from jobs import main
from jobs.settings.load import build, read_flag
from jobs.settings.model import SECTIONS
from jobs.warehouse import tables
from tests.support.folders import ROOT


def documented() -> dict[str, list[tuple[str, str]]]:
    """Columns and types of each table in docs/tables.md, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", (ROOT / "docs/tables.md").read_text(), flags=re.M)[1:]:
        name = part.splitlines()[0].strip()
        found[name] = re.findall(r"^\| (\w+) \| ([\w<>,]+) \| \S.* \|$", part, flags=re.M)
    return {name: columns[1:] for name, columns in found.items() if columns}  # without the head


def test_every_table_is_documented_as_it_is_declared() -> None:
    declared = {
        name: [(column.name, column.dataType.simpleString()) for column in table.schema]
        for name, table in tables.TABLES.items()
    }
    assert documented() == declared


def test_the_settings_file_names_every_key_with_its_default_and_a_comment() -> None:
    text = (ROOT / "conf/local.toml").read_text()
    raw = tomllib.loads(text)
    assert list(raw) == list(SECTIONS)
    for section, kind in SECTIONS.items():
        assert list(raw[section]) == [key.name for key in fields(kind)], section
        part = text.split(f"[{section}]\n")[1].split("\n[")[0]
        for key in fields(kind):
            value = raw[section][key.name]
            if isinstance(key.default, tuple):
                value = tuple(value) if isinstance(value, list) else (value,)
            assert (value, type(value)) == (key.default, type(key.default)), f"{section}.{key.name}"
            (line,) = re.findall(f"^{key.name} = .*", part, flags=re.M)
            assert re.search(r"  # \S", line), f"{line}: say what it is"


def test_a_cluster_has_the_same_defaults() -> None:
    assert build(tomllib.loads((ROOT / "conf/cluster.toml").read_text())) == build({})


def test_the_papers_setting_names_what_the_paper_fixes() -> None:
    """By name, so that other defaults do not change it; each key has a comment."""
    text = (ROOT / "conf/paper.toml").read_text()
    raw = tomllib.loads(text)
    build(raw)
    assert raw["train"] == {
        "objective": "reconstruction",
        "precision": "float32",
        "normalise": False,
        "epochs": 8,
    }
    assert raw["encode"] == {"orientations": 1}
    assert raw["prune"]["thresholds"] == [0.97, 0.95, 0.93]
    assert (raw["prune"]["space"], raw["publish"]["space"]) == ("raw", "raw")
    assert raw["estimate"] == {"components": 3}
    keys = [line for line in text.splitlines() if re.match(r"\w+ = ", line)]
    assert len(keys) == sum(map(len, raw.values()))
    assert all(re.search(r"  # \S", line) for line in keys)


def test_every_key_that_the_page_of_settings_names_exists() -> None:
    names = re.findall(r"`(\w+)\.(\w+)`", (ROOT / "docs/settings.md").read_text())
    known = {(section, key.name) for section, kind in SECTIONS.items() for key in fields(kind)}
    sections = {section for section, _ in known}
    named = {pair for pair in names if pair[0] in sections and pair[1] != "py"}
    assert named
    assert named <= known


PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
CODE = ("jobs", "udfs", "benchmarks", "tests")
FOLDERS = (*CODE, "conf", "docs")
# Options of other programs that a page shows; the project's own are read from its code.
OTHER_OPTIONS = {
    "--archives",  # of spark-submit, as the next ones
    "--conf",
    "--deploy-mode",
    "--driver-java-options",
    "--executor-memory",
    "--files",
    "--jars",
    "--master",
    "--packages",
    "--properties-file",
    "--py-files",
    "--extra-index-url",  # of pip
    "--short",  # of git rev-parse
    "--load-spark-defaults",  # of spark-submit; the next ones of a standalone master and worker
    "--host",
    "--cores",
    "--memory",
    "--work-dir",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.M | re.S)
FILE_ENDING = re.compile(r"\.(csv|html|json|jsa|md|parquet|png|py|safetensors|sh|svg|toml|txt)$")

# Pages that name no class of another library.
OF_OUR_CODE = ("docs/architecture.md", "docs/method.md", "docs/operations.md")

every_page = pytest.mark.parametrize("page", PAGES)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    """The text of the code blocks of a page."""
    return [text for _, text in FENCE.findall(read(page))]


def inline(page: str) -> list[str]:
    """What stands in backticks on a page, outside of its code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", read(page)))


@cache
def sources() -> dict[str, list[ast.Module]]:
    """The parsed Python files of the project by their name without .py."""
    parsed: dict[str, list[ast.Module]] = {}
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            parsed.setdefault(path.stem, []).append(ast.parse(path.read_text(encoding="utf-8")))
    return parsed


def names_in(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """The names that statements of a module or a class define, with the statements."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, node


def defines(body: list[ast.stmt], dotted: str, seen: int = 0) -> bool:
    """Whether statements define `name` or `Class.name`, the class's own bases included."""
    first, _, rest = dotted.partition(".")
    for name, node in names_in(body):
        if name == first:
            if not rest or isinstance(node, ast.Import | ast.ImportFrom):
                return True
            if isinstance(node, ast.ClassDef):
                return defines(node.body, rest) or any(
                    isinstance(base, ast.Name) and seen < 5 and has_class(base.id, rest, seen + 1)
                    for base in node.bases
                )
    return False


def has_class(name: str, member: str, seen: int = 0) -> bool:
    """Whether a class of the project has a member."""
    return any(
        defines(module.body, f"{name}.{member}", seen)
        for modules in sources().values()
        for module in modules
        if any(isinstance(node, ast.ClassDef) and node.name == name for node in module.body)
    )


def is_known(dotted: str) -> bool:
    """Whether `a.b` is a setting, a column of a table, or a name in the code."""
    first, _, rest = dotted.partition(".")
    if first in SECTIONS and rest in [key.name for key in fields(SECTIONS[first])]:
        return True
    if first in tables.TABLES and rest in tables.TABLES[first].schema.names:
        return True
    if first[0].isupper():
        return has_class(first, rest)
    return any(defines(module.body, rest) for module in sources().get(first, []))


@every_page
def test_paths_exist(page: str) -> None:
    """Paths from the root of the project, and names of files alone, in backticks."""
    missing = []
    files = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
    for text in inline(page):
        path = text.split(":")[0].split(" ")[0]
        if path.split("/")[0] in FOLDERS and "/" in path:
            parent, _, last = path.rpartition("/")
            exists = any((ROOT / parent).glob(last)) if "*" in last else (ROOT / path).exists()
            if not exists or (path.endswith("/") and not (ROOT / path).is_dir()):
                missing.append(text)
        elif re.fullmatch(r"\w+\.py", path) and path not in files:
            missing.append(text)
    assert missing == []


@every_page
def test_names_given_with_their_file_exist(page: str) -> None:
    """`path/file.py: name` or `path/file.py: Class.name, other`."""
    missing = []
    for text in inline(page):
        given = re.fullmatch(r"([\w/]+\.py): ([\w., ]+)", text)
        if given:
            body = ast.parse((ROOT / given[1]).read_text(encoding="utf-8")).body
            missing += [f"{given[1]}: {n}" for n in given[2].split(", ") if not defines(body, n)]
    assert missing == []


@every_page
def test_dotted_names_exist(page: str) -> None:
    """`section.key`, `table.column`, `module.name` and `Class.name`, also with ` = value`."""
    missing = []
    for text in inline(page):
        given = re.fullmatch(r"(\w+)((?:\.\w+)+)(?:\(.*\)| ?= ?.*)?", text)
        if not given or FILE_ENDING.search(given[2]):
            continue
        ours = given[1] in SECTIONS or given[1] in tables.TABLES or given[1] in sources()
        ours = ours or (given[1][0].isupper() and page in OF_OUR_CODE)
        if ours and not is_known(given[1] + given[2]):
            missing.append(text)
    assert missing == []


def test_names_in_the_formulas_tables_exist() -> None:
    """The column "code" of the tables in docs/method.md names functions without their module."""
    known = {name for modules in sources().values() for module in modules for name in deep(module)}
    parts = re.split(r"\n\n", read("docs/method.md"))
    named = set()
    for part in parts:
        head, *rows = part.splitlines()
        columns = [column.strip() for column in head.split("|")]
        if "code" in columns:
            for row in rows[1:]:
                cell = re.split(r"(?<!\\)\|", row)[columns.index("code")]
                named |= set(re.findall(r"`([A-Za-z_]+)`", cell))
    assert len(named) > 5
    assert named - tables.TABLES.keys() <= known


def deep(module: ast.Module) -> set[str]:
    """The names of all functions and classes of a module, methods included."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(module) if isinstance(node, kinds)}


@every_page
def test_links_lead_somewhere(page: str) -> None:
    """Links between pages, to files and to headings; pictures."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)
    }


def headings(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^#+ (.+?) *$", text, flags=re.M)


@every_page
def test_options_are_known(page: str) -> None:
    """Every `--option` in a code block or in backticks."""
    scripts = [path for folder in ("benchmarks", "deploy") for path in (ROOT / folder).glob("*.py")]
    own = "\n".join(path.read_text("utf-8") for path in scripts)
    known = set(re.findall(r"--[a-z-]+", main.USAGE)) | OTHER_OPTIONS
    known |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', own))
    text = "\n".join([*blocks(page), *inline(page)])
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert shown <= known


def commands(page: str) -> Iterator[list[str]]:
    """The words of every ./spark-submit.sh command that a page shows in full."""
    texts = [*blocks(page), *(text for text in inline(page) if "spark-submit.sh" in text)]
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            command = re.search(r"\./spark-submit\.sh (?!JOB)(.*)", line)
            if command and "…" not in command[1] and not command[1].startswith("doctor"):
                yield shlex.split(command[1], comments=True)


@every_page
def test_commands_are_understood(page: str) -> None:
    """The job of each command exists, and its settings are valid together."""
    for job, *words in commands(page):
        assert job in main.JOBS, job
        flags = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        for section, key, _ in map(read_flag, flags):
            assert is_known(f"{section}.{key}"), f"{section}.{key}"
        build({}, flags, stages=tuple(main.STAGES))


def test_every_option_of_the_jobs_is_documented() -> None:
    shown = set(re.findall(r"--[a-z-]+", read("docs/operations.md")))
    assert set(re.findall(r"--[a-z-]+", main.USAGE)) - {"--help"} <= shown
    stages = re.search(r"`(ingest train [a-z ]+)`", read("docs/operations.md").replace("\n", " "))
    assert stages
    assert stages[1].split() == list(main.STAGES)


def test_a_page_lists_the_stages_and_what_they_write() -> None:
    page = read("docs/stages.md")
    (listed,) = re.findall(r"^\| stage \| reads .*?\n\n", page, flags=re.M | re.S)
    rows = [line.split(" | ") for line in listed.splitlines()[2:] if line]
    assert [re.findall(r"`(\w+)`", row[0])[0] for row in rows] == list(main.STAGES)
    for row, stage in zip(rows, main.STAGES, strict=True):
        written = {name for name in re.findall(r"`(\w+)`", row[2]) if name in tables.TABLES}
        declared = {name for name, table in tables.TABLES.items() if stage in table.stages}
        assert written == declared - {"placed", "rounds"}, stage


FIRST_SCREEN = 60  # lines of README
ANSWERS = (
    "The two commands",
    "What it finds, and what it does not",
    "How long it takes",
    "How to read the result",
)


def test_the_first_screen_of_readme_answers_what_newcomers_ask() -> None:
    """What it does and a picture, the commands, what it finds, how long, how to read it."""
    first, _, _ = read("README.md").partition("\n## More\n")
    assert len(first.splitlines()) <= FIRST_SCREEN
    assert re.findall(r"^## (.+)$", first, flags=re.M) == list(ANSWERS)
    what, commands_, *_ = first.split("\n## ")
    assert len(re.findall(r"!\[[^\]]+\]\(docs/\S+\.png\)", what)) == 1
    (block,) = FENCE.findall(commands_)
    assert len(block[1].splitlines()) == 2
    assert re.search(r"^demo:", (ROOT / "Makefile").read_text(), flags=re.M)


def test_readme_reads_columns_that_the_tables_have() -> None:
    """`read_delta("W/TABLE")  # …: column, column, …`."""
    shown = re.findall(r'read_delta\("W/(\w+)"\).*?#.*?: (.+)', read("README.md"))
    assert [name for name, _ in shown] == ["curated", "selection"]
    for name, columns in shown:
        named = set(re.findall(r"\w+", columns))
        assert named
        assert named <= set(tables.TABLES[name].schema.names), name


def test_the_index_names_every_page_once() -> None:
    """A line a page: the question that it answers."""
    rows = re.findall(r"^\| ([^|]+) \| \[(\w+\.md)\]\(\2\)", read("docs/README.md"), flags=re.M)
    named = [f"docs/{page}" for _, page in rows]
    assert sorted([*named, "README.md", "docs/README.md"]) == sorted(PAGES)
    assert all("?" in question for question, _ in rows)


def test_every_table_is_said_to_be_written_by_the_stages_that_write_it() -> None:
    for part in re.split(r"^## ", read("docs/tables.md"), flags=re.M)[1:]:
        name = part.splitlines()[0].strip()
        if name in tables.TABLES:
            (written,) = re.findall(r"Written by\s([^.;]*)", part)
            stages = tuple(word for word in re.findall(r"`(\w+)`", written) if word in main.STAGES)
            assert stages == tables.TABLES[name].stages, name


@pytest.mark.parametrize("folder", CODE)
def test_sections_of_the_method_that_code_names_exist(folder: str) -> None:
    """Docstrings point to a section of docs/method.md by its heading."""
    known = set(headings(ROOT / "docs/method.md"))
    missing = []
    for path in (ROOT / folder).rglob("*.py"):
        text = re.sub(r"\s+(# )?", " ", path.read_text(encoding="utf-8"))
        named = re.findall(r'docs/method\.md, "([^"]+)"', text)
        named += re.findall(r'"([^"]+)" (?:of|in) docs/method\.md', text)
        missing += [f"{path.relative_to(ROOT)}: {name}" for name in named if name not in known]
    assert missing == []
