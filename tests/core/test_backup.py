"""A database with rows in it is backed up before a run may change them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.backup import BackupFolder, connection_variables
from anabranch.copying import CopyError, copy_to
from anabranch.errors import RevisionError
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

SECRET = "pl4nted-s3cret"
CREATE = revision_file("c1", upgrade=table("customer"))
ALTER = revision_file(
    "c2", down="c1", upgrade="op.add_column('customer', sa.Column('name', sa.Text))"
)
BROKEN = revision_file("c2", down="c1", upgrade="op.execute('UPDATE customer SET nowhere = 1')")


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Database) -> Iterator[Store]:
    """One table with one row, and a revision that alters it."""
    store = Store(tmp_path, sqlite_database)
    filled(store)
    yield store
    store.site.close()


def filled(store: Store) -> None:
    store.core(CREATE)
    store.upgrade()
    store.database.execute("INSERT INTO customer (id) VALUES (1)")
    store.core(CREATE, ALTER)


def backups(store: Store) -> list[Path]:
    return sorted((store.deployment / "backups").glob("*"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_backup_holds_what_was_there_before_the_run(store: Store) -> None:
    """Readable by its owner only, whole, named in the output and by the run in the journal."""
    before = store.database.dump()
    result = store.init_db().expect()
    (backup,) = backups(store)
    assert sqlite(backup).dump() == before
    assert f"Backup    {backup} (" in result.out
    run = store.database.execute("SELECT run FROM anabranch_journal ORDER BY seq DESC")[0]["run"]
    assert re.fullmatch(rf"database-\d{{8}}T\d{{6}}Z-{run}\.sqlite", backup.name)
    assert (mode(backup), mode(backup.parent)) == (0o600, 0o700)
    assert "name" in {column["name"] for column in store.schema["customer"]["columns"]}


def test_a_backup_holds_what_is_only_in_the_write_ahead_log(store: Store) -> None:
    """While another program has the database open, and even writes to it."""
    assert store.database.path is not None
    with closing(sqlite3.connect(store.database.path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("PRAGMA wal_autocheckpoint=0")
        other.execute("INSERT INTO customer (id) VALUES (2)")
        other.commit()
        assert Path(f"{store.database.path}-wal").stat().st_size > 0
        store.init_db().expect()
    (backup,) = backups(store)
    assert sqlite(backup).rows("customer") == [{"id": 1}, {"id": 2}]


def test_a_database_without_rows_and_a_plan_that_only_creates_need_none(store: Store) -> None:
    """Nothing of what is there could be lost."""
    store.core(CREATE, revision_file("c2", down="c1", upgrade=table("product")))
    assert "Backup" not in store.init_db().expect().out
    store.database.execute("DELETE FROM customer")
    store.core(CREATE, revision_file("c2", down="c1", upgrade=table("product")), BROKEN_LATER)
    store.init_db().expect(5)
    assert backups(store) == []


BROKEN_LATER = revision_file("c3", down="c2", upgrade="op.execute('UPDATE customer SET no = 1')")


@pytest.mark.parametrize(
    "body",
    [
        "if not sa.inspect(op.get_bind()).has_table('customer'):\n"
        "    op.create_table('customer', sa.Column('id', sa.Integer))\n"
        "op.drop_table('customer')",
        "sa.Table('customer', sa.MetaData()).drop(op.get_bind())",
        "op.get_bind().scalars(sa.text('DELETE FROM customer RETURNING id')).all()",
    ],
)
def test_a_backup_is_made_before_what_only_seems_to_create(store: Store, body: str) -> None:
    store.core(CREATE, revision_file("c2", down="c1", upgrade=body))
    store.upgrade(allow_destructive=True)
    assert len(backups(store)) == 1


def test_nobody_makes_a_backup_who_is_told_not_to(store: Store) -> None:
    """On the command line, by the configuration, from Python; Python wins over both."""
    store.core(CREATE, BROKEN)
    store.init_db("--no-backup").expect(5)
    store.configure("[migrations]\nbackup = false\n")
    store.init_db().expect(5)
    assert backups(store) == []
    store.core(CREATE, ALTER)
    store.upgrade(backup=True)
    assert len(backups(store)) == 1


def test_a_failed_run_names_the_command_that_brings_the_backup_back(store: Store) -> None:
    store.core(CREATE, BROKEN)
    err = store.init_db().expect(5).err
    (backup,) = backups(store)
    command = f"store db restore {store.deployment} {backup.name}"
    assert f"To go back to before this run: '{command}'." in err.splitlines()[-1]
    store.site.run(*command.split()[1:], "--yes").expect()


def test_an_interrupted_run_names_that_command_too(store: Store) -> None:
    stopped = "op.execute('UPDATE customer SET id = 2')\nraise KeyboardInterrupt"
    store.core(CREATE, revision_file("c2", down="c1", upgrade=stopped))
    err = store.init_db().expect(130).err
    (backup,) = backups(store)
    command = f"store db restore {store.deployment} {backup.name}"
    assert f"To go back to before this run: '{command}'." in err
    store.site.run(*command.split()[1:], "--yes").expect()


def test_databases_that_differ_in_their_ending_have_backups_of_their_own(store: Store) -> None:
    folder = store.deployment / "backups"
    folder.mkdir()
    other = folder / "database.db-20200101T000000Z-0123456789ab.sqlite"
    other.touch()
    store.configure("[migrations]\nbackups_kept = 1\n")
    store.upgrade()
    with store.manager() as manager:
        listed = manager.backups(store.deployment)
    assert other.exists()
    assert [backup.path.name.partition("-")[0] for backup in listed] == ["database"]


def test_the_last_three_are_kept_and_other_files_are_left_alone(store: Store) -> None:
    """A backup of another database, one that was renamed, and anything else, stay."""
    folder = store.deployment / "backups"
    folder.mkdir()
    others = ["mine.sqlite", "shop-20200101T000000Z-0123456789ab.sqlite", "database.sqlite"]
    for name in others:
        (folder / name).touch()
    chain, made = [CREATE], list[str]()
    for number in range(4):
        chain.append(added(number))
        store.core(*chain)
        store.upgrade()
        names = [path.name for path in backups(store)]
        made += [name for name in names if name not in [*others, *made]]
    assert names == sorted([*others, *made[1:]])
    store.configure("[migrations]\nbackups_kept = 1\n")
    store.core(*chain, added(4))
    store.upgrade()
    assert len(backups(store)) == len(others) + 1


def added(number: int) -> str:
    """A revision that adds the column ``a<number>``."""
    column = f"op.add_column('customer', sa.Column('a{number}', sa.Integer))"
    return revision_file(f"a{number}", down=f"a{number - 1}" if number else "c1", upgrade=column)


def test_runs_that_fail_again_and_again_keep_what_was_before_the_first(store: Store) -> None:
    """A part of the revision had stayed: only the first backup has all rows."""
    store.database.execute("CREATE TABLE other (id INTEGER)", "INSERT INTO other VALUES (1)")
    harm = "op.execute('DELETE FROM customer')\nop.execute('COMMIT')\nraise ValueError"
    store.core(CREATE, revision_file("c2", down="c1", upgrade=harm))
    for _ in range(6):
        with pytest.raises(RevisionError):
            store.upgrade()
    kept = [sqlite(path).rows("customer") for path in backups(store)]
    assert sorted(map(len, kept)) == [0, 0, 0, 1]


def test_the_new_backup_stays_even_where_the_clock_went_back(tmp_path: Path) -> None:
    folder = BackupFolder(tmp_path, "shop")
    names = [f"shop-20{year}0101T000000Z-{'0' * 12}.sqlite" for year in (20, 21, 22, 23)]
    for name in names:
        (tmp_path / name).touch()
    folder.prune(tmp_path / names[0], 2, has_failed=lambda _: False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[0], names[3]]


def test_what_a_killed_backup_leaves_never_looks_whole_and_is_cleared(store: Store) -> None:
    """A process that is killed while it copies leaves a .part, which the next run deletes."""
    store.database.execute(
        "CREATE TABLE photo AS WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40) SELECT zeroblob(2000000) AS it FROM n"
    )
    process = store.site.start("init-db", store.deployment)
    while process.poll() is None:
        parts = [path for path in backups(store) if path.suffix == ".part"]
        if parts and parts[0].stat().st_size:
            process.kill()
            break
        time.sleep(0.001)
    process.communicate()
    assert process.returncode == -9
    (part,) = backups(store)
    assert part.suffix == ".part"
    store.init_db().expect()
    (backup,) = backups(store)
    assert backup.suffix == ".sqlite"
    assert len(sqlite(backup).rows("photo")) == 40


def test_a_damaged_database_is_not_backed_up_and_not_migrated(store: Store) -> None:
    """The copy does not pass SQLite's own check; nothing is changed, and no copy is left."""
    path = store.database.path
    assert path is not None
    page = store.database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'customer'")
    content = bytearray(path.read_bytes())
    start = (page[0]["rootpage"] - 1) * 4096
    content[start : start + 64] = b"\xa5" * 64
    path.write_bytes(content)
    err = store.init_db().expect(8).err
    assert "Error AB403" in err
    assert "The database was not changed." in err
    assert path.read_bytes() == bytes(content)
    assert backups(store) == []


