"""What people get wrong at the command line: one clear message, the right code, nothing changed."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch.errors import RequirementError, UsageError
from support.databases import Database, sqlite
from support.sites import Result
from support.store import Store, table
from support.trees import revision_file

SECRET = "pl4nted-s3cret"


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Database) -> Store:
    """One revision of the core, and a SQLite file that does not exist yet."""
    store = Store(tmp_path, sqlite_database)
    store.core(revision_file("c1", upgrade=table("one")))
    return store


def said(result: Result) -> str:
    """Everything the process wrote, in which there must be no traceback and no secret."""
    text = result.out + result.err
    assert "Traceback" not in text
    assert SECRET not in text
    return text


def failure(result: Result, code: int) -> str:
    """The message of a failed command: what happened, the state, and the next move."""
    text = said(result.expect(code))
    assert result.err.count("Error ") == 1
    assert "\nState: " in result.err
    return text


def test_a_message_of_any_length_leaves_the_plan_a_table(store: Store) -> None:
    message = "very " * 80
    store.core(revision_file("c1", upgrade=table("one"), message=message))
    shown = store.db("plan").expect(0).out
    assert "  very very" in shown
    assert max(map(len, shown.splitlines())) < 120
    assert message.strip() in store.db("plan", "--json").expect(0).out


@pytest.mark.parametrize("verb", ["status", "plan", "history"])
def test_a_directory_that_is_no_deployment_is_a_configuration_error(
    store: Store, tmp_path: Path, verb: str
) -> None:
    """Looking never makes a deployment of it."""
    empty = tmp_path / "empty"
    empty.mkdir()
    result = store.site.run("db", verb, empty)
    assert f"{empty} is not a deployment" in failure(result, 2)
    assert list(empty.iterdir()) == []
    result = store.site.run("db", verb, tmp_path / "missing")
    assert "is not a deployment" in failure(result, 2)
    assert not (tmp_path / "missing").exists()


def test_init_db_does_not_make_a_deployment_of_just_any_directory(
    store: Store, tmp_path: Path
) -> None:
    """A directory with other things in it, or a file, is more likely a slip."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").touch()
    assert "it is not empty" in failure(store.site.run("init-db", home), 2)
    assert "is not a directory" in failure(store.site.run("init-db", home / "letter.txt"), 2)
    assert [path.name for path in home.iterdir()] == ["letter.txt"]


