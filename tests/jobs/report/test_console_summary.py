"""The lines at the end of a pipeline, from the report's summary."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.report import console_summary
from jobs.report.summary import Summary
from jobs.runtime.run import Run
from jobs.warehouse.files import LocalFiles
from tests.support import example_report


def printed(folder: Path, summary: Summary) -> list[str]:
    """The lines of a pipeline that took 1.25 seconds for `prune`."""
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report/summary.json").write_text(json.dumps(asdict(summary)), encoding="utf-8")
    lines: list[str] = []
    run: Any = SimpleNamespace(
        warehouse=SimpleNamespace(
            root=str(folder), files=LocalFiles(folder), path=lambda table: f"{folder}/{table}"
        ),
        report_path=f"{folder}/report/report.html",
        console=SimpleNamespace(line=lambda text="": lines.append(text)),
        seconds={"prune": 1.25},
    )
    console_summary.summarise(cast(Run, run))
    return lines


def test_every_rule_says_what_stays_and_one_is_curated(tmp_path: Path) -> None:
    summary = example_report.summary()
    lines = printed(tmp_path, summary)
    assert lines[1] == f"  {summary.images:,} images in 5 classes"
    for line, rule in zip(lines[2:7], summary.rules, strict=True):
        removed = summary.images_encoded - rule["kept"]
        assert line.split()[: len(rule["title"].split())] == rule["title"].split()
        assert f" {rule['kept']:,} stay ({rule['share']:.1%}), {removed:,} are" in line
        assert line.endswith("← curated") == (rule["rule"] == "fixed:0.95")
    assert "  1 file could not be used: truncated 1 (table rejects)" in lines
    assert f"  report    {tmp_path}/report/report.html" in lines
    assert lines[-1] == (
        f"  next      ./spark-submit.sh publish --warehouse {tmp_path} "
        "--set publish.rule=fixed:0.97 --set publish.space=raw"
    )
    assert not any("latent of zeros" in line or "known copies" in line for line in lines)


def test_what_is_special_about_a_run_is_said(tmp_path: Path) -> None:
    truth = {"title": "T = 0.97 raw", "precision": None, "recall": {"blur": 0.5, "shift": 1.0}}
    summary = example_report.summary()
    summary = replace(
        summary,
        truth=[truth],
        zero_latents=3,
        published_kept=summary.published_kept - 7,
        rejected=0,
    )
    lines = printed(tmp_path, summary)
    assert any(line.endswith(f"← curated ({summary.published_kept:,} of them)") for line in lines)
    assert any("known copies: precision –; found: blur 50%, shift 100%" in line for line in lines)
    assert "  3 images have a latent of zeros alone: they all stay" in lines
    assert not any("could not be used" in line for line in lines)


@pytest.mark.parametrize(
    ("folder", "said"),
    [("w", "Spark, delta-rs, Polars, DuckDB"), ("ä b", "Polars reads it by read_delta(…, use_py")],
)
def test_the_console_says_what_reads_the_result(folder: str, said: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    lines = printed(tmp_path / folder, example_report.summary())
    (line,) = [line for line in lines if line.startswith("  curated")]
    assert said in line
