"""The measurement of scale: its sets, its sums over processes, the line through its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from benchmarks import limited, scale, scale_sets, scale_table, usage
from benchmarks.usage import (
    DRIVER_JVM,
    DRIVER_PYTHON,
    EXECUTOR,
    EXECUTOR_JVM,
    EXECUTOR_PYTHON,
    WORKER,
    Moment,
    Process,
    Usage,
)
from udfs import arrow


def test_a_set_has_its_classes_and_its_copies_whatever_the_order_of_the_ids(
    tmp_path: Path,
) -> None:
    scale_sets.write_vectors(tmp_path / "set", 20_000, 16)
    rows = ds.dataset(tmp_path / "set").to_table().sort_by("id")
    labels, sizes = np.unique(rows.column("class").to_pylist(), return_counts=True)
    assert len(set(rows.column("id").to_pylist())) == 20_000
    assert len(labels) == scale_sets.CLASSES
    assert sizes[0] == 8_000
    assert sizes[1:].min() > 0.9 * sizes[1:].max()
    vectors = arrow.matrix(rows.column("embedding"))
    axes = vectors / vectors.std(axis=0)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    nearest = np.sort(axes[:1000] @ axes.T, axis=1)[:, -2]
    assert 0.6 < (nearest > 0.85).mean() < 0.8  # seven of ten images have copies
    assert (np.diag(axes[:999] @ axes[1:1000].T) < 0.85).all()  # which do not follow each other


def test_an_image_is_of_its_scene_s_class() -> None:
    of_scenes = scale_sets.scenes(np.arange(1000))
    labels = scale_sets.classes(of_scenes)
    for scene in np.unique(of_scenes):
        assert len(set(labels[of_scenes == scene])) == 1
    assert np.bincount(np.bincount(of_scenes))[[1, 2, 5]].tolist() == [300, 100, 100]


def test_ids_need_a_number_that_the_step_does_not_divide() -> None:
    with pytest.raises(ValueError, match="give another number"):
        scale_sets.ids(np.arange(3), scale_sets.STEP)


def test_memory_of_an_executor_is_that_of_the_largest() -> None:
    found = usage.by_role(
        [
            Process(DRIVER_JVM, 0, 100),
            Process(DRIVER_PYTHON, 0, 20),
            Process(DRIVER_PYTHON, 0, 3),
            Process(EXECUTOR_JVM, 1, 50),
            Process(EXECUTOR_JVM, 2, 60),
            Process(EXECUTOR_PYTHON, 1, 30),
            Process(EXECUTOR_PYTHON, 1, 10),
            Process(EXECUTOR_PYTHON, 2, 31),
        ]
    )
    assert found == {
        DRIVER_JVM: 100,
        DRIVER_PYTHON: 23,
        EXECUTOR_JVM: 60,
        EXECUTOR_PYTHON: 40,
        WORKER: 31,
        EXECUTOR: 91,
    }


def test_a_stage_has_the_peaks_and_the_seconds_of_its_own_time() -> None:
    moments = [
        Moment(float(time), {DRIVER_JVM: size}, {DRIVER_JVM: spent})
        for time, size, spent in [(1, 9, 1.0), (2, 4, 2.5), (3, 6, 4.0), (4, 8, 7.0)]
    ]
    memory, seconds = Usage(moments).during(1.5, 3.5)
    assert memory == {DRIVER_JVM: 6}
    assert seconds == {DRIVER_JVM: 3.0}
    assert Usage(moments).during(5, 6) == ({}, {})


def test_tasks_count_for_the_stage_in_which_they_end() -> None:
    def event(finish: int, run: int) -> str:
        metrics = {"Executor Run Time": run, "Executor CPU Time": run * 500_000}
        info = {"Finish Time": finish}
        return json.dumps(
            {"Event": "SparkListenerTaskEnd", "Task Info": info, "Task Metrics": metrics}
        )

    events = [event(1000, 300), event(2000, 500), event(2500, 700), '{"Event": "SparkListenerX"}']
    found = scale.task_figures(iter(events), 1.5, 2.5)
    assert found == {"tasks": 2, "task_seconds": 1.2, "task_jvm_seconds": 0.6}


def test_a_line_is_found_again_and_says_how_far_it_is_off() -> None:
    exact = scale_table.line([10_000, 100_000, 1_000_000], [11.0, 20.0, 110.0])
    assert exact.fixed == pytest.approx(10)
    assert exact.each == pytest.approx(1e-4)
    assert exact.deviation == 0
    assert exact.seconds(10**9) == pytest.approx(100_010)
    bent = scale_table.line([1, 2, 3], [1.0, 4.0, 9.0])
    assert bent.fixed >= 0
    assert bent.deviation > 0.2


def test_the_line_of_growth_gives_the_million_that_it_was_fitted_to() -> None:
    """docs/cost.md, "Classes of any size": 320 s on two cores for a million images."""
    core_seconds = scale_table.class_core_seconds(1_000_000, 0.293055)
    assert core_seconds == pytest.approx(2 * 320.4, rel=0.08)
    assert scale_table.comparison_core_seconds(10**6, 10**4, 0.5) == pytest.approx(
        100 * scale_table.comparison_core_seconds(10**4, 10**5, 0.5)
    )


def test_cores_divide_the_seconds_of_the_executors_alone() -> None:
    total = {
        scale_table.DRIVER: scale_table.Line(3600.0, 0.0, 0.0),
        scale_table.EXECUTORS: scale_table.Line(0.0, 3.6, 0.0),
    }
    assert scale_table.hours(total, 1000, 1, 0.0) == pytest.approx((2.0, 1.0))
    assert scale_table.hours(total, 1000, 4, 3600.0) == pytest.approx((1.5, 1.0))


def test_an_executor_above_its_limit_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for java takes what it is told to: the limit is the kernel's."""
    if os.geteuid() or not limited.CGROUPS.is_dir():
        pytest.skip("no memory cgroups can be made here")
    java = tmp_path / "real/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!{sys.executable}\nimport sys\nbytearray(int(sys.argv[1]) * 2**20)\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "real"))
    (tmp_path / "cluster").mkdir()
    with limited.local_cluster(tmp_path / "cluster", 1, 64, limit=100) as cluster:
        started = str(tmp_path / "cluster/java/bin/java")
        assert subprocess.run([started, "50"], check=False).returncode == 0
        assert subprocess.run([started, "200"], check=False).returncode == -9
        assert sorted(one.killed for one in cluster.executors()) == [0, 1]
        group = cluster.cgroup
    assert group
    assert not group.exists()
