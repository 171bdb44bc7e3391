"""How far a stage is: in words, as fields, and as Spark's tracker knows it."""

from __future__ import annotations

from typing import Any

from jobs.runtime.progress import Progress, SparkProgress, duration


class Stage:
    """Like pyspark's SparkStageInfo."""

    def __init__(self, stage: int, tasks: int, completed: int) -> None:
        self.stageId, self.numTasks, self.numCompletedTasks = stage, tasks, completed


class Tracker:
    """Like pyspark's StatusTracker; it has already forgotten the last of its active stages."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = {stage.stageId: stage for stage in stages}

    def getActiveStageIds(self) -> list[int]:  # noqa: N802
        return [*self.stages, 99]

    def getStageInfo(self, number: int) -> Stage | None:  # noqa: N802
        return self.stages.get(number)


def spark_progress(*stages: Stage) -> SparkProgress:
    class Context:
        def statusTracker(self) -> Tracker:  # noqa: N802
            return Tracker(*stages)

    class Session:
        sparkContext = Context()  # noqa: N815

    spark: Any = Session()
    return SparkProgress(spark)


def test_the_largest_of_sparks_stages_is_shown() -> None:
    progress = spark_progress(Stage(3, 4, 4), Stage(5, 16, 4)).current(images=1000)
    assert progress is not None
    assert (progress.share, progress.images, progress.note) == (0.25, 250.0, "4 of 16 tasks")
    assert spark_progress(Stage(3, 1, 0)).current() is None
    assert spark_progress().current() is None


def test_words_without_a_beginning_or_an_end() -> None:
    assert str(Progress(3.0)) == "3 s"
    assert str(Progress(3.0, 0.0, 0.0, "0 of 8 tasks")) == "0 of 8 tasks"
    assert str(Progress(0.0, 0.5, 10.0)) == "0 s left"
    assert str(Progress(10.0, 0.25, 50_000.0, "1 of 4")) == "1 of 4, 5,000 images/s, 30 s left"
    assert str(Progress(10.0, 0.25, 4.0)) == "0.4 images/s, 30 s left"


def test_fields_are_those_that_are_known() -> None:
    assert Progress(3.0).fields() == {}
    assert Progress(10.0, 0.25, 500.0, "2 of 8 tasks").fields() == {
        "share": 0.25,
        "images": 500.0,
        "images_per_second": 50.0,
        "seconds_left": 30.0,
        "note": "2 of 8 tasks",
    }


def test_durations_are_rounded_to_the_second() -> None:
    assert duration(8.4) == "8 s"
    assert duration(59.6) == "1 min 00 s"
    assert duration(200) == "3 min 20 s"
    assert duration(7500) == "2 h 05 min"
    assert duration(3_600_000) == "1,000 h 00 min"
