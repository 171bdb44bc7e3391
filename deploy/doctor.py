"""Say whether jobs can run here: `./spark-submit.sh doctor [--images URI] [--warehouse URI]`.

It checks Python and its packages, Java, Delta's jars, the locale, memory, disks, the folder of
temporary files, and whether the master and the file systems that were named can be reached. It
imports nothing but Python's own modules, so that it works where nothing else does. It exits with 1
if a job would fail.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
OK, WARNING, WRONG = "ok", "warning", "wrong"
PYTHON = (3, 11)
JAVA = ("17", "21")
LEAST_MEMORY, LEAST_DISK = 3.0, 5.0  # GiB: of a small pipeline, and of its tables and shuffles
PORTS = {"spark": 7077, "hdfs": 8020}
SECONDS = 3.0  # until a host counts as one that does not answer


class Finding(NamedTuple):
    """What was looked at, what was found, and what to do about it ("" if nothing is)."""

    state: str
    what: str
    found: str
    advice: str = ""


def python() -> Finding:
    """Look at Python's version."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info < PYTHON:
        return Finding(WRONG, "Python", found, "install 3.11 or newer, and make setup PYTHON=…")
    return Finding(OK, "Python", found)


def packages() -> Finding:
    """Look whether every package of requirements.txt is installed."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [re.split(r"[^\w.-]", line)[0] for line in lines if line and not line.startswith("#")]
    missing = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = "run make setup, or set PYSPARK_PYTHON to a Python that has them"
        return Finding(WRONG, "packages", f"missing: {', '.join(missing)}", advice)
    return Finding(OK, "packages", f"{len(names)}, pyspark {metadata.version('pyspark')}")


def java() -> Finding:
    """Look at the Java that Spark would take."""
    home = os.environ.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    path = path or shutil.which("java")
    if path is None:
        return Finding(WRONG, "Java", "there is none", "install Java 17 or 21, or set JAVA_HOME")
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    found = f"{version[1] if version else 'unknown'} at {path}"
    if not version or version[1] not in JAVA:
        return Finding(WRONG, "Java", found, "install Java 17 or 21, and set JAVA_HOME to it")
    if home and not path.startswith(home):
        return Finding(
            WARNING, "Java", found, f"JAVA_HOME={home} has no bin/java: unset it, or mend it"
        )
    return Finding(OK, "Java", found)


def jars(folder: Path) -> Finding:
    """Look whether Delta's jars are where the script takes them from."""
    source = os.environ.get("DELTA_JARS", "build")
    if source != "build":
        return Finding(OK, "Delta's jars", f"DELTA_JARS={source}: Spark has or fetches them")
    found = list(folder.glob("*delta-spark*.jar"))
    if not found:
        advice = "run make setup, or set DELTA_JARS=packages or provided"
        return Finding(WRONG, "Delta's jars", f"none in {folder}", advice)
    return Finding(OK, "Delta's jars", f"{len(list(folder.glob('*.jar')))} in {folder}")


def spark_home() -> Iterator[Finding]:
    """Look whether SPARK_HOME names another Spark."""
    home = os.environ.get("SPARK_HOME")
    if home and not list(Path(home).glob("jars/spark-core_*-4.2.*.jar")):
        advice = "unset it; the script takes pyspark's own"
        yield Finding(WARNING, "SPARK_HOME", f"{home} is no Spark 4.2", advice)


def locale() -> Finding:
    """Look whether names with any letters can be passed to Java. The script sets C.UTF-8 itself."""
    given = next((os.environ[n] for n in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(n)), "")
    return Finding(OK, "locale", given or "none")


