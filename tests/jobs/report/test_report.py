"""The report of a run."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from jobs.duplicates import publish
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
