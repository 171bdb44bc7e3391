"""The whole pipeline in Spark on small generated pictures."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.acquisition import ingest
from jobs.autoencoder import encode, train
from jobs.duplicates import publish
from jobs.errors import JobError, SettingsError
from jobs.report import gallery, report
from jobs.runtime.lock import lock
from jobs.runtime.run import Run
from jobs.warehouse import tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.store import open_store
from tests.conftest import STAGES, WRITTEN, Runner, picture, save_pictures, settings_for
from udfs.autoencoder import inference
from udfs.vectors import cosine

pytestmark = pytest.mark.spark


def states(run: Run) -> dict[str, str]:
    rows = run.warehouse.read("runs").where(F.col("run_id") == run.run_id).collect()
    return {row.stage: row.state for row in rows}


def test_every_stage_is_done_and_recorded(finished: Run) -> None:
    assert states(finished) == dict.fromkeys(STAGES, "done")


def test_every_table_has_its_declared_schema(finished: Run) -> None:
    for name in WRITTEN:
        table = tables.TABLES[name]
        found = finished.warehouse.read(name).schema
        assert [c.name for c in found] == [c.name for c in table.schema], name
        assert [c.dataType for c in found] == [c.dataType for c in table.schema], name


def test_images_hold_every_picture(finished: Run, pictures: Path) -> None:
    rows = finished.warehouse.read("images").collect()
    assert {row.image_id for row in rows} == {
        str(path.relative_to(pictures)) for path in pictures.rglob("*.png")
    }
    assert all(len(row.pixels) == 64 * 64 * 3 for row in rows)
    assert all(row.label == row.image_id.split("/")[0] and row.width == 72 for row in rows)


def test_latents_are_the_encoders(finished: Run) -> None:
    images = {row.image_id: row.pixels for row in finished.warehouse.read("images").collect()}
    latents = finished.warehouse.read("latents").collect()
    weights = Path(finished.warehouse.root, "models", latents[0].model_id, "weights.safetensors")
    encode = inference.encoder(weights.read_bytes(), device="cpu", batch=32, threads=1)
    pixels = np.stack([np.frombuffer(images[row.image_id], np.uint8) for row in latents])
    stored = np.array([row.latent for row in latents], np.float32)
    assert np.array_equal(encode(pixels), stored)


def test_selection_keeps_both_promises(finished: Run) -> None:
    """Spec §3: no two kept above T; each removed has a kept image above T, the first in order."""
    latents = {
        row.image_id: np.array(row.latent, np.float32)
        for row in finished.warehouse.read("latents").collect()
    }
    selection = finished.warehouse.read("selection").collect()
    assert {row.threshold for row in selection} == {0.999, 0.97}
    assert any(not row.kept for row in selection)
    for threshold in (0.999, 0.97):
        for label in ("field", "town"):
            rows = [r for r in selection if (r.label, r.threshold) == (label, threshold)]
            rows.sort(key=lambda row: row.image_id.encode())
            kept: list[str] = []
            for row in rows:
                pairs = [
                    (other, cosine.exact_similarity(latents[row.image_id], latents[other]))
                    for other in kept
                ]
                first = next((pair for pair in pairs if pair[1] > threshold), (None, None))
                assert (row.kept_id, row.similarity) == first
                assert row.kept == (first[0] is None)
                if row.kept:
                    kept.append(row.image_id)


def test_curated_counts_what_each_image_stands_for(finished: Run) -> None:
    selection = finished.warehouse.read("selection").where("rule = 'fixed:0.97'").collect()
    curated = finished.warehouse.read("curated").collect()
    assert {row.image_id for row in curated} == {row.image_id for row in selection if row.kept}
    assert sum(row.group_size for row in curated) == len(selection)
    for row in curated:
        removed = sum(other.kept_id == row.image_id for other in selection)
        assert row.group_size == 1 + removed
        assert row.weight == 1 / row.group_size


def test_thresholds_state_the_share_kept(finished: Run) -> None:
    for row in finished.warehouse.read("thresholds").collect():
        chosen = finished.warehouse.read("selection").where(
            (F.col("label") == row.label) & (F.col("rule") == row.rule)
        )
        assert row.reached == pytest.approx(chosen.where("kept").count() / chosen.count())
        assert row.asked == row.threshold


def test_axes_and_projections_are_the_principal_components(finished: Run) -> None:
    latents = finished.warehouse.read("latents").where("label = 'town'").orderBy("image_id")
    matrix = np.array([row.latent for row in latents.collect()], np.float64)
    centred = matrix - matrix.mean(axis=0)
    values = np.linalg.eigvalsh(centred @ centred.T / (len(matrix) - 1))[::-1][:3]
    axes = finished.warehouse.read("axes").where("label = 'town'").orderBy("component").collect()
    assert [row.eigenvalue for row in axes] == pytest.approx(values, rel=1e-9)
    assert [row.component for row in axes] == [1, 2, 3]
    projections = finished.warehouse.read("projections").where("label = 'town'")
    rows = projections.orderBy("image_id").collect()
    expected = centred @ np.array([row.axis for row in axes]).T
    assert np.allclose([row.components for row in rows], expected, atol=1e-9)
    assert all(math.isfinite(row.log_density) for row in rows)


def test_density_counts_every_image_and_rule(finished: Run) -> None:
    kept = {
        (row.label, row.rule): row["count"]
        for row in finished.warehouse.read("selection")
        .where("kept")
        .groupBy("label", "rule")
        .count()
        .collect()
    }
    density = finished.warehouse.read("density").collect()
    assert {row.rule for row in density} == {"none", "fixed:0.999", "fixed:0.97"}
    for row in density:
        wanted = 24 if row.rule == "none" else kept[row.label, row.rule]
        assert sum(row.counts) == row.n == wanted


def test_effect_has_kurtosis_as_scipy(finished: Run) -> None:
    from scipy.stats import kurtosis

    projections = {
        row.image_id: row.components for row in finished.warehouse.read("projections").collect()
    }
    selection = finished.warehouse.read("selection").collect()
    for row in finished.warehouse.read("effect").collect():
        every = [s for s in selection if (s.label, s.rule) == (row.label, row.rule)]
        before = [projections[s.image_id][row.component - 1] for s in every]
        after = [projections[s.image_id][row.component - 1] for s in every if s.kept]
        assert (row.n_before, row.n_after) == (len(before), len(after))
        assert row.kurtosis_before == pytest.approx(kurtosis(before), rel=1e-9)
        if len(after) >= 4:
            assert row.kurtosis_after == pytest.approx(kurtosis(after), rel=1e-9)
        else:
            assert row.kurtosis_after is None
        assert row.scale_free_before <= 0.5 * math.log(2 * math.pi * math.e) + 1e-9


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
            assert nearest == pytest.approx(of_group[: gallery.MOST], abs=1e-6)
            for image, similarity, margin in members:
                assert removed[data["names"][image], stays] == pytest.approx(similarity, abs=1e-6)
                assert similarity - margin == pytest.approx(rule["threshold"], abs=2e-6)
    assert all(data["pictures"])
    shown = Image.open(io.BytesIO(base64.b64decode(data["pictures"][0])))
    source = Image.open(Path(finished.settings.images, data["names"][0])).resize((64, 64))
    assert np.abs(np.asarray(shown, int) - np.asarray(source, int)).mean() < 12


@pytest.fixture(scope="module")
def copied(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same warehouse, to run on; other processes read the other one."""
    folder = tmp_path_factory.mktemp("copied") / "warehouse"
    shutil.copytree(finished.warehouse.root, folder)
    return folder