CONFIGURATIONS = {
    "not TOML": ("[sqlalchemy\n", "not valid TOML"),
    "a number": ("[sqlalchemy]\ndatabase_url = 7\n", "'sqlalchemy.database_url' must be a string"),
    "no table": ("sqlalchemy = 7\n", "'sqlalchemy' must be a table"),
    "an empty URL": ("[sqlalchemy]\ndatabase_url = ' '\n", "database_url' is empty."),
    "an unknown option": (
        "[sqlalchemy]\ndatabase_url = 'sqlite:///./x.sqlite?nope=1&mode=ro'\n",
        "has nope, mode after the question mark, which SQLite's driver does not know.",
    ),
    "a wrong option": (
        "[sqlalchemy]\ndatabase_url = 'sqlite:///./x.sqlite?timeout=long'\n",
        "has a wrong value after the question mark: could not convert string to float: 'long'.",
    ),
    "an unknown option of a server": (
        f"[sqlalchemy]\ndatabase_url = 'mysql+pymysql://a:{SECRET}@localhost:1/x?nope=1'\n",
        "does not take what the URL says after the question mark",
    ),
    "no URL": ("[sqlalchemy]\ndatabase_url = 'just words'\n", "cannot be read"),
    "a bad port": (
        f"[sqlalchemy]\ndatabase_url = 'postgresql://a:{SECRET}@host:port/x'\n",
        "cannot be read",
    ),
    "an unknown dialect": (
        f"[sqlalchemy]\ndatabase_url = 'postgre://a:{SECRET}@host/x'\n",
        "a driver that is not known, postgre.",
    ),
    "no such driver": (
        f"[sqlalchemy]\ndatabase_url = 'postgresql+psycopg2://a:{SECRET}@host/x'\n",
        "driver of the database is not installed: psycopg2",
    ),
    "a list of numbers": ("[plugins]\ndisabled = [7]\n", "'plugins.disabled'"),
    "a timeout in words": ("[migrations]\nlock_timeout = 'long'\n", "'migrations.lock_timeout'"),
    "an unknown key": ("[migrations]\nlock_timeot = 7\n", "lock_timeot"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_cannot_be_meant_is_refused(store: Store, name: str) -> None:
    """Exit code 2; the message names the file's key, and never the password."""
    text, expected = CONFIGURATIONS[name]
    (store.deployment / "config.toml").write_text(text)
    result = store.init_db()
    assert expected in failure(result, 2)
    assert "Warning" not in result.err
    assert store.database.path is not None
    assert not store.database.path.exists()
    assert [path.name for path in store.deployment.iterdir()] == ["config.toml"]


def test_a_configuration_that_is_no_text_is_refused(store: Store) -> None:
    (store.deployment / "config.toml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in failure(store.init_db(), 2)
    (store.deployment / "config.toml").unlink()
    (store.deployment / "config.toml").mkdir()
    assert "config.toml cannot be read" in failure(store.init_db(), 2)


# -- servers that cannot be reached


@pytest.fixture
def server(postgresql_database: Database) -> sa.URL:
    return sa.make_url(postgresql_database.url)


def test_a_server_that_does_not_answer_is_unreachable(store: Store) -> None:
    """Exit code 9 for every command that needs it."""
    store.configure(url=f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:1/shop")
    for result in (store.init_db(), store.db("status"), store.db("plan")):
        text = failure(result, 9)
        assert "postgresql+psycopg://ann:***@127.0.0.1:1/shop cannot be opened" in text
        assert "refused" in text


def test_the_url_of_the_environment_is_told_without_its_password_too(store: Store) -> None:
    """Also where the password stands in the query, with a bare @ in it, or percent-encoded."""
    for url in (
        f"postgresql+psycopg://ann@127.0.0.1:1/shop?password={SECRET}",
        f"postgresql+psycopg://ann:x@{SECRET}@127.0.0.1:1/shop",
        f"postgresql+psycopg://ann:%2F{SECRET}@127.0.0.1:1/shop",
        f"postgresql+psycopg://ann@127.0.0.1:1/shop?sslmode=disable&sslpassword={SECRET}",
    ):
        failure(store.init_db(env={"STORE_SQLALCHEMY_DATABASE_URL": url}), 9)


def test_an_unknown_database_is_unreachable(store: Store, server: sa.URL) -> None:
    url = server.set(database="nowhere", password=SECRET)
    store.configure(url=url.render_as_string(hide_password=False))
    assert 'database "nowhere" does not exist' in failure(store.init_db(), 9)


def test_a_wrong_password_is_told_in_the_servers_words(store: Store, server: sa.URL) -> None:
    """The server's own message, without the password that was tried."""
    hba = Path(str(server.query["host"])) / "pg_hba.conf"
    before = hba.read_text()
    database = Database(server.render_as_string(hide_password=False))
    database.execute("DROP ROLE IF EXISTS ann", "CREATE ROLE ann LOGIN PASSWORD 'right'")
    try:
        hba.write_text(f"local all ann scram-sha-256\n{before}")
        database.execute("SELECT pg_reload_conf()")
        url = server.set(username="ann", password=SECRET)
        store.configure(url=url.render_as_string(hide_password=False))
        text = failure(store.init_db(), 9)
        assert 'password authentication failed for user "ann"' in text
    finally:
        hba.write_text(before)
        database.execute("SELECT pg_reload_conf()")
        database.execute("DROP ROLE ann")


def test_missing_permissions_fail_the_revision_and_are_told(store: Store, server: sa.URL) -> None:
    """A role that may connect and not create: nothing is changed, and the cause is named."""
    database = Database(server.render_as_string(hide_password=False))
    database.execute(
        "DROP ROLE IF EXISTS guest",
        "CREATE ROLE guest LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    try:
        url = server.set(username="guest")
        store.configure(url=url.render_as_string(hide_password=False))
        assert "permission denied for schema public" in failure(store.init_db(), 5)
        assert database.schema() == {}
    finally:
        database.execute("DROP ROLE guest")


# -- files that are no database


def test_a_directory_in_the_place_of_the_database_is_unreachable(store: Store) -> None:
    assert store.database.path is not None
    store.database.path.mkdir()
    for result in (store.init_db(), store.db("status")):
        assert "it is a directory" in failure(result, 9)
    assert list(store.database.path.iterdir()) == []


def test_a_database_in_a_missing_directory_is_unreachable(store: Store, tmp_path: Path) -> None:
    store.configure(url=f"sqlite:///{tmp_path}/missing/database.sqlite")
    assert "No such file or directory" in failure(store.init_db(), 9)
    assert not (tmp_path / "missing").exists()


def test_a_file_that_is_no_sqlite_database_is_left_alone(store: Store) -> None:
    assert store.database.path is not None
    content = b"Dear diary,\n" * 1000
    store.database.path.write_bytes(content)
    for result in (store.init_db(), store.db("status")):
        assert "file is not a database" in failure(result, 9)
    assert store.database.path.read_bytes() == content


def test_a_corrupt_database_is_told_as_such(store: Store) -> None:
    """The first page is whole and the rest is not, as after a bad copy."""
    path = store.database.path
    assert path is not None
    store.upgrade()
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    content = path.read_bytes()
    size = 4096
    path.write_bytes(content[:size] + b"\xa5" * (len(content) - size))
    damaged = path.read_bytes()
    for result in (store.init_db(), store.db("status")):
        assert "malformed" in failure(result, 9)
    assert path.read_bytes() == damaged


def test_an_empty_file_is_an_empty_database(store: Store) -> None:
    """SQLite takes it for one, and so do we."""
    assert store.database.path is not None
    store.database.path.touch()
    store.init_db().expect(0)
    assert store.applied == {"core@c1"}


# -- without the right to write


def powerless() -> None:
    """Take from a process of root the right to read and write everything."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: gone with the next exec


def bounded(store: Store, *arguments: str | Path) -> Result:
    """Run the application as a user whom the modes of files and directories bind."""
    done = subprocess.run(
        [sys.executable, "-m", "store", *map(str, arguments)],
        cwd=store.site.path,
        env=store.site.environment(),
        preexec_fn=powerless if os.geteuid() == 0 else None,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    """A store whose database lies in the deployment, which can be deleted after the test."""
    store = Store(tmp_path, sqlite(tmp_path / "deployment" / "database.sqlite"))
    store.core(revision_file("c1", upgrade=table("one")))
    yield store
    store.deployment.chmod(0o755)


def test_a_read_only_deployment_can_be_looked_at_and_not_migrated(kept: Store) -> None:
    """Exit code 9 naming the path; with nothing pending, even init-db is content."""
    kept.deployment.chmod(0o555)
    text = failure(bounded(kept, "init-db", kept.deployment), 9)
    assert f"{kept.database.path} cannot be written: Permission denied" in text
    assert kept.database.schema() == {}

    kept.deployment.chmod(0o755)
    kept.upgrade()
    assert kept.database.path is not None
    kept.database.path.chmod(0o444)
    kept.deployment.chmod(0o555)
    before = kept.database.dump()
    assert "up to date" in said(bounded(kept, "db", "status", kept.deployment).expect(0))
    assert "up to date" in said(bounded(kept, "init-db", kept.deployment).expect(0))

    (kept.versions / "c2.py").write_text(revision_file("c2", down="c1", upgrade=table("two")))
    assert "cannot be written" in failure(bounded(kept, "init-db", kept.deployment), 9)
    assert kept.database.dump() == before


def test_a_read_only_database_in_a_writable_directory_is_not_migrated(kept: Store) -> None:
    kept.database.execute("CREATE TABLE other (id INTEGER)")
    assert kept.database.path is not None
    kept.database.path.chmod(0o444)
    text = failure(bounded(kept, "init-db", kept.deployment), 9)
    assert f"{kept.database.path} cannot be written: Permission denied" in text
    assert set(kept.database.schema()) == {"other"}


def test_a_configuration_that_may_not_be_read_is_refused(kept: Store) -> None:
    (kept.deployment / "config.toml").chmod(0o000)
    text = failure(bounded(kept, "init-db", kept.deployment), 2)
    assert "config.toml cannot be read: Permission denied" in text


def test_a_new_deployment_in_a_read_only_directory_is_refused(kept: Store) -> None:
    kept.deployment.chmod(0o555)
    text = failure(bounded(kept, "init-db", kept.deployment / "new"), 2)
    assert "cannot be made a deployment: Permission denied" in text


# -- damaged trees


DAMAGED = {
    "cut off": "revision = 'c2'\ndown_revision = 'c1'\ndef upgrade(",
    "binary": "revision = 'c2'\ndown_revision = 'c1'\n\x00",
    "no parent": revision_file("c2", down="c0"),
    "the same id": revision_file("c1"),
    "an id that does not fit": revision_file("c" * 33, down="c1"),
    "an unknown dependency": revision_file("c2", down="c1", depends="biling"),
    "a circle": revision_file("c2", down="c1", depends="c2"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_script_stops_everything_before_it_starts(store: Store, name: str) -> None:
    """Exit code 4 naming the file; the status still answers."""
    damaged = store.versions / "damaged.py"
    damaged.write_text(DAMAGED[name])
    assert str(damaged) in failure(store.init_db(), 4)
    assert store.database.schema() == {}
    assert "core" in said(store.db("status").expect(0))


def test_a_target_of_a_disabled_plugin_is_refused(store: Store) -> None:
    """An empty plan would say that it is reached."""
    store.core(revision_file("c1"))
    store.plugin("extra", revision_file("e1"))
    store.configure('[plugins]\ndisabled = ["extra"]')
    with pytest.raises(UsageError, match="The configuration leaves extra out, so Extra@e1 cannot"):
        store.upgrade("Extra@e1")
    assert not store.database.schema()


def test_a_target_of_the_wrong_kind_is_refused(store: Store) -> None:
    """An asynchronous engine above all."""
    store.core(revision_file("c1"))

    class AsyncEngine:
        pass

    with store.manager() as manager, pytest.raises(UsageError, match="not AsyncEngine") as raised:
        manager.plan(AsyncEngine())  # type: ignore[arg-type]
    assert "synchronous driver" in raised.value.remedy


def test_an_adoption_is_told_where_a_run_is_refused_after_it(store: Store) -> None:
    """What stock Alembic had applied is recorded by then."""
    store.core(revision_file("c1"), revision_file("c2", down="c1"))
    store.plugin(
        "extra",
        hooks="from anabranch_plugins_api import hookimpl\n"
        "@hookimpl\ndef anabranch_requirements():\n    return ['A bigger server.']\n",
    )
    store.database.execute(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('c1')",
    )
    with pytest.raises(RequirementError, match="A bigger server") as raised:
        store.upgrade()
    assert raised.value.state == "What another tool had done is recorded; nothing else changed."
    assert store.applied == {"core@c1"}
    with pytest.raises(RequirementError, match="A bigger server") as raised:
        store.upgrade()
    assert raised.value.state == "The database was not changed."
