"""A revision that meets a lock of another session on PostgreSQL gives way and is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch import RevisionError
from anabranch.errors import BlockedError
from anabranch.listening import Listener, Progress
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

ALTER = "op.add_column('one', sa.Column('more', sa.Integer))"


@pytest.fixture
def store(tmp_path: Path, postgresql_database: Database) -> Store:
    store = Store(tmp_path, postgresql_database)
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{ALTER}"),
        revision_file("c3", down="c2", upgrade=table("three")),
    )
    store.upgrade("core@c1")
    store.configure("[migrations]\nstatement_lock_timeout = 0.6\n")
    return store


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.executor.PAUSES", (0.05, 0.05, 0.05))


@contextmanager
def reader(database: Database) -> Iterator[tuple[int, sa.Connection]]:
    """A session that has read from ``one`` and does not end; yields its process."""
    with database.engine() as engine, engine.connect() as connection:
        connection.execute(sa.text("SET application_name = 'long report'"))
        connection.execute(sa.text("SELECT * FROM one"))
        yield connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0, connection


def test_a_reader_that_ends_lets_the_revision_through(store: Store) -> None:
    """It is recorded once, with what it created; the reader is named meanwhile."""
    told: list[Progress] = []
    with reader(store.database) as (pid, connection):

        def report(progress: Progress) -> None:
            told.append(progress)
            if progress.event == "noted":
                connection.rollback()

        assert store.upgrade(listener=Listener(progress=report)) == ["core@c2", "core@c3"]
    notes = [progress.note for progress in told if progress.event == "noted"]
    assert len(notes) == 1
    assert f"core@c2 waited for a lock that server process {pid} (user postgres" in notes[0]
    assert "long report, idle in transaction, its query" in notes[0]
    assert "tried again in 0.05 s" in notes[0]
    assert [p.event for p in told if p.step.key.id == "c2"] == [
        *("started", "noted", "started", "applied")
    ]
    assert store.journal.count("applied core@c2") == 1
    assert store.objects >= {
        "table two core@c2",
        "table three core@c3",
        "table one core@c1",
    }
    assert store.version_rows == ["c3"]
    assert set(store.schema) == {"one", "two", "three"}


def test_a_reader_that_does_not_end_stops_the_run_and_is_named(store: Store) -> None:
    """Exit code 7, as for a lock; what ran before stays, and the next run goes on."""
    with reader(store.database) as (pid, _):
        with pytest.raises(BlockedError) as raised:
            store.upgrade()
        assert f"core@c2 waited for a lock that server process {pid} (user" in raised.value.what
    assert (raised.value.code, raised.value.exit_code) == ("AB423", 7)
    assert "core@c2 was rolled back." in raised.value.state
    assert set(store.schema) == {"one"}
    assert store.journal[-1] == "failed core@c2"
    assert store.upgrade() == ["core@c2", "core@c3"]


def test_a_whole_run_in_one_transaction_is_tried_again_as_a_whole(store: Store) -> None:
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
        revision_file("c3", down="c2", upgrade=ALTER),
    )
    told: list[str] = []
    with reader(store.database) as (_, connection):

        def report(progress: Progress) -> None:
            told.append(f"{progress.event} {progress.step.key.id}")
            if progress.event == "noted":
                connection.rollback()

        assert store.upgrade(transaction="run", listener=Listener(progress=report)) == [
            "core@c2",
            "core@c3",
        ]
    assert told == [
        *("started c2", "ran c2", "started c3", "noted c3"),
        *("started c2", "ran c2", "started c3", "ran c3", "applied c2", "applied c3"),
    ]
    assert store.objects == {"table one core@c1", "table two core@c2", "column one.more core@c3"}


def test_a_deadlock_is_tried_again(store: Store) -> None:
    """The server ends one of the two, and it may be us."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2",
            down="c1",
            upgrade="import time\nop.execute('LOCK TABLE one')\n"
            "open('locked', 'w').close()\n"
            "op.execute('SET LOCAL lock_timeout = 0')\n"
            "op.execute('SET LOCAL deadlock_timeout = 200')\n"
            "time.sleep(0.5)\nop.execute('LOCK TABLE other')",
        ),
    )
    locked = store.deployment / "locked"
    path = store.versions / "c2_a_change.py"
    path.write_text(path.read_text().replace("'locked'", repr(str(locked))))
    store.database.execute("CREATE TABLE other (id INTEGER)")

    def other() -> None:
        with store.database.engine() as engine, engine.connect() as connection:
            connection.execute(sa.text("SET deadlock_timeout = '20s'"))
            connection.execute(sa.text("LOCK TABLE other"))
            while not locked.exists():
                time.sleep(0.02)
            connection.execute(sa.text("LOCK TABLE one"))
            connection.rollback()

    told: list[str] = []
    thread = threading.Thread(target=other)
    thread.start()
    assert store.upgrade(
        listener=Listener(progress=lambda progress: told.append(progress.event))
    ) == ["core@c2"]
    thread.join()
    assert told.count("noted") == 1


def test_what_committed_a_part_by_hand_is_not_tried_again(store: Store) -> None:
    """Its first half would be done twice; exit code 6."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\nop.get_bind().commit()\n{ALTER}"),
    )
    told: list[str] = []
    with reader(store.database), pytest.raises(RevisionError, match="lock timeout") as raised:
        store.upgrade(listener=Listener(progress=lambda progress: told.append(progress.event)))
    assert raised.value.exit_code == 6
    assert told == ["started", "failed"]
