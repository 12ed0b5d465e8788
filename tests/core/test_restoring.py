"""A backup is put back whole or not at all, and what stood there before is kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from anabranch.copying import copy_into, copy_to
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

CREATE = revision_file("c1", upgrade=table("customer"))
ALTER = revision_file(
    "c2", down="c1", upgrade="op.add_column('customer', sa.Column('name', sa.Text))"
)


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Database) -> Iterator[Store]:
    """A database that was upgraded twice, with the backup that the second upgrade made."""
    store = Store(tmp_path, sqlite_database)
    store.core(CREATE)
    store.upgrade()
    store.database.execute("INSERT INTO customer (id) VALUES (1)")
    store.core(CREATE, ALTER)
    store.upgrade()
    store.database.execute("INSERT INTO customer (id) VALUES (2)")
    yield store
    store.site.close()


def backups(store: Store) -> list[Path]:
    return sorted((store.deployment / "backups").glob("*"), key=lambda path: path.stat().st_mtime)


def file_of(store: Store) -> Path:
    assert store.database.path is not None
    return store.database.path


def restore(store: Store, backup: Path | str, code: int = 0) -> str:
    result = store.db("restore", str(backup), "--yes").expect(code)
    assert "Traceback" not in result.err
    return result.out + result.err


def test_a_backup_is_put_back_and_the_journal_says_so(store: Store) -> None:
    """What stood there is a backup now, which can be put back in turn; then all runs again."""
    (backup,) = backups(store)
    before, saved = store.database.dump(), sqlite(backup).dump()
    out = restore(store, backup.name)
    assert f"Restored  {backup}" in out
    new = [line for line in store.database.dump().splitlines() if line not in saved.splitlines()]
    assert ["restored" in line for line in new] == [True]
    assert f"from {backup.name}; before it: database-" in new[0]
    assert store.database.rows("customer") == [{"id": 1}]
    kept = backups(store)[-1]
    assert f"Kept      {kept} (" in out
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert sqlite(kept).dump() == before
    assert store.plan() == ["core@c2"]

    restore(store, kept.name)
    assert store.database.rows("customer") == [{"id": 1, "name": None}, {"id": 2, "name": None}]
    assert store.plan() == []


def test_backups_are_listed_where_none_is_named(store: Store) -> None:
    before = store.database.dump()
    (backup,) = backups(store)
    assert f"\n{backup.name}  20" in store.db("restore").expect().out
    backup.unlink()
    assert store.db("restore").expect().out == "There are no backups.\n"
    assert store.database.dump() == before


def test_nothing_is_replaced_without_a_yes(store: Store) -> None:
    before = store.database.dump()
    (backup,) = backups(store)
    err = store.db("restore", backup.name).expect(8).err
    assert err.endswith("Next:  Say --yes to do it.\n")
    assert store.database.dump() == before
    assert backups(store) == [backup]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_programs_that_have_the_database_open_see_the_restored_rows(
    store: Store, mode: str
) -> None:
    """Their connection is not left on a file that is gone."""
    (backup,) = backups(store)
    with closing(sqlite3.connect(file_of(store))) as other:
        other.execute(f"PRAGMA journal_mode={mode}")
        assert other.execute("SELECT count(*) FROM customer").fetchone() == (2,)
        inode = file_of(store).stat().st_ino
        restore(store, backup)
        assert other.execute("SELECT * FROM customer").fetchall() == [(1,)]
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert file_of(store).stat().st_ino == inode


def test_a_database_in_use_is_not_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program writes and does not end: exit code 7, nothing changed."""
    monkeypatch.setattr("anabranch.restoring._TIMEOUT", 0.3)
    monkeypatch.setattr("anabranch.sqlite._BUSY_TIMEOUT", 300)
    (backup,) = backups(store)
    before = store.database.dump()
    with closing(sqlite3.connect(file_of(store), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with store.manager() as manager, pytest.raises(Exception, match="is in use") as caught:
            manager.restore(store.deployment, backup)
        assert getattr(caught.value, "exit_code", None) == 7
    assert store.database.dump() == before


def test_a_damaged_backup_a_foreign_one_and_none_at_all_are_refused(
    store: Store, tmp_path: Path
) -> None:
    before = store.database.dump()
    (backup,) = backups(store)
    damaged = tmp_path / "damaged.sqlite"
    content = backup.read_bytes()
    damaged.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    assert "is not a sound SQLite database" in restore(store, damaged, 8)
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear operator,\n" * 100)
    assert "file is not a database" in restore(store, letter, 8)

    (tmp_path / "other").mkdir()
    other = Store(tmp_path / "other", sqlite(tmp_path / "other.sqlite"))
    other.core(CREATE)
    other.upgrade()
    assert "is a backup of another database" in restore(store, file_of(other), 8)

    assert "There is no backup nothing.sqlite." in restore(store, "nothing.sqlite", 2)
    assert "There is no backup" in restore(store, file_of(store), 2)
    unasked = store.db("restore", "nothing.sqlite").expect(2)
    assert "There is no backup nothing.sqlite." in unasked.err
    assert store.database.dump() == before
    assert backups(store) == [backup]


def test_a_lost_an_empty_and_a_damaged_database_are_restored(store: Store) -> None:
    """The damaged one is kept as it is."""
    (backup,) = backups(store)
    rows = sqlite(backup).rows("customer")
    file_of(store).unlink()
    assert "Kept" not in restore(store, backup)
    assert store.database.rows("customer") == rows
    assert stat.S_IMODE(file_of(store).stat().st_mode) == 0o600

    file_of(store).write_bytes(b"")
    restore(store, backup)
    assert store.database.rows("customer") == rows

    content = file_of(store).read_bytes()
    damaged = content[:8192] + b"\xa5" * (len(content) - 8192)
    file_of(store).write_bytes(damaged)
    restore(store, backup)
    assert store.database.rows("customer") == rows
    assert backups(store)[-1].read_bytes()[8192:] == damaged[8192:]


def test_a_file_that_is_no_database_is_not_written_over(store: Store) -> None:
    """SQLite cannot say what it is; moved away, it makes room for the backup."""
    (backup,) = backups(store)
    file_of(store).write_bytes(b"Dear diary,\n" * 1000)
    out = restore(store, backup, 8)
    assert "cannot be backed up as it is now: file is not a database" in out
    assert "move it away with its -wal, -shm and -journal" in out
    assert file_of(store).read_bytes() == b"Dear diary,\n" * 1000
    file_of(store).unlink()
    restore(store, backup)
    assert store.database.rows("customer") == [{"id": 1}]


def test_only_sqlite_is_restored(tmp_path: Path, postgresql_database: Database) -> None:
    store = Store(tmp_path, postgresql_database)
    store.core(CREATE)
    err = store.db("restore", "x", "--yes").expect(2).err
    assert "is no SQLite file" in err
    assert "the server's own tools" in err


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_restore_that_is_killed_leaves_the_old_content_or_the_new(
    tmp_path: Path, mode: str
) -> None:
    """At random moments of the copying, which SQLite's journal then undoes or completes."""
    live, old, new = (tmp_path / f"{name}.sqlite" for name in ("live", "old", "new"))
    with closing(sqlite3.connect(live)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE t (x)")
        connection.execute(
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            "LIMIT 150000) SELECT hex(randomblob(50)) FROM n"
        )
        connection.commit()
        copy_to(live, new, timeout=1)
        connection.execute("UPDATE t SET x = hex(randomblob(40))")
        connection.commit()
    copy_to(live, old, timeout=1)
    contents = {name: sqlite(path).dump() for name, path in (("old", old), ("new", new))}
    started = time.monotonic()
    copy_into(new, live, timeout=1)
    duration = time.monotonic() - started
    assert sqlite(live).dump() == contents["new"]
    chance = random.Random(7)
    seen: list[str] = []
    for _ in range(12):
        for left in tmp_path.glob("live*"):
            left.unlink()
        shutil.copy(old, live)
        pid = os.fork()
        if pid == 0:
            copy_into(new, live, timeout=1)
            os._exit(0)
        time.sleep(chance.uniform(0, duration * 1.2))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = sqlite(live).dump()
        seen += [name for name, content in contents.items() if content == found]
        with closing(sqlite3.connect(live)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(seen) == 12
    assert "old" in seen


def test_a_file_that_nothing_ties_to_this_database_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    store.core(revision_file("c1", upgrade=table("one")))
    store.upgrade()
    before = store.database.dump()
    other = sqlite(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE stranger (id INTEGER)")
    done = store.db("restore", str(other.path), "--yes").expect(8)
    assert "Nothing in" in done.err
    assert store.database.dump() == before