def test_the_same_command_again_does_nothing(
    finished: Run, copied: Path, run_pipeline: Runner
) -> None:
    again = run_pipeline(Path(finished.settings.images), copied)
    assert states(again) == dict.fromkeys(STAGES, "skipped")
    warehouse = open_store(finished.spark, str(copied))
    for name in sorted(WRITTEN - {"runs"}):
        assert warehouse.version(name) == finished.warehouse.version(name), name


def rows_of(run: Run, table: str) -> list[tuple[object, ...]]:
    """A table's rows in a fixed order, without when and by whom they were made."""
    columns = [c for c in run.warehouse.read(table).columns if c not in ("modified_at", "path")]
    return sorted(
        (tuple(row) for row in run.warehouse.read(table).select(columns).collect()), key=repr
    )


RESULTS = ("images", "latents", "selection", "curated", "splits", "density", "effect", "regression")


def test_changes_redo_what_depends_on_them(
    run_pipeline: Runner, pictures: Path, tmp_path: Path
) -> None:
    """A changed setting and back, an added, changed and vanished file; against a fresh run."""
    images, warehouse = tmp_path / "images", tmp_path / "warehouse"
    shutil.copytree(pictures, images)
    first = run_pipeline(images, warehouse)
    stored = {table: rows_of(first, table) for table in RESULTS}

    changed = run_pipeline(images, warehouse, "prune.thresholds=[0.97]")
    assert states(changed) == {
        **dict.fromkeys(("ingest", "train", "encode", "project"), "skipped"),
        **dict.fromkeys(("prune", "publish", "estimate", "similarities", "report"), "done"),
    }
    back = run_pipeline(images, warehouse)
    assert states(back)["prune"] == "done"
    assert {table: rows_of(back, table) for table in RESULTS} == stored

    save_pictures(tmp_path / "more", ("field",), each=3)
    shutil.move(tmp_path / "more/field/001.png", images / "field/100.png")
    (images / "town/005.png").unlink()
    shutil.copy(images / "town/001.png", images / "town/002.png")
    more = run_pipeline(images, warehouse)
    assert states(more)["train"] == "skipped"
    assert states(more)["encode"] == "done"
    rejects = more.warehouse.read("rejects").collect()
    assert [(row.image_id, row.error_code) for row in rejects] == [("town/005.png", "vanished")]
    model = more.warehouse.read("latents").first()
    assert model is not None
    weights = warehouse / "models" / model.model_id
    fresh = run_pipeline(images, tmp_path / "fresh", f"train.model={weights}")
    for table in RESULTS:
        assert rows_of(more, table) == rows_of(fresh, table), table


