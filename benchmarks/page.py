"""The page of a large warehouse: its size, the seconds of its stage, how fast a browser is with it.

Every table is invented: scenes of five images, of which the first stays; all optional tables are
there. The report is the job's own. Interactive is the page when its script is done; a key is the
median time from a press of → on the explorer's slider to the next frame.

.venv/bin/python -m benchmarks.page --warehouse DIR [--images 100000] [--classes 1000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.browser import launch
from benchmarks.results import recorded
from benchmarks.session import start
from jobs.report import report
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.warehouse import arrow_frames, tables
from jobs.warehouse.commits import CommitInfo
from jobs.warehouse.tables import PROPERTIES

SCENE = 5
RULES = (  # with the similarity above which images are removed
    ("overlap:0.9", "raw", 0.96),
    ("overlap:0.7", "raw", 0.94),
    ("fixed:0.97", "raw", 0.97),
    ("fixed:0.95", "raw", 0.95),
    ("fixed:0.93", "raw", 0.93),
    ("keep_share:0.5", "raw", 0.945),
    ("fixed:0.5", "whitened", 0.94),
    ("pair_rate:0.001", "whitened", 0.96),
)
PICTURES = 4000  # distinct ones; more images repeat them
PART = 10_000  # images written at a time
Columns = dict[str, Any]


def put(root: Path, name: str, rows: pa.Table, *, more: bool = False) -> None:
    """Write a table, or add to it, with the commit metadata that its stage would give."""
    stage = {"rejects": "encode", "density": "estimate"}.get(name, tables.TABLES[name].stages[0])
    commit = CommitInfo("invented", stage, "invented")
    deltalake.write_deltalake(
        str(root / name),
        rows,
        mode="append" if more else "overwrite",
        configuration=PROPERTIES,
        commit_properties=commit.properties(),
    )


def declared(name: str, columns: Columns) -> pa.Table:
    """Columns of a declared table; those that are not given are null."""
    schema = arrow_frames.arrow_schema(tables.TABLES[name].schema)
    n = len(next(iter(columns.values())))
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(n, field.type)
            for field in schema
        ],
        schema=schema,
    )


def textures(count: int) -> NDArray[np.uint8]:
    """Pictures with about the detail of aerial ones: (count, 64·64·3)."""
    draw = np.random.default_rng(0)
    found = np.empty((count, 64, 64, 3), np.uint8)
    for place in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC), np.int16)
        noise = draw.normal(0, 6, (64, 64, 1))
        found[place] = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return found.reshape(count, -1)


class Invented:
    """Ids, labels and similarities of so many images in so many classes."""

    def __init__(self, images: int, classes: int) -> None:
        each = images // classes
        draw = np.random.default_rng(0)
        self.labels = [f"class {number:04}" for number in range(classes)]
        self.label = np.repeat(np.array(self.labels), each)
        place = np.tile(np.arange(each), classes)
        self.ids = np.char.add(self.label, np.char.mod("/survey/strip_%06d.jpg", place))
        self.first = np.arange(len(place)) - place % SCENE
        self.similarity = 1 - draw.beta(1.2, 12, len(place))

    def images(self, root: Path) -> None:
        """Write the tables images and latents."""
        pixels = textures(min(PICTURES, len(self.ids)))
        for low in range(0, len(self.ids), PART):
            part = slice(low, low + PART)
            ids = self.ids[part].tolist()
            shown = [pixels[i % len(pixels)].tobytes() for i in range(low, low + len(ids))]
            columns: Columns = {"image_id": ids, "label": self.label[part], "pixels": shown}
            put(root, "images", declared("images", columns), more=low > 0)
            columns = {
                "image_id": ids,
                "label": self.label[part],
                "model_id": ["0" * 64] * len(ids),
            }
            columns |= {"encoded_on": ["cpu"] * len(ids), "latent": [[1.0] * 16] * len(ids)}
            put(root, "latents", declared("latents", columns), more=low > 0)

    def selection(self, root: Path) -> None:
        """Write the tables selection and curated."""
        rows = np.arange(len(self.ids))
        evidence = self.evidence()
        for place, (rule, space, threshold) in enumerate(RULES):
            kept = (self.first == rows) | (self.similarity <= threshold)
            of = self.ids[self.first].astype(object)
            columns: Columns = {"image_id": self.ids, "label": self.label, "kept": kept}
            columns |= {"rule": [rule] * len(kept), "space": [space] * len(kept)}
            if not rule.startswith("overlap:"):
                columns |= {"threshold": np.full(len(kept), threshold)}
            else:
                columns |= {name: pa.array(one, mask=kept) for name, one in evidence.items()}
            columns["kept_id"] = np.where(kept, None, of)
            columns["similarity"] = pa.array(self.similarity, mask=kept)
            put(root, "selection", declared("selection", columns), more=place > 0)
            if place == 1:
                stay = {name: columns[name][kept] for name in ("image_id", "label")}
                stay |= {"rule": [rule] * len(stay["label"]), "space": ["raw"] * len(stay["label"])}
                put(root, "curated", declared("curated", stay))

    def evidence(self) -> dict[str, NDArray[Any]]:
        """A registration of every image, with as many digits as real ones have."""
        draw, n = np.random.default_rng(2), len(self.ids)
        shares = ("registration", "agreement", "overlap")
        lengths = ("rotation", "shift_x", "shift_y", "shift_x_source", "shift_y_source")
        found: dict[str, NDArray[Any]] = {name: draw.uniform(0.5, 1, n) for name in shares}
        found |= {name: draw.normal(0, 5, n) for name in lengths}
        found |= {"scale": draw.uniform(0.8, 1.2, n), "orientation": np.zeros(n, np.int32)}
        return found

    def small(self, root: Path) -> None:
        """The tables of a row a class, and what the optional jobs list."""
        for name, rows in per_class(self.labels).items():
            put(root, name, listed(name, rows))
        for name, rows in lists(self.ids.tolist(), self.label.tolist()).items():
            put(root, name, listed(name, rows))


def listed(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return tables.rows(name, rows) if name in tables.TABLES else pa.Table.from_pylist(list(rows))


def per_class(labels: list[str]) -> dict[str, list[dict[str, Any]]]:
    draw = np.random.default_rng(1)
    keys = [{"rule": rule, "space": space, "threshold": t} for rule, space, t in RULES]
    cells = np.histogram(draw.normal(size=400), bins=30)[0].tolist()
    density = [
        {"label": label, "component": component, "origin": -3.0, "step": 0.2, "n": 400}
        | {"entropy": 1.0, "skewness": 0.0, "kurtosis": 0.0, "counts": cells}
        | {"rule": rule, "space": space}
        for label in labels
        for component in (1, 2, 3)
        for rule, space in (("none", None), *((rule, space) for rule, space, _ in RULES))
    ]
    measured: Columns = {}
    for name in ("entropy", "scale_free", "kurtosis"):
        measured |= {f"{name}_before": 1.0, f"{name}_low": 0.8, f"{name}_high": 1.2}
    effect = [
        {"label": label, "component": component, "n_before": 100, "n_after": 60, **key, **measured}
        | {f"{name}_after": float(draw.normal()) for name in ("entropy", "scale_free", "kurtosis")}
        for label in labels
        for component in (1, 2, 3)
        for key in keys
    ]
    line = {"slope": 0.6, "intercept": 0.1, "slope_low": 0.5, "slope_high": 0.7}
    line |= {"control_low": 0.8, "control_high": 1.2, "classes": len(labels)}
    level = np.rint(255 * np.clip(draw.normal(0.8, 0.1, (200, 200)), 0, 1)).astype(np.uint8)
    counts = np.histogram(draw.normal(0.8, 0.1, 20_000), bins=400, range=(0, 1))[0].tolist()
    return {
        "thresholds": [
            {"label": label, "asked": 0.5, "reached": 0.5, **key}
            for label in labels
            for key in keys
        ],
        "density": density,
        "effect": effect,
        "regression": [{"component": k, **key, **line} for key in keys for k in (1, 2, 3)],
        "dependence": [{"label": label, "n": 100, "divergence": 0.05} for label in labels],
        "modes": [
            {"label": label, "component": 1, "modes": 2, "stable_modes": 2, "p_value": 0.001}
            | {"heterogeneous": place % 3 == 0, "positions": [-1.0, 1.0]}
            for place, label in enumerate(labels)
        ],
        "similarities": [
            {"label": label, "space": space, "n": 100, "sampled": 100, "origin": 0.0}
            | {"step": 0.0025, "counts": counts, "heat_ids": ["x"] * 200, "heat": level.tobytes()}
            for label in labels
            for space in ("raw", "whitened")
        ],
    }


def lists(ids: list[str], label: list[str]) -> dict[str, list[dict[str, Any]]]:
    n = min(20_000, len(ids) // 2)
    pairs = [(place, len(ids) - 1 - place) for place in range(0, n)]
    return {
        "rejects": [
            {"path": f"/x/{place}", "stage": "ingest", "error_code": f"code_{place % 7}"}
            | {"error_message": "this and that"}
            for place in range(500)
        ],
        "pairs": [
            {"pair_id": f"{place:04}", "label": label[i], "space": "raw", "image_id": ids[i]}
            | {"other_id": ids[i + 1], "similarity": 0.9 + place / 2000, "low": 0.9, "high": 1.0}
            | {"population": 1000.0, "drawn": 20}
            for place, i in enumerate(range(0, len(ids) - 1, max(len(ids) // 200, 1)))
        ],
        "conflicts": [
            {"image_id": ids[i], "label": label[i], "other_id": ids[j], "other_label": label[j]}
            | {"space": "raw", "threshold": 0.97, "similarity": 0.97 + 0.03 * i / n}
            for i, j in pairs
        ],
        "leaks": [
            {"image_id": ids[i], "label": label[i], "split": "train", "rule": "fixed:0.97"}
            | {"space": "raw", "threshold": 0.97, "reference_id": ids[j]}
            | {"reference_label": label[j], "reference_split": "test", "similarity": 0.98}
            for i, j in pairs
        ],
        "anomalies": [
            {"image_id": ids[i], "label": label[i], "log_density": -9.0, "cut": -8.0}
            | {"rank": 1 + place % 3}
            for place, (i, _) in enumerate(pairs)
        ],
    }


def browse(place: Path) -> dict[str, float]:
    """Seconds to the page's first paint, until it is interactive, and from a key to its frame."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        found: dict[str, list[float]] = {"painted": [], "interactive": [], "key": []}
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(place.as_uri())
            page.wait_for_selector("html[data-ready]")
            found["interactive"].append(
                float(page.evaluate("document.documentElement.dataset.ready"))
            )
            painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime || 0"
            found["painted"].append(float(page.evaluate(painted)))
            found["key"].append(float(page.evaluate(STEP)))
            page.close()
        browser.close()
    return {name: statistics.median(times) / 1000 for name, times in found.items()}


