"""A process that imports what Python workers need while Java and Spark start.

Spark starts the daemon of its workers with the first task that needs one, and its imports take
seconds then. On one machine a job starts this process first (`running`). Spark's daemon
(`worker_daemon`) asks it by a Unix socket for a process that has all of it (`has_served`): this one
forks itself, and the forked process gets the environment, the path of modules and the streams that
Spark gave the daemon, and takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import jobs
from jobs.runtime import workers

SOCKET = "LATENT_DEDUP_FORK_SERVER"  # the environment variable with the path of the socket
LONGEST = 100  # bytes of a Unix socket's path
# As Spark sets it for workers; NumPy and torch read it when they are imported.
AS_A_WORKER = {"OMP_NUM_THREADS": "1"}
# Variables that no import looks at: what Spark gives its daemon, which workers read when they
# begin, and what a shell or the start of Java changes.
OF_SPARK = (
    "PYTHON_",  # Python's own are without the line, but for a few that no executor is given
    "PYTHONPATH",  # sys.path is sent instead
    "PYSPARK_",
    "SPARK_",
    "_PYSPARK_",
    "JAVA_MAIN_CLASS_",
)
OF_SHELLS = {"_", "PWD", "OLDPWD", "SHLVL"}
YES = b"y"
STREAMS = (0, 1, 2)
# Not by -m: what is run so is another module than the one that is imported, and the folder in which
# the command was given would come before this project.
PROGRAM = "import sys; sys.path[:0] = [{code!r}]; from {name} import main; main({socket})"


@contextlib.contextmanager
def running(modules: Iterable[str], *, is_needed: bool = True) -> Iterator[None]:
    """Start the server, which imports modules, and end it. Spark is to be started meanwhile.

    Where it cannot be started, the daemon imports them itself. is_needed: False where Spark runs
    already, or on other machines.
    """
    if not is_needed:
        yield
        return
    os.environ[workers.MODULES] = " ".join(dict.fromkeys(modules))
    os.environ.pop(SOCKET, None)
    folder = tempfile.mkdtemp(prefix="latent-dedup-")  # which no other user can look into
    server = None
    try:
        with contextlib.suppress(OSError):  # no room for a process, a disk without sockets
            server = _started(f"{folder}/socket")
        yield
    finally:
        os.environ.pop(SOCKET, None)
        if server is not None:
            server.terminate()  # it may still be importing
            server.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _started(path: str) -> subprocess.Popen[bytes] | None:
    """Start the process, with a socket at a path that can be connected to from now on."""
    if len(os.fsencode(path)) > LONGEST:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        number, code = listener.fileno(), str(Path(jobs.__file__).parents[1])
        program = PROGRAM.format(code=code, name=__name__, socket=number)
        # A process group of its own: Ctrl-C is for the job, which ends this process.
        server = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            pass_fds=[number],
            process_group=0,
            env=os.environ | AS_A_WORKER | {SOCKET: path},
        )
    os.environ[SOCKET] = path
    return server


def has_served() -> bool:
    """Let a process of the server take this one's place, and wait until it ends.

    Returns False at once where there is no server, or where Spark gave this process another
    interpreter, or an environment with which imports may go another way.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.environ[SOCKET])
            socket.send_fds(connection, [YES], STREAMS)
            told = [sys.executable, dict(os.environ), sys.path, sys.argv]
            connection.sendall(json.dumps(told).encode())
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1) != YES:
                return False
        except (OSError, KeyError):
            return False
        with contextlib.suppress(OSError):
            connection.recv(1)  # which ends when the other process and its workers have
    return True


def main(number: int) -> None:
    """Import the modules and fork a process for each daemon, until stdin is closed.

    number: the file descriptor of the socket, which listens already.
    """
    with socket.socket(fileno=number) as listener:
        workers.import_modules()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for forked processes
        while True:
            ready, _, _ = select.select([0, listener.fileno()], [], [])
            if 0 in ready:  # the job was killed, else it had ended this process
                shutil.rmtree(Path(os.environ[SOCKET]).parent, ignore_errors=True)
                return
            connection, _ = listener.accept()
            with connection:
                _answer(connection, listener)


def _answer(connection: socket.socket, listener: socket.socket) -> None:
    """Fork a process that takes the place of the daemon which asks; does not return there.

    A daemon that gets no answer imports by itself.
    """
    _, streams, _, _ = socket.recv_fds(connection, 1, len(STREAMS))
    try:
        with connection.makefile("rb") as told:
            executable, environment, path, arguments = json.loads(told.read())
        alike = executable == sys.executable and _imports_alike(environment)
        if alike and len(streams) == len(STREAMS) and os.fork() == 0:
            listener.close()
            _take_place(connection, streams, environment, path, arguments)
    except (OSError, ValueError):  # who asked has ended, or there is no room for a process
        return
    finally:
        for stream in streams:
            os.close(stream)


def _take_place(
    connection: socket.socket,
    streams: Sequence[int],
    environment: Mapping[str, str],
    path: Sequence[str],
    arguments: Sequence[str],
) -> NoReturn:
    """Become the daemon, in the forked process, and end as it ends."""
    code: object = 1
    try:
        for number, stream in zip(STREAMS, streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:], sys.argv = path, list(arguments)
        connection.sendall(YES)
        workers.serve()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _imports_alike(environment: Mapping[str, str]) -> bool:
    """Whether what this process imported is what one of another environment would import."""

    def decisive(names: Mapping[str, str]) -> dict[str, str]:
        return {
            name: names[name] for name in names.keys() - OF_SHELLS if not name.startswith(OF_SPARK)
        }

    return decisive(environment) == decisive(os.environ)
