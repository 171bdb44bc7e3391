"""The report of a run."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs import pipeline
from jobs.duplicates import prune, publish
from jobs.evaluation import estimate, similarities
from jobs.report import gallery, report
from jobs.runtime.run import Run
from tests.support.session import settings_for


def test_report_is_whole_and_self_contained(finished: Run) -> None:
    folder = Path(finished.warehouse.root, "report")
    page = (folder / "report.html").read_text()
    assert page.count("<figure>") == 6
    assert 'src="http' not in page
    assert 'href="http' not in page
    kurtosis = [path.suffix for path in folder.glob("kurtosis_*")]
    assert kurtosis.count(".png") == kurtosis.count(".svg") == 6
    assert {path.name for path in folder.glob("marginals.*")} == {"marginals.png", "marginals.svg"}
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["labels"][: data["classes"]] == ["field", "town"]
    selection = finished.warehouse.read("selection").collect()
    for rule, listed in zip(data["rules"], data["groups"], strict=True):
        removed = {
            (row.image_id, row.kept_id): row.similarity
            for row in selection
            if row.rule == rule["rule"] and not row.kept
        }
        kept = {kept_id for _, kept_id in removed}
        assert listed["total"] == len(listed["rows"]) == len(kept)
        for _, number, size, members in listed["rows"]:
            stays = data["names"][number]
            assert size == sum(kept_id == stays for _, kept_id in removed)
            of_group = sorted(sim for (_, kept_id), sim in removed.items() if kept_id == stays)
            nearest = [similarity for _, similarity, _ in members]
            assert nearest == pytest.approx(of_group[: gallery.MOST_MEMBERS], abs=1e-6)
            for image, similarity, margin in members:
                assert removed[data["names"][image], stays] == pytest.approx(similarity, abs=1e-6)
                assert similarity - margin == pytest.approx(rule["threshold"], abs=2e-6)
    assert all(data["pictures"])
    shown = Image.open(io.BytesIO(base64.b64decode(data["pictures"][0])))
    source = Image.open(Path(finished.settings.images, data["names"][0])).resize((64, 64))
    assert np.abs(np.asarray(shown, int) - np.asarray(source, int)).mean() < 12


def test_the_report_names_the_rule_that_was_published(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    images = Path(finished.settings.images)
    published = Run(spark, settings_for(images, tmp_path / "w", "publish.rule=fixed:0.999"), "x")
    published.execute(publish.STAGE)
    published.close()
    Run(spark, settings_for(images, tmp_path / "w"), "x").execute(report.STAGE)
    summary = json.loads((tmp_path / "w/report/summary.json").read_text())
    assert summary["published"] == "fixed:0.999"
    assert summary["published_kept"] == next(
        rule["kept"] for rule in summary["rules"] if rule["rule"] == "fixed:0.999"
    )


def test_the_report_says_which_tables_are_older_than_the_decisions(
    spark: SparkSession,
    finished: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They were made of decisions at other thresholds; each is up to date after its command."""
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    changed = ("prune.thresholds=[0.9, 0.8]", "publish.rule=fixed:0.9")

    def page_after(*stages: Any) -> tuple[str, str]:
        settings = settings_for(Path(finished.settings.images), tmp_path / "w", *changed)
        run = Run(spark, settings, "x", pipeline.STAGES)
        for stage in stages:
            run.execute(stage)
        run.execute(report.STAGE)
        run.close()
        return (tmp_path / "w/report/report.html").read_text(), capsys.readouterr().out

    page, told = page_after(prune.STAGE)
    rows = page.split('id="h-tables"')[1].split("</table>")[0].split("</tr>")[1:-1]
    state = {row.split("<code>")[1].split("</code>")[0]: row for row in rows}
    stages = {"curated": "publish", "effect": "estimate", "regression": "estimate"}
    stages |= {"dependence": "estimate", "density": "estimate"}
    stages |= {"similarities": "similarities", "pairs": "similarities"}
    for table, row in state.items():
        again = f"run ./spark-submit.sh {stages.get(table)} --warehouse"
        assert ("up to date" in row, again in row) == (table not in stages, table in stages), row
    assert state.keys() >= stages.keys() | {"images", "latents", "selection", "thresholds"}
    assert "<span>near-copies</span><b>–</b>" in page  # of a rule that is no longer there
    for stage in ("publish", "estimate", "similarities"):
        assert f"run ./spark-submit.sh {stage} --warehouse {tmp_path}/w, and then" in told

    page, told = page_after(publish.STAGE, estimate.STAGE, similarities.STAGE)
    assert page.count("Computed before its inputs changed") == 0
    assert "warning" not in told
    assert "<span>near-copies</span><b>–</b>" not in page