ASKED = {
    "painted": "performance.getEntriesByName('first-contentful-paint')[0]?.startTime || 0",
    "interactive": "document.documentElement.dataset.ready",
}
# From a step of the slider to the frame that shows it.
STEP = """
() => new Promise((done) => {
  const slider = document.querySelector("#explorer input[type=range]");
  const start = performance.now();
  slider.value = Number(slider.value) + 1;
  slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})
"""
ASKED["key"] = STEP
HEADS = (
    "images",
    "classes",
    "page MB",
    "pictures",
    "report s",
    "painted s",
    "interactive s",
    "key ms",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", type=Path, required=True, help="a folder to write, new")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()
    root: Path = given.warehouse
    if not root.exists():
        invented = Invented(given.images, given.classes)
        for write in (invented.images, invented.selection, invented.small):
            write(root)
    spark = start(given.slots)
    settings = build(
        {}, images="x", warehouse=str(root), quiet=True, stages=("report",), overwrite=("report",)
    )
    clock = time.monotonic()
    run = Run(spark, settings, "report")
    run.execute(report.STAGE)
    run.close()
    seconds = time.monotonic() - clock
    spark.stop()
    page = root / "report/report.html"
    times = browse(page)
    size = page.stat().st_size / 1e6
    shown = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    pictures = sum(map(bool, shown["pictures"]))
    print(
        "| images | classes | page MB | pictures | report s | painted s | interactive s | key ms |"
    )
    print("| ---: " * 8 + "|")
    print(
        f"| {given.images:,} | {given.classes:,} | {size:.1f} | {pictures:,} | {seconds:.1f} "
        f"| {times['painted']:.2f} | {times['interactive']:.2f} | {1000 * times['key']:.0f} |"
    )


if __name__ == "__main__":
    recorded(main)
