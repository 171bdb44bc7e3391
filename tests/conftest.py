"""What tests share: one lazy Spark session, small pictures, and where the real images lie."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pyspark.sql import SparkSession

from benchmarks.browser import launch
from benchmarks.session import start as start_session
from jobs import pipeline
from jobs.runtime.lock import lock
from jobs.runtime.run import Run
from jobs.settings.load import build
from jobs.settings.model import Settings
from jobs.warehouse import tables
from jobs.warehouse.store import Store, open_store

ROOT = Path(__file__).resolve().parent.parent

# One BLAS thread in this process: the workers have one as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# The first compiler alone: the second takes more processor time than it saves on so small tables.
# With it alone the cache of compiled code is 48 MB, which Spark fills within minutes: then nothing
# more is compiled.
JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"


# Files with runs of commands and of whole pipelines come first, and such as need the same one of
# them apart: else one process goes on with them when the others are done, or they wait for it.
FIRST = (
    "test_faults",
    "test_pipeline",
    "test_clothing",
    "test_prune",
    "test_cluster",
    "test_vector_reader",
    "test_readers",
    "test_ingest",
    "test_modes",
    "test_leaks",
    "test_command",
    "test_generate",
    "test_plan",
    "test_anomalies",
    "test_similarities",
    "test_recipes",
    "test_render",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first; the order within a file stays."""
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = start_session(
        2,
        {
            "spark.driver.memory": "2g",
            "spark.sql.shuffle.partitions": "2",  # the tables here are small
            "spark.sql.adaptive.enabled": "false",  # and looked at anew after every step
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",  # test_cluster runs compiled code
            "spark.driver.extraJavaOptions": JAVA,
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images; tests that need it are skipped where it is not."""
    place = Path(os.environ.get("TEST_IMAGES", ROOT.parent / "shared/data"))
    if not (place / "clothing").is_dir():
        pytest.skip(f"no real images at {place}: set TEST_IMAGES to their folder")
    return place


def picture(seed: int, side: int = 72) -> NDArray[np.uint8]:
    """Smooth random blobs: unlike for unlike seeds, (side, side, 3)."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def save_pictures(root: Path, labels: tuple[str, ...] = ("field", "town"), each: int = 24) -> None:
    """Folders by class; every third picture is a near-copy of the one before."""
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for place in range(each):
            seed = 1000 * number + (place - 1 if place % 3 == 2 else place)
            levels = picture(seed).astype(int) + (2 if place % 3 == 2 else 0)
            image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
            image.save(root / label / f"{place:03}.png")


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder that the first of the test processes makes which needs it; the others wait."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_size:
                shutil.rmtree(folder, ignore_errors=True)  # of a process in which it failed
                make(folder)
                file.write("made")
                file.flush()
        return folder

    return made


@pytest.fixture(scope="session")
def pictures(once: Once) -> Path:
    return once("pictures", save_pictures)


SPLIT = 'publish.split=["train:0.7", "test:0.3"]'
# Most tests are of the paper's setting: whatever else is the default, it costs them nothing.
PAPER = ("train.objective=reconstruction", "train.normalise=false", "prune.space=raw")
FAST = (*PAPER, "train.epochs=2", "train.sample=100", "prune.thresholds=[0.999, 0.97]")
Runner = Callable[..., Run]


def settings_for(images: Path, warehouse: Path, *flags: str, **given: Any) -> Settings:
    """Settings of a quick run."""
    defaults = (*FAST, "publish.rule=fixed:0.97", SPLIT)
    return build(
        {}, (*defaults, *flags), images=str(images), warehouse=str(warehouse), quiet=True, **given
    )


@pytest.fixture(scope="session")
def run_pipeline(spark: SparkSession) -> Runner:
    """The pipeline in this process, as spark-submit would run it."""

    def run(images: Path, warehouse: Path, *flags: str, **given: Any) -> Run:
        settings = settings_for(images, warehouse, *flags, **given)
        with lock(settings.warehouse):
            current = Run(spark, settings, "pipeline", pipeline.STAGES)
            try:
                current.close_stale()
                pipeline.main(current)
            finally:
                current.close()
        return current

    return run


@pytest.fixture(scope="session")
def finished(spark: SparkSession, run_pipeline: Runner, pictures: Path, once: Once) -> Run:
    """A pipeline that ran over the pictures; tests read it and do not change it."""

    def make(folder: Path) -> None:
        run_pipeline(pictures, folder)

    run = Run(spark, settings_for(pictures, once("finished", make)), "pipeline")
    (run.run_id,) = {row.run_id for row in run.warehouse.read("runs").collect()}
    return run


# Spark for a handful of pictures by ./spark-submit.sh: half the processor time of the usual
# settings, most of which goes into compiling what runs once.
SMALL = (
    "--driver-memory=1g",
    f"--driver-java-options={JAVA}",
    f"--conf=spark.executor.extraJavaOptions={JAVA}",
    "--conf=spark.sql.shuffle.partitions=2",
    "--conf=spark.sql.codegen.wholeStage=false",
    "--conf=spark.sql.adaptive.enabled=false",
    "--conf=spark.sql.codegen.factoryMode=NO_CODEGEN",
    "--conf=spark.databricks.delta.snapshotPartitions=1",
)
LOCAL = ("--master=local[2,4]",)
COMMAND_SECONDS = 600  # two cores that others use as well


def command_line(
    job: str, *arguments: str, submit: Sequence[str] = LOCAL
) -> tuple[list[str], dict[str, str]]:
    """A call of ./spark-submit.sh and its environment: the user's, without what tests add to it.

    PYTHONPATH above all: with it executors would find modules that were never sent to them.
    """
    ours = ("SPARK_", "PYSPARK_", "PYTHONPATH", "OMP_NUM_THREADS", "PROFILE", "DELTA_JARS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return [str(ROOT / "spark-submit.sh"), job, *arguments, "--", *SMALL, *submit], environment


def run_command(
    job: str, *arguments: str, cwd: Path, submit: Sequence[str] = LOCAL, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A job by ./spark-submit.sh, to its end."""
    line, base = command_line(job, *arguments, submit=submit)
    return subprocess.run(
        line,
        cwd=cwd,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


QUICK = (
    *PAPER,
    "train.epochs=1",
    "prune.thresholds=[0.999, 0.97]",
    "publish.rule=fixed:0.999",
    SPLIT,
    "estimate.components=2",
)
CLASSES = ("field", "shore", "town")
ROUNDS = ("prune.largest_class=30", "prune.window=25")  # the classes of 33 in two rounds


def flags(*settings: str) -> list[str]:
    """`--set` before each."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def survey(once: Once) -> Path:
    """Three classes, each large enough for a line over classes, and one broken file."""

    def make(folder: Path) -> None:
        save_pictures(folder / "images of ünits", CLASSES, each=33)
        (folder / "images of ünits/field/broken.jpg").write_bytes(b"no picture")

    return once("sur vey", make) / "images of ünits"


@pytest.fixture(scope="session")
def undisturbed(survey: Path, once: Once) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A pipeline's warehouse and output: called elsewhere, with relative paths that hold spaces."""

    def make(folder: Path) -> None:
        (folder / "elsewhere").mkdir(parents=True)
        images = os.path.relpath(survey, folder / "elsewhere")
        arguments = ["--images", images, "--warehouse", "a ware house", *flags(*QUICK)]
        done = run_command("pipeline", *arguments, cwd=folder / "elsewhere")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "output.json").write_text(json.dumps(vars(done)))

    folder = once("undisturbed", make)
    done = subprocess.CompletedProcess(**json.loads((folder / "output.json").read_text()))
    return folder / "elsewhere/a ware house", done


Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            opened = launch(playwright)
        except FileNotFoundError as absent:
            pytest.skip(str(absent))
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opener]:
    """Opens a page; at the end there must have been no complaint and no request to elsewhere."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(place: Path, **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(place.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


# What a pipeline does whatever it is asked for, and the tables that it leaves.
STAGES = tuple(
    stage.name for stage in pipeline.STAGES if stage.enabled(build({}, PAPER, images="any"))
)
ON_DEMAND = {
    "modes",
    "sublabels",
    "spaces",
    "vectors",
    "leaks",
    "conflicts",
    "anomalies",
    "generated",
    "calibration",
}
WRITTEN = tables.TABLES.keys() - ON_DEMAND - {"placed", "rounds"}
MOMENTS = {
    "kurtosis_before",
    "kurtosis_after",
    "slope",
    "intercept",
    "slope_low",
    "slope_high",
    "control_low",
    "control_high",
}  # Spark chooses the order of the sums behind them: equal to 1e-9 (spec §8)


def assert_same_tables(spark: SparkSession, one: Path, other: Path) -> None:
    """All tables but `runs` are equal: bit for bit, moments to 1e-9."""
    first, second = open_store(spark, str(one)), open_store(spark, str(other))
    for table in WRITTEN - {"runs"}:
        a, b = (_rows(warehouse, table) for warehouse in (first, second))
        assert len(a) == len(b), table
        for row, twin in zip(a, b, strict=True):
            assert row.keys() == twin.keys(), table
            for name, value in row.items():
                assert _same(name, value, twin[name]), (table, name, value, twin[name])


def _rows(warehouse: Store, table: str) -> list[dict[str, Any]]:
    rows = [row.asDict(recursive=True) for row in warehouse.read(table).collect()]
    exact = [name for name in tables.TABLES[table].schema.names if name not in MOMENTS]
    return sorted(rows, key=lambda row: repr([row[name] for name in exact]))


def _same(name: str, value: Any, twin: Any) -> bool:
    if name in MOMENTS and value is not None and twin is not None:
        return math.isclose(value, twin, rel_tol=1e-9)
    return bool(value == twin)