def memory() -> Finding:
    """Look at the memory that is free, and at the cores."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    free = pages
    if (info := Path("/proc/meminfo")).exists():
        match = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text())
        free = int(match[1]) / 2**20 if match else pages
    found = f"{free:.1f} of {pages:.1f} GiB free, {os.cpu_count()} cores"
    if free < LEAST_MEMORY:
        return Finding(
            WARNING, "memory", found, f"end other programs: {LEAST_MEMORY:g} GiB at least"
        )
    return Finding(OK, "memory", found)


def disk(what: str, folder: str) -> Finding:
    """Look at the room and the rights of the folder that something will be written to."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free / 2**30
    found = f"{folder}: {free:.1f} GiB free"
    if not os.access(path, os.W_OK):
        return Finding(WRONG, what, f"{folder}: {path} cannot be written", "give another folder")
    if free < LEAST_DISK:
        return Finding(WARNING, what, found, "make room, or give another folder")
    return Finding(OK, what, found)


def temporary() -> Finding:
    """Look whether programs can be run from the folder of temporary files."""
    folder = tempfile.gettempdir()
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write("#!/bin/sh\n")
    path = Path(file.name)
    path.chmod(0o700)
    try:
        subprocess.run([str(path)], check=True)
    except (OSError, subprocess.CalledProcessError):
        advice = (
            "nothing on this machine: the script gives Java another one; executors need one, too"
        )
        return Finding(WARNING, "temporary files", f"{folder} is mounted noexec", advice)
    finally:
        path.unlink()
    return disk("temporary files", folder)


def installation() -> Finding:
    """Look whether the script can write beside itself."""
    build = ROOT / "build"
    if os.access(build if build.exists() else ROOT, os.W_OK):
        return Finding(OK, "installation", str(ROOT))
    advice = "nothing: what a start needs is written to the temporary files"
    return Finding(OK, "installation", f"{ROOT} cannot be written", advice)


def reachable(what: str, uri: str) -> Iterator[Finding]:
    """Look whether the host of a URI answers; folders are looked at by `disk`."""
    parts = urlsplit(uri)
    port = parts.port or PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        return
    place = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname, port), SECONDS).close()
    except OSError as error:
        yield Finding(
            WRONG, what, f"{place} does not answer ({error})", "start it, or name another"
        )
    else:
        yield Finding(OK, what, f"{place} answers")


def option(words: Sequence[str], name: str) -> str:
    """Return the value of an option, given as `name value` or `name=value`; "" without it."""
    for number, word in enumerate(words):
        if word == name:
            return "".join(words[number + 1 : number + 2])
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""


def plan(submit: Sequence[str]) -> Finding:
    """Say what a job is to run on; whether it can is said by the last line alone."""
    profile = os.environ.get("PROFILE", "local")
    conf = (ROOT / f"conf/spark-{profile}.conf").read_text(encoding="utf-8")
    named = dict(re.findall(r"^(spark\.\S+)\s+(.+?)\s*$", conf, flags=re.M))
    master = option(submit, "--master") or named.get("spark.master", "the cluster's own")
    driver = option(submit, "--driver-memory") or named.get("spark.driver.memory", "1g")
    return Finding(OK, "set for jobs", f"PROFILE={profile}, master {master}, driver {driver}")


def findings(folder: Path, arguments: Sequence[str], submit: Sequence[str]) -> Iterator[Finding]:
    """Look at everything, in the order in which a start needs it."""
    yield python()
    yield packages()
    yield java()
    yield jars(folder)
    yield from spark_home()
    yield locale()
    yield installation()
    yield temporary()
    yield memory()
    for name in ("images", "warehouse"):
        if uri := option(arguments, f"--{name}"):
            yield from reachable(name, uri) if "://" in uri else [disk(name, uri)]
    yield from reachable("master", option(submit, "--master"))
    yield plan(submit)


def main() -> None:
    """Print a line for each finding; exit with 1 if one of them is wrong."""
    folder, *words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    found = list(findings(Path(folder), words[:at], words[at + 1 :]))
    for state, what, text, advice in found:
        print(f"{state:<8} {what}: {text}" + (f" → {advice}" if advice else ""))
    wrong = sum(finding.state == WRONG for finding in found)
    print(f"\n{f'{wrong} to mend before a job can run' if wrong else 'jobs can run here'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
