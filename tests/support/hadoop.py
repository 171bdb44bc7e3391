"""An HDFS for tests: a NameNode and a DataNode, two processes that listen on loopback alone.

`make test-cluster` fetches the jar that they come from. Both are started once for a test session,
or named by an environment variable if they run already.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from xml.sax.saxutils import escape

import pyspark
import pytest

from tests.support.folders import ROOT

JARS = ROOT / "build/cluster/jars"
SPARK_JARS = Path(pyspark.__file__).parent / "jars"
GIVEN = "TEST_HDFS"  # an HDFS that runs already
STARTED_WITHIN = 120  # seconds; formatting alone takes 17 on a busy machine


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(what: str, holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something holds, while the process lives that is to bring it about."""
    end = time.monotonic() + STARTED_WITHIN
    while not holds():
        assert process.poll() is None, f"{what}: the process ended with {process.returncode}"
        assert time.monotonic() < end, f"{what}: not within {STARTED_WITHIN} s"
        time.sleep(0.2)


def listens(port: int) -> bool:
    """Whether somebody accepts connections at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, if need be by force."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def not_there(reason: str) -> NoReturn:
    """Skip what needs a server that is not there; fail if it was asked for (REQUIRE_SERVERS)."""
    if os.environ.get("REQUIRE_SERVERS"):
        pytest.fail(reason)
    pytest.skip(reason)


class Hdfs:
    """A NameNode and a DataNode below one folder.

    uri: hdfs://127.0.0.1:PORT. conf: the folder of core-site.xml and hdfs-site.xml.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "conf"
        name, *others = free_ports(6)
        self.ports = [name, *others]
        self.uri = f"hdfs://127.0.0.1:{name}"
        self._write_conf()
        self.processes: list[subprocess.Popen[bytes]] = []

    def _write_conf(self) -> None:
        _, name_http, data, data_http, data_ipc, _ = self.ports
        self.conf.mkdir(parents=True)
        _write_xml(
            self.conf / "core-site.xml",
            {"fs.defaultFS": self.uri, "hadoop.tmp.dir": str(self.folder / "tmp")},
        )
        _write_xml(
            self.conf / "hdfs-site.xml",
            {
                "dfs.replication": "1",
                "dfs.namenode.name.dir": str(self.folder / "name"),
                "dfs.datanode.data.dir": str(self.folder / "data"),
                "dfs.namenode.rpc-bind-host": "127.0.0.1",
                "dfs.namenode.http-address": f"127.0.0.1:{name_http}",
                "dfs.datanode.address": f"127.0.0.1:{data}",
                "dfs.datanode.http.address": f"127.0.0.1:{data_http}",
                "dfs.datanode.ipc.address": f"127.0.0.1:{data_ipc}",
                "dfs.datanode.hostname": "127.0.0.1",
                "dfs.namenode.datanode.registration.ip-hostname-check": "false",
                "dfs.namenode.safemode.extension": "0",
                "dfs.datanode.du.reserved": "0",
            },
        )

    def start(self) -> None:
        """Format the NameNode and start both; return when a file can be written."""
        name = "org.apache.hadoop.hdfs.server.namenode.NameNode"
        done = subprocess.run(
            self.java(name, "-format", "-force", "-nonInteractive"),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        self._begin(name)
        wait_until("the NameNode", lambda: listens(self.ports[0]), self.processes[-1])
        self._begin("org.apache.hadoop.hdfs.server.datanode.DataNode")
        wait_until("the DataNode", self.has_data_node, self.processes[-1])

    def has_data_node(self) -> bool:
        """Whether the NameNode knows a DataNode, so that files can be written."""
        query = "qry=Hadoop:service=NameNode,name=FSNamesystemState"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/jmx?{query}") as answer:
            (state,) = json.load(answer)["beans"]
        return int(state["NumLiveDataNodes"]) == 1

    def _begin(self, name: str) -> None:
        log = (self.folder / f"{name.rpartition('.')[2]}.log").open("wb")
        with log:
            self.processes.append(
                subprocess.Popen(self.java(name), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )

    def stop(self) -> None:
        """End both processes."""
        for process in reversed(self.processes):
            ended(process)

    def java(self, name: str, *arguments: str) -> list[str]:
        """The command line of one of Hadoop's classes."""
        (minicluster,) = JARS.glob("*hadoop-client-minicluster-*.jar")
        classes = os.pathsep.join([str(self.conf), str(minicluster), f"{SPARK_JARS}/*"])
        options = ["-Xmx400m", "-Djava.net.preferIPv4Stack=true"]
        return [java(), *options, "-cp", classes, name, *arguments]

    def shell(self, *arguments: str) -> str:
        """The output of a command of Hadoop's shell, such as `-ls /`."""
        done = subprocess.run(
            self.java("org.apache.hadoop.fs.FsShell", *arguments),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def java() -> str:
    """The path of Java's launcher."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    assert found, "there is no java"
    return found


def _write_xml(path: Path, values: dict[str, str]) -> None:
    rows = "".join(
        f"<property><name>{name}</name><value>{escape(value)}</value></property>\n"
        for name, value in values.items()
    )
    path.write_text(f'<?xml version="1.0"?>\n<configuration>\n{rows}</configuration>\n')


@contextmanager
def running_hdfs(folder: Path) -> Iterator[Hdfs]:
    """An HDFS that ends with the block."""
    hdfs = Hdfs(folder)
    try:
        hdfs.start()
        yield hdfs
    finally:
        hdfs.stop()


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of an HDFS."""
    if given := os.environ.get(GIVEN):
        yield given
        return
    if not list(JARS.glob("*hadoop-client-minicluster-*.jar")):
        not_there("there is no Hadoop for tests: make test-cluster fetches it")
    with running_hdfs(tmp_path_factory.mktemp("hdfs")) as running:
        yield running.uri
