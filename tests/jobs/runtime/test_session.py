"""The session that a job gets is the one that was configured for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.runtime import session


def test_a_session_with_delta_is_taken_as_it_is(spark: SparkSession) -> None:
    assert session.start("test").sparkContext is spark.sparkContext
    assert session.slots(spark) == 2


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ('openjdk version "21.0.4" 2024-07-16', None),
        ('openjdk version "17" 2021-09-14', None),
        ('java version "1.8.0_402"', "1"),
        ('openjdk version "25" 2025-09-16', "25"),
        ("No Java runtime present", "none"),
    ],
)
def test_a_java_that_spark_does_not_run_on_is_named(
    says: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    java.chmod(0o755)
    for home, path in ((str(tmp_path), ""), ("", str(java.parent))):  # by JAVA_HOME, by the PATH
        monkeypatch.setenv("JAVA_HOME", home)
        monkeypatch.setenv("PATH", path)
        if found is None:
            session.check_java()
        else:
            with pytest.raises(JobError, match=f"Java 17 or 21, here is {found}: install one"):
                session.check_java()
    java.unlink()
    with pytest.raises(JobError, match="here is none"):
        session.check_java()


def test_ctrl_c_waits_until_java_has_started() -> None:
    """Else Java waited for a process that is gone."""
    before, done = signal.getsignal(signal.SIGINT), []

    def start() -> None:
        with session._uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_is_asked_of_java_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class JavaError(Py4JError):  # type: ignore[misc]
        def __str__(self) -> str:
            if java.poll() is not None:
                raise ConnectionRefusedError
            return "java.lang.IllegalStateException: it failed"

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as java:
        spark = SimpleNamespace(
            sparkContext=SimpleNamespace(_gateway=SimpleNamespace(proc=java), _jsc=None)
        )
        monkeypatch.setattr(session, "start", lambda name: spark)
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(RuntimeError) as raised, session.running("test"):
            raise JavaError
        assert java.poll() == 0
    assert str(raised.value) == "java.lang.IllegalStateException: it failed"


def test_spark_plans_otherwise_for_few_images(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured, own = "spark.sql.adaptive.enabled", "spark.sql.codegen.wholeStage"
    names = [configured, own, session.PARTITIONS]

    def planned() -> list[str | None]:
        return [spark.conf.get(name) for name in names]

    monkeypatch.setitem(session.FOR_FEW_IMAGES, configured, "true")  # its session says false
    monkeypatch.setattr(session, "slots", lambda _: 1)
    session.plan_for(spark, None)
    before = planned()
    assert before == ["false", "true", "2"]
    session.plan_for(spark, session.FEW_IMAGES)
    assert planned() == ["false", "false", "1"]
    session.plan_for(spark, session.FEW_IMAGES + 1)
    assert planned() == before
    monkeypatch.setattr(spark.sparkContext, "master", "spark://host:7077")
    session.plan_for(spark, session.FEW_IMAGES)
    assert planned() == before
