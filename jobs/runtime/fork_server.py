"""A process that imports what Python workers need while Java and Spark start.

Spark starts the daemon of its workers with the first task that needs one, and its imports take
seconds then. On one machine a job starts this process first (`running`). Spark's daemon
(`worker_daemon`) asks it by a Unix socket for a process that has all of it (`has_served`): this one
forks itself, and the forked process gets the environment and the streams that Spark gave the
daemon, and takes its place.
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
from collections.abc import Iterable, Iterator, Mapping

MODULES = "LATENT_DEDUP_WORKER_MODULES"  # the environment variable with the names of modules
SOCKET = "LATENT_DEDUP_FORK_SERVER"  # that with the path of the socket
LONGEST = 100  # letters of a Unix socket's path
# As Spark sets it for workers; NumPy and torch read it when they are imported.
AS_A_WORKER = {"OMP_NUM_THREADS": "1"}
# Of these Spark or a shell gives the daemon others. They are read when a worker begins, or by none.
OF_SPARK = ("PYTHON_", "SPARK_", "PYSPARK_", "_", "PYTHONPATH", "PWD", "OLDPWD", "SHLVL")
YES, NO = b"y", b"n"
STREAMS = (0, 1, 2)


@contextlib.contextmanager
def running(modules: Iterable[str]) -> Iterator[None]:
    """Start the server, which imports modules, and end it. Spark is to be started meanwhile.

    Where it cannot be started, the daemon imports them itself.
    """
    os.environ[MODULES] = " ".join(dict.fromkeys(modules))
    folder = tempfile.mkdtemp(prefix="latent-dedup-")  # which no other user can look into
    path = f"{folder}/socket"
    server = None
    try:
        if len(path) <= LONGEST:
            os.environ[SOCKET] = path
            server = _started(path)
        yield
    finally:
        os.environ.pop(SOCKET, None)
        if server is not None:
            server.terminate()  # it may still be importing
            server.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _started(path: str) -> subprocess.Popen[bytes]:
    """Start the process, with a socket at a path that can be connected to from now on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env=os.environ | AS_A_WORKER,
        )


def modules() -> list[str]:
    """The names of the modules that workers need."""
    return os.environ.get(MODULES, "").split()


def has_served() -> bool:
    """Let a process of the server take this one's place, and wait until it ends.

    Returns False at once where there is no server, or where Spark gave this process an environment
    with which other libraries, or the same in another way, would be imported.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.environ[SOCKET])
            socket.send_fds(connection, [YES], STREAMS)
            connection.sendall(json.dumps([dict(os.environ), sys.argv]).encode())
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1) != YES:
                return False
        except (OSError, KeyError):
            return False
        with contextlib.suppress(OSError):
            connection.recv(1)  # which ends when the other process does
    return True


def main() -> None:
    """Import the modules and fork a process for each daemon, until stdin is closed."""
    from jobs.runtime import worker_daemon

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job ends this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the ends of forked processes are not asked for
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        worker_daemon.import_modules()
        while True:
            ready, _, _ = select.select([0, listener.fileno()], [], [])
            if listener.fileno() in ready:
                connection, _ = listener.accept()
                with connection:
                    _answer(connection, listener)
            if 0 in ready:
                return


def _answer(connection: socket.socket, listener: socket.socket) -> None:
    """Fork a process that takes the place of the daemon which asks; does not return there."""
    from jobs.runtime import worker_daemon

    _, streams, _, _ = socket.recv_fds(connection, 1, len(STREAMS))
    try:
        with connection.makefile("rb") as told:
            environment, arguments = json.loads(told.read())
        if not _imports_alike(environment):
            connection.sendall(NO)
            return
        connection.sendall(YES)
        if os.fork() == 0:
            listener.close()
            for number, stream in zip(STREAMS, streams, strict=True):
                os.dup2(stream, number)
                os.close(stream)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = arguments
            try:
                worker_daemon.serve()
            finally:
                os._exit(0)
    except (OSError, ValueError):  # who asked has ended
        return
    finally:
        for stream in streams:
            with contextlib.suppress(OSError):
                os.close(stream)


def _imports_alike(environment: Mapping[str, str]) -> bool:
    """Whether what this process imported is what one of another environment would import."""

    def decisive(names: Mapping[str, str]) -> dict[str, str]:
        return {name: names[name] for name in names if not name.startswith(OF_SPARK)}

    return decisive(environment) == decisive(os.environ)


if __name__ == "__main__":
    main()
