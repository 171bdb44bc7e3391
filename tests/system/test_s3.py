"""A whole pipeline in an object store: images, tables and models lie behind s3a://."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from tests.support.commands import QUICK, ROUNDS, flags, run_command
from tests.support.s3 import ObjectStore
from tests.support.tables import MOMENTS, WRITTEN

pytestmark = pytest.mark.s3
ELSEWHERE = ("path", "modified_at")  # what differs because the images lie elsewhere


def copy_up(store: ObjectStore, folder: Path, uri: str) -> None:
    """Copy a folder into the object store, by a client that is none of Spark's."""
    client = fs.S3FileSystem(
        endpoint_override=store.conf["spark.hadoop.fs.s3a.endpoint"],
        access_key="any",
        secret_key="any",
        region="us-east-1",
    )
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = f"{uri.removeprefix('s3a://')}/{path.relative_to(folder).as_posix()}"
            with client.open_output_stream(name) as stream:
                stream.write(path.read_bytes())


def rows(root: str, table: str, options: dict[str, str] | None = None) -> pl.DataFrame:
    """A table's rows by Polars, less what differs by the place of the images, sorted."""
    frame = pl.read_delta(f"{root}/{table}", storage_options=options)
    but = [name for name in (*ELSEWHERE, *MOMENTS) if name in frame.columns]
    frame = frame.drop(but)
    plain = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(plain)


def test_a_pipeline_in_an_object_store_writes_the_same_tables(
    object_store: ObjectStore, survey: Path, tmp_path: Path
) -> None:
    settings = flags(*QUICK, *ROUNDS)
    local = ["--images", str(survey), "--warehouse", str(tmp_path / "local"), *settings]
    done = run_command("pipeline", *local, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    copy_up(object_store, survey, f"{object_store.uri}/images of ünits")
    root = f"{object_store.uri}/warehouse"
    conf = [f"--conf={name}={value}" for name, value in object_store.conf.items()]
    submit = ("--master=local[2,4]", f"--jars={','.join(object_store.jars)}", *conf)
    arguments = ["--images", f"{object_store.uri}/images of ünits", "--warehouse", root, *settings]
    done = run_command("pipeline", *arguments, cwd=tmp_path, submit=submit)
    assert done.returncode == 0, done.stdout + done.stderr
    options = {
        "AWS_ENDPOINT_URL": object_store.conf["spark.hadoop.fs.s3a.endpoint"],
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    for table in sorted(WRITTEN - {"runs"}):
        one, other = rows(str(tmp_path / "local"), table), rows(root, table, options)
        assert one.equals(other), table
    again = run_command("pipeline", *arguments, cwd=tmp_path, submit=submit)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("up to date") >= 9, again.stdout
