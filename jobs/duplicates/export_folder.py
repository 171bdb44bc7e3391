"""The folder of one export, which a run replaces as a whole and in which nobody else's files lie.

A new export is made aside and then takes the place of the old one by two renames. So a reader, and
a run that is killed, see the old export or the new one, each whole; a run that dies between the
renames leaves none. `index.json` says what an export consists of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobError
from jobs.paths import absolute, is_mounted, mounted
from jobs.runtime.stage import RunContext
from jobs.settings.redaction import redacted
from jobs.warehouse.files import NEW, OLD, Files, HadoopFiles, LocalFiles

EXPORT = "export"  # the folder below the warehouse
INDEX = "index.json"
KEY = "publish.export_folder"
CHECKSUM = "{}{}.{}.crc"  # of the folder, its / and the name of a file
NAMED = 3  # files that a message names


@dataclass(frozen=True)
class ExportFolder:
    """Where one format of the published images is exported to.

    files: the file system. above: the folder that holds those of all formats, relative to the root
    of `files`; "" if it is the root. name: of the format. warehouse: the root of the warehouse that
    the images are of, without credentials; "" where the folder lies in it and moves with it. check:
    is called before what readers see is changed; what it raises prevents that.
    """

    files: Files
    above: str
    name: str
    warehouse: str
    check: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, run: RunContext, name: str) -> ExportFolder:
        """Return the folder that the settings name; by default it lies in the warehouse."""
        folder = run.settings.publish.export_folder
        if not folder:
            return cls(run.warehouse.files, f"{EXPORT}/", name, "")
        root, check = redacted(run.warehouse.root), run.warehouse.check_lease
        if is_mounted(folder):
            return cls(LocalFiles(Path(absolute(folder))), "", name, root, check)
        try:
            return cls(HadoopFiles(run.spark, absolute(folder)), "", name, root, check)
        except OSError as refused:
            raise JobError(f"{KEY} = {folder!r}: {refused}") from refused

    @property
    def path(self) -> str:
        """Where the export lies, for messages."""
        return self.files.path(f"{self.above}{self.name}")

    @property
    def aside(self) -> str:
        """The name of the folder in which a new export is made."""
        return f"{self.above}.{self.name}{NEW}"

    @property
    def local_aside(self) -> Path | None:
        """The same as a path for executors; None if only the driver can write there."""
        return mounted(self.files.path(self.aside)) if isinstance(self.files, LocalFiles) else None

    @property
    def _old(self) -> str:
        return f"{self.above}.{self.name}{OLD}"

    def named(self, name: str) -> str:
        """Return the name of a file of the export for `files`."""
        return f"{self.above}{self.name}/{name}"

    def sizes(self) -> dict[str, int]:
        """Return the bytes of all files that lie in the folder, by their name below it.

        Checksums that Hadoop's local file system writes beside its files count as part of these.
        """
        start = len(self.named(""))
        sizes = {file.name[start:]: file.size for file in self.files.infos(self.named("")[:-1])}
        checksums = {CHECKSUM.format(*name.rpartition("/")) for name in sizes}
        return {name: size for name, size in sizes.items() if name not in checksums}

    def index(self) -> dict[str, Any] | None:
        """Return what `index.json` says; None if there is none that this program wrote."""
        try:
            index = json.loads(self.files.read(self.named(INDEX)))
        except (OSError, ValueError):
            return None
        return index if isinstance(index, dict) and "fingerprint" in index else None

    def check_ours(self, index: Mapping[str, Any] | None, listed: Mapping[str, Any]) -> None:
        """Raise JobError if the folder holds what this warehouse did not export there.

        listed: the names of the files of the export. All files of the folder will be replaced.
        """
        if index is not None and index.get("warehouse", "") != self.warehouse:
            raise JobError(
                f"{self.path} is an export of another warehouse, {index.get('warehouse')}: name "
                f"another folder in {KEY}, or delete this one"
            )
        foreign = sorted(self.sizes().keys() - {INDEX} - set(listed))
        if foreign or (index is None and self.files.exists(self.named(INDEX))):
            foreign = foreign or [INDEX]
            more = f" and {len(foreign) - NAMED:,} more" if len(foreign) > NAMED else ""
            raise JobError(
                f"{self.path} holds files that were not exported there: "
                f"{', '.join(foreign[:NAMED])}{more}. An export replaces its folder as a whole, "
                f"and nothing of others is deleted: move them, or name another folder in {KEY}"
            )

    def begin(self) -> None:
        """Delete what a killed run left; put the old export back that it had set aside."""
        self.check()
        self.files.delete(self.aside)
        name = f"{self.above}{self.name}"
        if self.files.exists(self._old) and not self.files.exists(name):
            self.files.rename(self._old, name)
        self.files.delete(self._old)

    def finish(self, index: Mapping[str, Any]) -> None:
        """Add the index to what was made aside, and put all of it in the place of the old one."""
        content = {**index, "warehouse": self.warehouse}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        self.files.write(f"{self.aside}/{INDEX}", text.encode())
        name = f"{self.above}{self.name}"
        self.check()
        if self.files.exists(name):
            self.files.rename(name, self._old)
        self.files.rename(self.aside, name)
        self.files.delete(self._old)
