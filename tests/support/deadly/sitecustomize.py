"""Lets some files do to the process that decodes them what a fault in a codec would let them do.

Python imports this module by itself in each process that has this folder on its path. A file does
harm if it ends with `deadly: ` and the name of a signal, or of a function below.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from PIL import Image

MARK = b"deadly: "
_open = Image.open


def hang() -> None:
    time.sleep(3600)


def end() -> None:
    os._exit(0)


def spin() -> None:
    while True:
        pass


def hoard() -> None:
    held = []
    while True:
        held.append(bytes(64 << 20))


def harm(file: Any, *arguments: Any, **options: Any) -> Any:
    before, mark, name = file.getvalue().rpartition(MARK)
    if mark and before:
        kind = name.decode()
        if kind in globals():
            globals()[kind]()
        os.kill(os.getpid(), getattr(signal, kind))
        time.sleep(60)  # the signal comes before that
    return _open(file, *arguments, **options)


setattr(Image, "open", harm)  # noqa: B010 (its type is another one)
