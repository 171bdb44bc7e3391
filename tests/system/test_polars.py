"""The paths below which Polars reads Delta tables: what the docs say, and what the console goes by.

A child process reads: deltalake sometimes aborts when its interpreter ends.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from jobs.report.console_summary import POLARS_FINDS
from tests.support.folders import ROOT

# A part of a path, and whether Polars' own reader finds files below it.
NAMES = {
    **dict.fromkeys(("plain", "a=b", "a+b&c,d;e", "it's(1)!~@$*:"), True),
    **dict.fromkeys(("a b", "ä", "фото", *(f"a{c}b" for c in '"#%<>?{}')), False),
}
SPOKEN = r"Polars' own reader finds no file below a path with .* one of `(.+?)`"
CHILD = """
import json, sys
from pathlib import Path
import deltalake, polars, pyarrow

def reads(path, **how):
    try:
        return polars.read_delta(str(path), **how).height == 2
    except (FileNotFoundError, polars.exceptions.SchemaFieldNotFoundError):
        return False

rows, found = pyarrow.table({"x": [1, 2], "run_id": ["a", "b"]}), {}
for name in sys.argv[2:]:
    table, runs = (Path(sys.argv[1], name, kind) for kind in ("t", "runs"))
    table.parent.mkdir()
    deltalake.write_deltalake(table.as_uri(), rows)
    deltalake.write_deltalake(runs.as_uri(), rows, partition_by=["run_id"])
    by_arrow = [reads(path, use_pyarrow=True) for path in (table, runs)]
    found[name] = [reads(table), reads(runs), *by_arrow]
print(json.dumps(found), flush=True)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bool]]:
    """Of each name: Polars' own reader, the same of a partitioned table, and both by pyarrow."""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path_factory.mktemp("names")), *NAMES]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    answer: dict[str, list[bool]] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_polars_reads_below_the_paths_that_we_say(found: dict[str, list[bool]], name: str) -> None:
    finds = NAMES[name]
    assert found[name] == [finds, finds and "=" not in name, True, True]
    assert bool(POLARS_FINDS.fullmatch(name)) == finds


def test_the_docs_name_the_characters_that_polars_stumbles_over() -> None:
    said = re.search(SPOKEN, (ROOT / "docs/tables.md").read_text(encoding="utf-8"))
    assert said
    odd = {name[1] for name in NAMES if re.fullmatch(r"a[^\w =]b", name)}
    assert set(said[1]) == odd
