"""The files of a lease in a local folder: created with O_EXCL, dated by the file system."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jobs.warehouse.lease_files import LeaseFile


class LocalLeaseFiles:
    """What HadoopLeaseFiles does, without a JVM."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def path(self, number: int) -> str:
        return str(self._file(number))

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:08}"

    def numbers(self) -> list[int]:
        return [int(file.name) for file in self.folder.iterdir() if file.name.isdecimal()]

    def create(self, number: int, data: bytes) -> bool:
        try:
            with self._file(number).open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            return False
        return True

    def rewrite(self, number: int, data: bytes) -> None:
        self._file(number).write_bytes(data)

    def read(self, number: int) -> LeaseFile | None:
        try:
            with self._file(number).open("rb") as stream:
                return LeaseFile(stream.read(), os.fstat(stream.fileno()).st_mtime)
        except FileNotFoundError:
            return None

    def now(self) -> float:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(b"1")
            file.flush()
            return os.fstat(file.fileno()).st_mtime

    def delete(self, number: int) -> None:
        self._file(number).unlink(missing_ok=True)

    def age(self, number: int, seconds: float) -> None:
        """Let a file have been written earlier."""
        modified = self._file(number).stat().st_mtime - seconds
        os.utime(self._file(number), (modified, modified))
