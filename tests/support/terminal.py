"""A pseudo-terminal to run commands in, and what its screen shows of their output."""

from __future__ import annotations

import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODES = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", re.DOTALL)
PLAIN = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def run_in_terminal(
    command: Sequence[str],
    *,
    columns: int = 80,
    piped: bool = False,
    seconds: float = 60,
    **environment: str,
) -> str:
    """Return all that a terminal of so many columns receives from a command that exits with 0.

    piped: stdout is a pipe, as under spark-submit, and the terminal's path is in the environment.
    """
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    base = {name: value for name, value in os.environ.items() if name not in PLAIN}
    base |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | environment
    if piped:
        base["LATENT_DEDUP_TERMINAL"] = os.ttyname(slave)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=base,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else slave,
        stderr=subprocess.PIPE,
    )
    received = b""
    end = time.monotonic() + seconds
    try:
        while process.poll() is None or select.select([master], [], [], 0.1)[0]:
            assert time.monotonic() < end, received
            if select.select([master], [], [], 0.1)[0]:
                received += os.read(master, 65536)
        pipes = process.communicate()
    finally:
        process.kill()
        os.close(slave)
        os.close(master)
    assert process.returncode == 0, (received, pipes)
    assert not any(pipes), pipes  # all went to the terminal
    return received.decode()


def screen(received: str, columns: int = 80) -> list[str]:
    """Return the lines on the screen after a terminal has received this, the empty last one too.

    Only the control codes that we expect are known; others raise ValueError.
    """
    lines: list[list[str]] = [[]]
    row = column = 0
    for arguments, code, character in CODES.findall(received):
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
        elif character:
            if column == columns:  # it wraps when one more comes
                row, column = row + 1, 0
            lines.extend([] for _ in range(row + 1 - len(lines)))
            lines[row].extend(" " * (column + 1 - len(lines[row])))
            lines[row][column] = character
            column += 1
        elif code == "A":
            row -= int(arguments)
        elif (arguments, code) == ("2", "K"):
            lines[row] = []
        elif code != "m" and (arguments, code) not in {("?25", "l"), ("?25", "h")}:
            raise ValueError(f"unknown code {arguments}{code}")
        lines.extend([] for _ in range(row + 1 - len(lines)))
    return ["".join(line).rstrip() for line in lines]
