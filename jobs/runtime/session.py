"""The Spark session of a command: `running` starts and ends it. How many tasks run at a time.

It is configured by spark-submit (conf/spark-*.conf), which either has started this process, or is
started by it, with Java, in `running`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import TypeGuard

from py4j.protocol import Py4JError
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from jobs.errors import JobError
from jobs.runtime.process import interrupted, silence_accumulators
from jobs.settings import redaction

DELTA = "io.delta.sql.DeltaSparkSessionExtension"
GATEWAY = "PYSPARK_GATEWAY_PORT"  # set where spark-submit has started this process
JAVA_VERSIONS = ("17", "21")
MOMENT = 0.5  # s
END_SECONDS = 60  # that Java has for its end, with a busy disk; a second is usual
# Spark compiles code for each query, and plans it anew after each shuffle, which pays for large
# tables. Of small ones it takes longer than the work: a tenth of a small pipeline's time.
FEW_IMAGES = 20_000
FOR_FEW_IMAGES = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
}
PARTITIONS, DEFAULT_PARTITIONS = "spark.sql.shuffle.partitions", "200"


def is_running() -> bool:
    """Whether Java runs already for this process."""
    return GATEWAY in os.environ or SparkSession.getActiveSession() is not None


@contextlib.contextmanager
def running(name: str) -> Iterator[SparkSession]:
    """Start the session of a job, and with it Java if it does not run; end both.

    Raises JobError as `start` does. Ctrl-C raises KeyboardInterrupt.
    """
    spark = start(name)
    signal.signal(signal.SIGINT, interrupted)
    # Java that this process started; it ends when its stdin does.
    java: subprocess.Popen[bytes] | None = getattr(spark.sparkContext._gateway, "proc", None)
    try:
        yield spark
    except Exception as failure:
        if isinstance(failure, JobError) or not _has_ended(java):
            if isinstance(failure, Py4JError) and java is not None:
                raise RuntimeError(str(failure)) from failure  # Java, which ends, has the text
            raise
        raise JobError(_how_it_ended(java)) from failure
    else:
        with contextlib.suppress(Exception):  # what it was needed for is done
            _stop(spark, java)
    finally:
        if java is not None and java.stdin is not None:
            java.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                java.wait(END_SECONDS)


def _stop(spark: SparkSession, java: subprocess.Popen[bytes] | None) -> None:
    """End the session. Where this process started Java, only Java's part of it: Java ends next.

    PySpark's part would wait a second for its server of accumulators, which ends with this process.
    """
    context = spark.sparkContext._jsc
    if java is None or context is None:
        spark.stop()
    else:
        silence_accumulators()
        context.stop()


def _has_ended(java: subprocess.Popen[bytes] | None) -> TypeGuard[subprocess.Popen[bytes]]:
    """Whether Java has ended by itself. Its connections break a moment earlier."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return java is not None and java.wait(MOMENT) is not None
    return False


def _how_it_ended(java: subprocess.Popen[bytes]) -> str:
    """A line about a Java that ended in the middle of a job."""
    how = f"exit code {java.returncode}"
    if java.returncode < 0:
        how = f"signal {-java.returncode}"
    if java.returncode == -signal.SIGKILL:
        how += ", by which the kernel ends what takes the last memory"
    return (
        f"Java, in which Spark runs, ended in the middle of the job ({how}); "
        "the same command goes on where this one stopped"
    )


def start(name: str) -> SparkSession:
    """Start the session of a job, and with it Java if it does not run.

    Raises JobError if there is no Java that Spark can use, or Delta is not among the session's
    extensions.
    """
    if not is_running():
        check_java()
    try:
        with _uninterrupted():
            spark = SparkSession.builder.appName(f"latent-dedup {name}").getOrCreate()
    except PySparkRuntimeError as wrong:
        raise JobError("Java ended while Spark started; what stands above says why") from wrong
    if DELTA not in (spark.conf.get("spark.sql.extensions", "") or ""):
        raise JobError(
            "Spark runs without Delta: start the job by ./spark-submit.sh, or add "
            "the lines of conf/spark-cluster.conf to the cluster's configuration"
        )
    _hide_credentials(spark)
    return spark


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is left.

    Java that has only begun waits for this process, and would for ever if this were gone. A job
    asks in its main thread, the only one that Ctrl-C interrupts.
    """
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt


def check_java() -> None:
    """Raise JobError if the Java of JAVA_HOME, or else of the PATH, is none that Spark runs on."""
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    said = ""
    if java is not None:
        with contextlib.suppress(OSError):
            said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    version = found[1] if found else "none"
    if version not in JAVA_VERSIONS:
        raise JobError(
            f"Spark needs Java {' or '.join(JAVA_VERSIONS)}, here is {version}: "
            "install one, or set JAVA_HOME"
        )


def _hide_credentials(spark: SparkSession) -> None:
    """Hide the credentials of Spark's and Hadoop's configuration in what the command prints."""
    redaction.hide_named(spark.sparkContext.getConf().getAll())
    jsc = spark.sparkContext._jsc
    assert jsc is not None
    hadoop = jsc.hadoopConfiguration().getValByRegex(r"^fs\..*(key|secret|password|token|sas)")
    redaction.hide_named(dict(hadoop).items())


def plan_for(spark: SparkSession, images: int | None) -> None:
    """Let Spark plan its queries on one machine for so many images; None: as it is configured.

    What the session's configuration sets by name stays, but for the number of partitions. On a
    cluster nothing changes: its platform may have set more in the session.
    """
    if not str(spark.sparkContext.master).startswith("local"):
        return
    configured, few = spark.sparkContext.getConf(), images is not None and images <= FEW_IMAGES
    for name, value in FOR_FEW_IMAGES.items():
        own = configured.get(name)
        if own is None and not few:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, value if own is None else own)
    partitions = int(configured.get(PARTITIONS, DEFAULT_PARTITIONS) or DEFAULT_PARTITIONS)
    spark.conf.set(PARTITIONS, str(min(partitions, slots(spark)) if few else partitions))


def slots(spark: SparkSession) -> int:
    """The number of tasks that run at the same time."""
    return max(1, spark.sparkContext.defaultParallelism)