def test_a_folder_that_cannot_be_made_stops_the_run(store: Store) -> None:
    """The error says where and why, and how to go on without."""
    (store.deployment / "backups").touch()
    before = store.database.dump()
    err = store.init_db().expect(8).err
    assert f"cannot be backed up: {store.deployment / 'backups'}: " in err
    assert "go on without a backup: --no-backup" in err
    assert store.database.dump() == before
    store.init_db("--no-backup").expect()


def test_a_database_without_a_deployment_is_backed_up_beside_its_file(store: Store) -> None:
    """Whether it is named by a URL, an engine or a connection; one in memory is not."""
    store.core(CREATE, BROKEN)
    assert store.database.path is not None
    folder = store.database.path.parent / "backups"
    engine = sa.create_engine(store.database.url)
    with store.manager() as manager, engine.connect() as connection:
        for target in (store.database.url, engine, connection):
            with pytest.raises(Exception, match="nowhere") as caught:
                manager.upgrade(target)
            assert str(max(folder.iterdir(), key=os.path.getmtime)) in str(
                getattr(caught.value, "remedy", "")
            )
    engine.dispose()
    assert len(list(folder.iterdir())) == 3


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """A sparse file says that it is larger than the disk."""
    source = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with source.open("r+b") as file:
        pages = 0xFFFF0000
        file.seek(28)
        file.write(pages.to_bytes(4, "big"))
        try:
            file.truncate(pages * 4096)
        except OSError:
            pytest.skip("this file system has no files of 16 TB")
    with pytest.raises(CopyError, match=r"17,\d+,\d+,\d+,\d+ bytes are needed"):
        copy_to(source, tmp_path / "copy.sqlite", timeout=1)
    assert [path.name for path in tmp_path.iterdir()] == ["large.sqlite"]


