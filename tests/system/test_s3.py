"""A whole pipeline in an object store: images, tables, models and exports lie behind s3a://."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from tests.support.commands import QUICK, REAL, ROUNDS, flags, run_command
from tests.support.exports import EXPORTING, assert_same_exports
from tests.support.folders import REAL_SETS, RealSet, link_images
from tests.support.remote import ELSEWHERE
from tests.support.s3 import ObjectStore
from tests.support.tables import MOMENTS, NOT_COMPARED, WRITTEN

pytestmark = pytest.mark.s3


def client_of(store: ObjectStore) -> fs.S3FileSystem:
    """A client of the object store that is none of Spark's."""
    return fs.S3FileSystem(
        endpoint_override=store.conf["spark.hadoop.fs.s3a.endpoint"],
        access_key="any",
        secret_key="any",
        region="us-east-1",
    )


def copy_up(store: ObjectStore, folder: Path, uri: str) -> None:
    """Copy a folder into the object store."""
    client = client_of(store)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = f"{uri.removeprefix('s3a://')}/{path.relative_to(folder).as_posix()}"
            with client.open_output_stream(name) as stream:
                stream.write(path.read_bytes())


def contents(store: ObjectStore, uri: str) -> dict[str, bytes]:
    """The files below a folder in the object store, by their names below it."""
    client, root = client_of(store), uri.removeprefix("s3a://")
    found = client.get_file_info(fs.FileSelector(root, recursive=True))
    names = [info.path for info in found if info.type == fs.FileType.File]
    return {name.removeprefix(f"{root}/"): client.open_input_file(name).read() for name in names}


def rows(root: str, table: str, options: dict[str, str] | None = None) -> pl.DataFrame:
    """A table's rows by Polars, less what differs by the place of the images, sorted."""
    frame = pl.read_delta(f"{root}/{table}", storage_options=options)
    but = [name for name in (*ELSEWHERE, *MOMENTS) if name in frame.columns]
    frame = frame.drop(but)
    plain = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(plain)


def reading(store: ObjectStore) -> dict[str, str]:
    """What Polars needs to read from the object store."""
    return {
        "AWS_ENDPOINT_URL": store.conf["spark.hadoop.fs.s3a.endpoint"],
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def both_places(store: ObjectStore, images: Path, folder: Path, *settings: str) -> Iterator[str]:
    """Run the pipeline in a folder and in the object store; yield each name of a table.

    Both tables have the same rows then. A second run in the object store has nothing to do.
    """
    local = ["--images", str(images), "--warehouse", str(folder / "local"), *flags(*settings)]
    done = run_command("pipeline", *local, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr

    home = f"{store.uri}/{images.name.split()[0]}"  # Polars finds no table below spaces
    source = f"{home}/images of ünits"
    copy_up(store, images, source)
    conf = [f"--conf={name}={value}" for name, value in store.conf.items()]
    submit = ("--master=local[2,4]", f"--jars={','.join(store.jars)}", *conf)
    root = f"{home}/warehouse"
    arguments = ["--images", source, "--warehouse", root, *flags(*settings)]
    done = run_command("pipeline", *arguments, cwd=folder, submit=submit)
    assert done.returncode == 0, done.stdout + done.stderr
    for table in sorted(path.parent.name for path in (folder / "local").glob("*/_delta_log")):
        if table in NOT_COMPARED:
            continue
        one, other = rows(str(folder / "local"), table), rows(root, table, reading(store))
        assert one.equals(other), table
        yield table
    again = run_command("pipeline", *arguments, cwd=folder, submit=submit)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("up to date") >= 9, again.stdout


def test_a_pipeline_in_an_object_store_writes_the_same_tables_and_shards(
    object_store: ObjectStore, survey: Path, tmp_path: Path
) -> None:
    compared = set(both_places(object_store, survey, tmp_path, *QUICK, *ROUNDS, *EXPORTING))
    assert compared >= WRITTEN - NOT_COMPARED
    home = f"{object_store.uri}/{survey.name.split()[0]}"
    exported = contents(object_store, f"{home}/warehouse/export")
    assert_same_exports(tmp_path / "local", exported, f"{home}/images of ünits")


@pytest.mark.data
@pytest.mark.parametrize("chosen", REAL_SETS, ids=lambda chosen: chosen.name)
def test_real_images_with_the_defaults(
    object_store: ObjectStore, chosen: RealSet, real_images: Path, tmp_path: Path
) -> None:
    images = link_images(real_images, chosen, tmp_path / chosen.name)
    assert "alignments" in set(both_places(object_store, images, tmp_path, *REAL, *chosen.settings))
