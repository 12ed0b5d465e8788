"""A real pgbouncer before a PostgreSQL server, from the Debian package of that name."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from support.databases import Database

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
PROGRAM = shutil.which("pgbouncer", path=_PATH)

_CONFIGURATION = """
[databases]
{name} = host={host} port={port} dbname={name} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 8
client_login_timeout = 10
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pooler(database: Database, mode: Literal["transaction", "session"]) -> Iterator[Database]:
    """Start one in *mode* before *database*; yields the database as it is reached through it."""
    assert PROGRAM is not None
    url = sa.make_url(database.url)
    host = url.host or str(url.query["host"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = free.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="anabranch-pgbouncer-"))
    directory.chmod(0o755)
    file = directory / "pgbouncer.ini"
    file.write_text(
        _CONFIGURATION.format(
            name=url.database,
            host=host,
            port=url.port or 5432,
            user=url.username,
            listen=listen,
            mode=mode,
        )
    )
    # It refuses to run as root, and only the server's own user may enter the socket's directory.
    user = Path(host).stat().st_uid if os.getuid() == 0 else None
    process = subprocess.Popen(
        [PROGRAM, "-q", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, user=user
    )
    try:
        _wait(listen, process)
        through = sa.URL.create(
            url.drivername,
            username=url.username,
            host="127.0.0.1",
            port=listen,
            database=url.database,
        )
        yield Database(through.render_as_string(hide_password=False))
    finally:
        process.terminate()
        process.communicate(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "pgbouncer does not start"
            time.sleep(0.02)
        else:
            return