# -- other databases


@pytest.fixture
def served(tmp_path: Path, postgresql_database: Database) -> Store:
    store = Store(tmp_path, postgresql_database)
    filled(store)
    return store


COMMAND = """
import os, sys, pathlib
print("no room for", os.environ["DATABASE_URL"], file=sys.stderr)
pathlib.Path(sys.argv[1]).write_text(os.environ["DATABASE_URL"] + os.environ["PGDATABASE"])
sys.exit(int(sys.argv[2]))
"""


def with_command(store: Store, code: int) -> None:
    script = store.site.path / "backup.py"
    script.write_text(COMMAND)
    command = [sys.executable, str(script), "{output}", str(code)]
    store.configure(f"[migrations]\nbackup_command = {command}\n")


def test_a_server_is_backed_up_by_the_configured_command(served: Store) -> None:
    """It learns the database from its environment, and where to write from an argument."""
    with_command(served, 0)
    out = served.init_db().expect().out
    (backup,) = backups(served)
    assert f"Backup    {backup} (" in out
    name = sa.make_url(served.database.url).database
    assert backup.read_text().startswith("postgresql://")
    assert backup.read_text().endswith(str(name))
    assert mode(backup) == 0o600


def test_a_backup_command_that_fails_stops_the_run(served: Store) -> None:
    """What it says is told without the password; nothing is changed."""
    with_command(served, 3)
    url = sa.make_url(served.database.url).set(password=SECRET)
    env = {"STORE_SQLALCHEMY_DATABASE_URL": url.render_as_string(hide_password=False)}
    result = served.init_db(env=env).expect(8)
    assert "The configured backup_command failed: exit code 3. no room for" in result.err
    assert SECRET not in result.out + result.err
    assert "name" not in {column["name"] for column in served.schema["customer"]["columns"]}
    served.configure("[migrations]\nbackup_command = 'no-such-command --x'\n")
    assert "no-such-command: No such file" in served.init_db().expect(8).err
    served.init_db("--no-backup").expect()


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", "echo half > {output}; exit 3"],
        ["a\0b"],
        ["sh", "-c", ": > {output}"],
        ["ln", "-s", "/dev/null", "{output}"],
        ["mkfifo", "{output}"],
    ],
    ids=["half", "null", "empty", "link", "fifo"],
)
def test_a_backup_command_that_fails_leaves_nothing(served: Store, command: list[str]) -> None:
    served.configure(f"[migrations]\nbackup_command = {json.dumps(command)}\n")
    failed = served.init_db().expect(8)
    assert "The configured backup_command failed" in failed.err
    assert list((served.deployment / "backups").iterdir()) == []


def test_without_a_command_a_server_is_not_backed_up_which_is_said(served: Store) -> None:
    assert "backup_command names no command" in served.init_db().expect().out
    served.core(CREATE, ALTER, revision_file("c3", down="c2", upgrade=table("product")))
    assert "Backup" not in served.init_db().expect().out


def test_backup_tools_learn_the_connection_in_their_own_variables() -> None:
    """A socket's directory and a password in the query are understood too."""
    url = sa.make_url(f"postgresql+psycopg://ann@/shop?host=/run/pg&password={SECRET}")
    variables = connection_variables(url)
    assert variables["PGHOST"] == "/run/pg"
    assert variables["PGPASSWORD"] == SECRET
    assert "PGPORT" not in variables
    assert variables["DATABASE_URL"].startswith("postgresql://ann@/shop")
    for text in (f"ann:{SECRET}@host/shop", f"ann@host/shop?passwd={SECRET}"):
        assert connection_variables(sa.make_url(f"mysql+pymysql://{text}"))["MYSQL_PWD"] == SECRET
