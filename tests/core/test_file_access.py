"""What we do with the files of a deployment: private, and without harm to who else uses them."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from anabranch.errors import AnabranchError
from support.databases import sqlite
from support.store import Store, table
from support.trees import revision_file

CREATE = revision_file("c1", upgrade=table("customer"))
WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database in the deployment, with a row in it."""
    store = Store(tmp_path, sqlite(tmp_path / "deployment" / "database.sqlite"))
    store.core(CREATE)
    yield store
    store.site.close()


def modes(directory: Path) -> dict[str, int]:
    paths = [path for path in directory.rglob("*") if path.name != "config.toml"]
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_we_create_in_a_deployment_is_its_owners_alone(store: Store, mode: str) -> None:
    """Whatever the umask: database, journal or log, lock, backups, and the copies of a rehearsal.

    The revision looks while all of them are there.
    """
    seen = store.site.path / "seen"
    look = (
        f"import os, pathlib\nfor path in pathlib.Path({str(store.deployment)!r}).rglob('*'):\n"
        f"    with open({str(seen)!r}, 'a') as file:\n"
        "        print(oct(path.stat().st_mode & 0o777), path.is_dir(), path.name, file=file)"
    )
    old = os.umask(0o022)
    try:
        store.init_db().expect()
        store.database.execute("INSERT INTO customer (id) VALUES (1)")
        assert store.database.path is not None
        with closing(sqlite3.connect(store.database.path)) as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
        change = f"op.execute('UPDATE customer SET id = id + 1')\n{look}"
        store.core(CREATE, revision_file("c2", down="c1", upgrade=change))
        store.init_db("--rehearse").expect()
        (backup,) = (store.deployment / "backups").iterdir()
        store.db("restore", backup.name, "--yes").expect()
    finally:
        os.umask(old)
    lines = [line.split() for line in seen.read_text().splitlines() if "config.toml" not in line]
    names = {name for _, _, name in lines}
    beside = "-journal" if mode == "delete" else "-wal"
    assert {"database.sqlite", f"database.sqlite{beside}", "backups", backup.name} <= names
    assert any(name.startswith(".database.sqlite.rehearsal-") for name in names)
    assert {(mode, is_dir) for mode, is_dir, _ in lines} == {("0o600", "False"), ("0o700", "True")}
    assert set(modes(store.deployment).values()) == {0o600, 0o700}


@pytest.mark.parametrize("verb", ["status", "upgrade", "rehearse", "check_current", "backups"])
def test_an_application_keeps_its_lock_while_we_look_at_its_database(
    store: Store, verb: str
) -> None:
    """Closing a file lets go of all locks that a process holds on it, SQLite's own among them."""
    store.upgrade()
    store.core(CREATE, revision_file("c2", down="c1", upgrade=table("product")))
    assert store.database.path is not None
    path = str(store.database.path)
    with closing(sqlite3.connect(path, isolation_level=None)) as own, store.manager() as manager:
        own.execute("BEGIN IMMEDIATE")
        own.execute("INSERT INTO customer (id) VALUES (1)")
        options = {"lock_timeout": 0} if verb in ("upgrade", "rehearse") else {}
        with Path(f"{path}.lock").open("a") as lock, suppress(AnabranchError):
            if options:
                # The run lock is held: it goes so far, and does not wait for SQLite's own.
                fcntl.flock(lock, fcntl.LOCK_EX)
            getattr(manager, verb)(store.deployment, **options)
        other = subprocess.run(
            [sys.executable, "-c", WRITE, path], capture_output=True, encoding="utf-8"
        )
        assert "database is locked" in other.stderr
        own.execute("COMMIT")
    assert store.database.rows("customer") == [{"id": 1}]
