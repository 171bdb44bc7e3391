"""Makes commits of a Delta table look as if they had been made days ago."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

DAY = 86_400


def make_older(table: Path, days: int, versions: int) -> None:
    """Date the first `versions` commits of a table back: what they added, removed, and their files.

    Delta's upkeep goes by the time of removal in the log, and by the dates of files.
    """
    moment = time.time() - days * DAY
    for version in range(versions):
        log = table / f"_delta_log/{version:020}.json"
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        for entry in entries:
            if "commitInfo" in entry:
                entry["commitInfo"]["timestamp"] = int(moment * 1000)
            if "remove" in entry:
                entry["remove"]["deletionTimestamp"] = int(moment * 1000)
            if "add" in entry:
                entry["add"]["modificationTime"] = int(moment * 1000)
                os.utime(table / entry["add"]["path"], (moment, moment))
        log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        log.with_name(f".{log.name}.crc").unlink(missing_ok=True)  # Hadoop's checksum of the log
        log.with_suffix(".crc").unlink(missing_ok=True)  # Delta's
        os.utime(log, (moment, moment))
