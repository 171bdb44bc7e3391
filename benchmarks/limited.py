"""A local cluster whose executors are processes of their own, each below a limit of memory.

`local-cluster` starts an executor by the `java` of its JAVA_HOME. Here that is a script: it makes a
memory cgroup below its own, enters it and becomes the real `java`. So the Python workers are in the
cgroup from their first page on, as in a container of Kubernetes, and the kernel ends a process of
an executor that needs more. It needs the right to make cgroups (version 1), as root has.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

CGROUPS = Path("/sys/fs/cgroup/memory")
JAVA = """#!/bin/sh
group={parent}/executor-$$
mkdir "$group" && echo {limit} > "$group/memory.limit_in_bytes" &&
  echo $$ > "$group/cgroup.procs" || exit 1
exec {java} "$@"
"""


@dataclass(frozen=True)
class Executor:
    """What the kernel counted for an executor, in bytes, the files that it had cached included."""

    peak: int
    killed: int


@dataclass(frozen=True)
class Limited:
    """Options of spark-submit and the environment of a local cluster."""

    submit: tuple[str, ...]
    environment: dict[str, str]
    cgroup: Path | None

    def executors(self) -> list[Executor]:
        """The executors that there were; none if they have no limit."""
        groups = sorted(self.cgroup.glob("executor-*")) if self.cgroup else []
        return [Executor(_number(group / "memory.max_usage_in_bytes"), _kills(group))
                for group in groups]  # fmt: skip


@contextmanager
def local_cluster(folder: Path, executors: int, heap: int, limit: int) -> Iterator[Limited]:
    """Yield a cluster of executors of a core, as conf/spark-cluster.conf sets it.

    heap: MiB of an executor's JVM. limit: MiB of all its processes; 0: none. folder: is empty, and
    takes the logs and what Spark keeps on disk.
    """
    (folder / "scratch").mkdir()
    cgroup = _cgroup() if limit else None
    options = {
        "spark.executor.memory": f"{heap}m",
        "spark.executor.cores": "1",
        "spark.local.dir": str(folder / "scratch"),
        "spark.driver.host": "127.0.0.1",
    }
    if cgroup:
        options["spark.executorEnv.JAVA_HOME"] = str(_java(folder, cgroup, limit))
    submit = [f"--master=local-cluster[{executors},1,{heap}]"]
    submit += [f"--conf={name}={value}" for name, value in options.items()]
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32))
    environment = {
        "PROFILE": "cluster",
        "LATENT_DEDUP_SECRET_FILE": str(secret),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_HOME": str(_spark_home(folder)),
    }
    try:
        yield Limited(tuple(submit), environment, cgroup)
    finally:
        for group in [*cgroup.glob("executor-*"), cgroup] if cgroup else []:
            group.rmdir()


def _cgroup() -> Path:
    """A new memory cgroup below that of this process, so that whatever holds it still does."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    own = next((line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory"), None)
    if own is None:
        raise SystemExit("there are no memory cgroups of version 1 here: give --limit 0")
    group = CGROUPS / own.lstrip("/") / f"latent-dedup-{os.getpid()}"
    group.mkdir()
    return group


def _java(folder: Path, cgroup: Path, limit: int) -> Path:
    """A JAVA_HOME whose `java` limits itself; its other programs are not needed."""
    real = Path(os.environ.get("JAVA_HOME") or _java_home(), "bin/java")
    script = folder / "java/bin/java"
    script.parent.mkdir(parents=True)
    script.write_text(JAVA.format(parent=cgroup, limit=limit * 2**20, java=real))
    script.chmod(0o755)
    return folder / "java"


def _java_home() -> Path:
    found = shutil.which("java")
    if found is None:
        raise SystemExit("there is no java: set JAVA_HOME")
    return Path(found).resolve().parent.parent


def _spark_home(folder: Path) -> Path:
    """Spark as installed, in a folder of this run: workers write their logs into SPARK_HOME."""
    home = folder / "spark"
    home.mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        (home / part.name).symlink_to(part)
    return home


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))


def _kills(group: Path) -> int:
    words = (group / "memory.oom_control").read_text(encoding="utf-8").split()
    return int(words[words.index("oom_kill") + 1])