@pytest.mark.parametrize("name", ["w{a,b}*? x", "a=3/b", "ü#z~;+"])
def test_a_warehouse_may_have_any_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Patterns to Hadoop, partitions to Spark, parts of a URI to delta-rs: written and read by
    either.
    """
    warehouse = open_store(spark, str(tmp_path / name))
    one = tables.rows("anomalies", [("one", "a", -1.0, -2.0, 1)])
    other = tables.rows("anomalies", [("other", "a", -3.0, -2.0, None)])
    first = warehouse.write(one, "anomalies", CommitInfo("r", "anomalies", "1"))
    frame = spark.createDataFrame(other.to_pandas(), tables.TABLES["anomalies"].schema)
    warehouse.write(frame, "anomalies", CommitInfo("r", "anomalies", "2"), append=True)
    ids = {row.image_id for row in warehouse.read("anomalies").collect()}
    assert ids == {row["image_id"] for row in warehouse.query("anomalies")} == {"one", "other"}
    (row,) = warehouse.read("anomalies", first).collect()
    assert row.asDict() == one.to_pylist()[0]


def test_rows_that_another_engine_deleted_are_gone(spark: SparkSession, tmp_path: Path) -> None:
    """By a deletion vector: the file that holds them stays in the log."""
    warehouse = open_store(spark, str(tmp_path))
    rows = tables.rows("anomalies", [(name, "a", -1.0, -2.0, 1) for name in "abc"])
    warehouse.write(rows, "anomalies", CommitInfo("r", "anomalies", "1"))
    table = f"delta.`{warehouse.path('anomalies')}`"
    vectors = "'delta.enableDeletionVectors' = 'true'"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({vectors})")
    spark.sql(f"DELETE FROM {table} WHERE image_id = 'b'")
    assert {row.image_id for row in warehouse.read("anomalies").collect()} == {"a", "c"}


@pytest.mark.parametrize("name", ["50%", "a\\b", "a[1]"])
def test_a_name_that_delta_rs_misreads_is_refused(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    with pytest.raises(JobError, match="may hold none of"):
        open_store(spark, str(tmp_path / name))


def test_one_writer_a_warehouse(tmp_path: Path) -> None:
    with (
        lock(str(tmp_path)),
        pytest.raises(JobError, match="in use by process"),
        lock(str(tmp_path)),
    ):
        pass


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("publish.rule=fixed:0.5", r"not among the computed rules \(fixed:0.999"),
        ('prune.order=["lost"]', "has no column lost"),
    ],
)
def test_what_is_not_there_is_refused(
    run_pipeline: Runner, pictures: Path, copied: Path, wrong: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run_pipeline(pictures, copied, wrong)


def test_tiles_of_another_size_are_encoded_anew_by_a_given_model(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    """Their ids and their files' hashes may be those of the tiles before."""
    Image.fromarray(picture(1, 256)).save(_folder(tmp_path / "images/cat") / "1.png")
    model = next(Path(finished.warehouse.root, "models").iterdir())

    def latents(warehouse: str, tile: int) -> dict[str, list[float]]:
        flags = (f"train.model={model}", f"ingest.tile={tile}")
        for job in (ingest, train, encode):
            run = Run(spark, settings_for(tmp_path / "images", tmp_path / warehouse, *flags), "x")
            run.execute(job.STAGE)
        return {row.image_id: row.latent for row in run.warehouse.read("latents").collect()}

    latents("one", 64)
    assert latents("one", 128) == latents("other", 128)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


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


def test_publish_refuses_a_selection_of_images_that_are_gone(
    spark: SparkSession, finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.warehouse.root, tmp_path / "w")
    shutil.copytree(finished.settings.images, tmp_path / "images")
    current = Run(spark, settings_for(tmp_path / "images", tmp_path / "w"), "x")
    kept = current.warehouse.read("selection").where("kept").orderBy("image_id").first()
    assert kept is not None
    (tmp_path / "images" / kept.image_id).unlink()
    current.execute(ingest.STAGE)
    with pytest.raises(JobError, match="kept images are no longer"):
        current.execute(publish.STAGE)


def test_settings_mistakes_come_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_for(tmp_path, tmp_path, "prune.thresholds=[1.5]", "ingest.tyle=64", "trane.seed=1")
    message = str(caught.value)
    assert "is no cosine" in message
    assert "did you mean tile" in message
    assert "did you mean train" in message
