"""An object store for tests: moto's server, which speaks S3, listens on loopback alone.

`make test-s3` installs it, in an environment of its own, and fetches the jars by which Spark reads
s3a://.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.folders import ROOT
from tests.support.hadoop import ended, free_ports, listens, not_there, wait_until

FOLDER = ROOT / "build/s3"
BUCKET = "warehouses"


class ObjectStore(NamedTuple):
    """uri: of a bucket, s3a://…. conf: Spark's settings to reach it. jars: what reads s3a://."""

    uri: str
    conf: dict[str, str]
    jars: tuple[str, ...]


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A bucket in a store that ends with the tests."""
    server = FOLDER / "environment/bin/moto_server"
    jars = tuple(str(path) for path in sorted((FOLDER / "jars").glob("*.jar")))
    if not server.exists() or not jars:
        not_there("there is no object store for tests: make test-s3 installs one")
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(server), "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        wait_until("the object store", lambda: listens(port), process)
        endpoint = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        conf = {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.access.key": "any",
            "spark.hadoop.fs.s3a.secret.key": "any",
        }
        yield ObjectStore(f"s3a://{BUCKET}", conf, jars)
    finally:
        ended(process)
