"""The process of a job: the hidden terminal, its end with the JVM, and Ctrl-C."""

from __future__ import annotations

import inspect
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyspark.errors.exceptions.base
import pytest
from py4j import java_gateway

from jobs.runtime.console import Console
from jobs.runtime.process import QUERY_LOGGERS, interrupted
from tests.support.terminal import ROOT, run_in_terminal, screen


def test_spark_submit_gives_the_job_its_terminal(tmp_path: Path) -> None:
    """A real command: its live line appears and is gone when it ends."""
    command = ["./spark-submit.sh", "sample", "--images", str(tmp_path / "images")]
    size = ["--set", "sample.labels=1", "--set", "sample.scenes=1"]
    received = run_in_terminal([*command, *size], columns=300, seconds=300)
    live = received.index("  sample       …")
    assert screen(received[:live])[-1] == ""
    result, truth, last = screen(received, 300)
    assert result.startswith("  4 images in 1 classes under ")
    assert (truth, last) == (f"  truth     {tmp_path}/truth.csv", "")


@pytest.mark.parametrize("path", ["", "missing", "file"])
def test_without_a_terminal_the_pipe_stays(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("kept")
    script = "from jobs.runtime.process import attach_terminal\nattach_terminal()\nprint('piped')"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ
        | {"LATENT_DEDUP_TERMINAL": path and str(tmp_path / path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "piped\n", "")
    assert (tmp_path / "file").read_text() == "kept"


def test_ctrl_c_silences_py4j_and_not_the_console(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    py4j, root = logging.getLogger("py4j"), logging.getLogger()
    level, filters = py4j.level, [*root.filters]
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted(signal.SIGINT, None)
        assert not logging.getLogger("py4j.java_gateway").isEnabledFor(logging.CRITICAL)
        # A request that Ctrl-C interrupts is logged by the root logger.
        of_py4j = (logging.ERROR, java_gateway.__file__, 1070, "while sending", (), None)
        root.handle(root.makeRecord("root", *of_py4j))
        logging.error("logged by another module")
        Console().error("interrupted")
    finally:
        py4j.setLevel(level)
        root.filters[:] = filters
    assert capsys.readouterr().out == "interrupted\n"
    assert caplog.messages == ["logged by another module"]


LIBRARIES = """
import logging, sys, warnings
from pyspark.logger import PySparkLogger
from pyspark.accumulators import AccumulatorTCPServer
from jobs.runtime import process
if sys.argv[1] == "silent":
    process.silence_libraries()
for name in process.QUERY_LOGGERS:
    PySparkLogger.getLogger(name).exception("a query", errorClass="X")
logging.getLogger("PIL.TiffImagePlugin").error("a file")
warnings.warn("a warning")
server = AccumulatorTCPServer(("localhost", 0), None, "")
try:
    raise EOFError("a request")
except EOFError:
    server.handle_error(None, ("localhost", 1))
"""


SAID = ("a query", "a file", "a warning", "a request")


@pytest.mark.parametrize("silent", [True, False])
def test_libraries_say_nothing_on_the_console(silent: bool) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIBRARIES, "silent" if silent else ""],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [word in run.stdout + run.stderr for word in SAID]
    assert said == len(SAID) * [not silent]


def test_the_loggers_of_queries_are_those_of_pyspark() -> None:
    text = inspect.getsource(pyspark.errors.exceptions.base)
    assert set(re.findall(r'PySparkLogger.getLogger\("(\w+)"\)', text)) == set(QUERY_LOGGERS)


CHILD = "import time; from jobs.runtime.process import die_with_parent; die_with_parent(); "
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the parent's end")
def test_a_job_ends_when_the_jvm_is_killed() -> None:
    """A Python process stands for the JVM: what ends the job is the end of its parent."""
    wait = CHILD + "print('ready', flush=True); time.sleep(60)"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, wait],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYSPARK_GATEWAY_PORT": "1", "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().strip())
    assert child.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "the job outlived its parent"
        time.sleep(0.05)
