"""Starts ``python -m MODULE`` in a fork of a process that has imported SQLAlchemy and Alembic.

A new interpreter spends most of its time on these imports, and tests start thousands. What runs is
a process of its own all the same: nothing of ours or of an application is imported in the one it is
forked from, and environment, directory, input, outputs and exit code are as of any other.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_IMPORTED = (
    *("sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql"),
    *("alembic.autogenerate", "alembic.context", "alembic.op", "mako.template"),
    *("click", "pluggy", "platformdirs", "psycopg", "importlib.metadata", "sqlite3"),
)


class Starter:
    """The process that is forked; it ends with the one that started it."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                # -I: whatever this process was given, modules come from where pip put them.
                [sys.executable, "-I", __file__, str(other.fileno())],
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: str,
        timeout: float,
    ) -> tuple[int, str, str]:
        """Run *module* to its end; returns exit code, output and errors.

        :raises subprocess.TimeoutExpired: after *timeout* seconds; it is killed, and so is this.
        """
        request = json.dumps([module, list(arguments), str(cwd), dict(env)]) + "\n"
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin.encode())
            given.seek(0)
            files = [file.fileno() for file in (given, out, err)]
            sent = socket.send_fds(self._socket, [request.encode()], files)
            self._socket.sendall(request.encode()[sent:])
            self._socket.settimeout(timeout)
            try:
                code = int(self._socket.recv(16))
            except TimeoutError as error:
                self.close()
                raise subprocess.TimeoutExpired([module, *arguments], timeout) from error
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return code, texts[0], texts[1]

    def close(self) -> None:
        """End it, with what it runs."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _serve(connection: socket.socket) -> None:
    """Fork for each request, and answer with the exit code; in the fork, do what is asked."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        if not request:
            return
        while not request.endswith(b"\n"):
            request += connection.recv(1 << 16)
        pid = os.fork()
        if pid == 0:
            connection.close()
            module, arguments, cwd, env = json.loads(request)
            _become(module, arguments, cwd, env, descriptors)
            return  # or what it raised: the interpreter ends as it always does
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(
    module: str, arguments: list[str], cwd: str, env: dict[str, str], descriptors: list[int]
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.dont_write_bytecode = True
    sys.path[:0] = env["PYTHONPATH"].split(os.pathsep)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for _name in _IMPORTED:
        with suppress(ImportError):
            importlib.import_module(_name)
    gc.freeze()  # a collection in the fork would copy all that is shared
    _serve(socket.socket(fileno=int(sys.argv.pop())))
