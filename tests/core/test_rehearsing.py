"""A rehearsal runs all of a plan and leaves the database as it is."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.errors import AnabranchError
from anabranch.listening import Listener
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

CREATE = revision_file("c1", upgrade=table("customer"))
ALTER = revision_file(
    "c2", down="c1", upgrade="op.add_column('customer', sa.Column('name', sa.Text))"
)
UNIQUE = revision_file(
    "c3", down="c2", upgrade="op.create_index('once', 'customer', ['age'], unique=True)"
)
COMMITS = revision_file(
    "c2",
    down="c1",
    upgrade="with op.get_context().autocommit_block():\n    op.execute('ANALYZE customer')",
)
SEED = """
import sqlalchemy as sa
from anabranch_plugins_api import Seed, hookimpl



def fill(connection):
    connection.execute(sa.text("INSERT INTO customer (id, age) VALUES (9, 9)"))


@hookimpl
def anabranch_seeds():
    return [Seed("nine", fill)]
"""


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """Two customers of one age."""
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=table("customer", "age")))
    store.upgrade()
    database.execute("INSERT INTO customer (id, age) VALUES (1, 30)")
    database.execute("INSERT INTO customer (id, age) VALUES (2, 30)")
    yield store
    store.site.close()


def content(store: Store) -> bytes | str:
    path = store.database.path
    return path.read_bytes() if path else store.database.dump()


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.deployment.rglob("*"))


def rehearse(store: Store) -> str:
    """Rehearse in this process; returns what is told."""
    told: list[str] = []
    with store.manager() as manager:
        manager.rehearse(store.deployment, listener=Listener(notice=told.append))
    return "\n".join(told)


def failure(store: Store, code: int) -> str:
    """Rehearse what fails with *code*; returns the error's text."""
    with pytest.raises(AnabranchError) as caught:
        rehearse(store)
    assert caught.value.exit_code == code
    return f"{caught.value.what}\n{caught.value.state}"


def test_a_plan_that_would_fail_on_these_rows_is_found_out(store: Store) -> None:
    """Nothing of it stays: not a byte, not a file, not a line of the journal."""
    store.core(CREATE, ALTER, UNIQUE)
    before, there = content(store), files(store)
    for result in (store.db("rehearse").expect(5), store.init_db("--rehearse").expect(5)):
        assert "core@c3 failed" in result.err
        assert "State: This was a rehearsal. The database was not changed." in result.err
        assert content(store) == before
        assert files(store) == there


def test_a_rehearsal_that_goes_well_is_followed_by_the_run(store: Store) -> None:
    """Or by nothing, where only a rehearsal was asked for."""
    store.core(CREATE, ALTER)
    before, there = content(store), files(store)
    out = store.db("rehearse").expect().out
    assert "The rehearsal went well: 1 revision in " in out
    assert content(store) == before
    assert files(store) == there
    out = store.init_db("--rehearse").expect().out
    assert out.index("The rehearsal went well") < out.index("Done: 1 revision applied")
    assert len(store.database.rows("customer")) == 2
    assert {"name"} <= {column["name"] for column in store.schema["customer"]["columns"]}
    assert store.journal.count("applied core@c2") == 1
    assert "nothing to rehearse" in store.db("rehearse").expect().out


def test_a_deferred_constraint_that_would_refuse_the_commit_is_found_out(store: Store) -> None:
    if store.database.backend == "sqlite":
        pytest.skip("SQLite's own commit runs on the copy")
    deferred = (
        "op.execute('ALTER TABLE customer ADD boss INTEGER REFERENCES customer "
        "DEFERRABLE INITIALLY DEFERRED')\nop.execute('UPDATE customer SET boss = 77')"
    )
    store.core(CREATE, revision_file("c2", down="c1", upgrade=deferred))
    before = content(store)
    assert "violates foreign key constraint" in failure(store, 5)
    assert content(store) == before


def test_what_commits_by_itself_is_rehearsed_on_a_copy_only(store: Store) -> None:
    """PostgreSQL cannot roll it back: its revisions are named, and nothing runs."""
    store.core(CREATE, COMMITS)
    before = content(store)
    if store.database.backend == "sqlite":
        rehearse(store)
    else:
        assert "cannot be rehearsed: core@c2 cannot be rolled back" in failure(store, 8)
    assert content(store) == before


@pytest.mark.parametrize("commit", ["op.execute('COMMIT')", "op.get_bind().commit()"])
def test_a_script_that_commits_by_hand_is_stopped_before_it_does(store: Store, commit: str) -> None:
    store.core(
        CREATE, revision_file("c2", down="c1", upgrade=f"{table('product')}\n{commit}\n# done")
    )
    before = content(store)
    if store.database.backend == "sqlite":
        rehearse(store)
    else:
        assert "it commits by itself, and so cannot be rehearsed" in failure(store, 5)
    assert content(store) == before


def test_seeds_and_hooks_run_on_the_copy(store: Store) -> None:
    if store.database.backend != "sqlite":
        pytest.skip("seeds have transactions of their own")
    store.core(revision_file("c1", upgrade=table("customer", "age")))
    store.plugin("extra", revision_file("e1", upgrade=table("extra")), hooks=SEED)
    store.database.execute("INSERT INTO customer (id, age) VALUES (9, 1)")
    before = content(store)
    err = failure(store, 5)
    assert "The seed 'nine' of extra failed" in err
    assert "This was a rehearsal." in err
    assert content(store) == before


def test_a_database_that_is_not_there_yet_is_rehearsed_without_being_made(
    tmp_path: Path, sqlite_database: Database
) -> None:
    store = Store(tmp_path, sqlite_database)
    store.core(CREATE, ALTER)
    there = files(store)
    assert "The rehearsal went well: 2 revisions" in rehearse(store)
    assert files(store) == there
    assert list(tmp_path.glob("database*")) == []


def test_a_first_run_can_be_rehearsed(tmp_path: Path, sqlite_database: Database) -> None:
    """The lock has made an empty file by then, of which a copy has another size."""
    store = Store(tmp_path, sqlite_database)
    store.core(CREATE)
    store.init_db("--rehearse").expect()
    assert store.applied == {"core@c1"}


def test_what_a_killed_rehearsal_leaves_is_private_and_cleared_by_the_next(
    tmp_path: Path, sqlite_database: Database
) -> None:
    store = Store(tmp_path, sqlite_database)
    store.core(CREATE)
    store.upgrade()
    reached = tmp_path / "reached"
    store.core(
        CREATE,
        revision_file(
            "c2",
            down="c1",
            upgrade=f"import time\nopen({str(reached)!r}, 'w').close()\ntime.sleep(60)",
        ),
    )
    before = content(store)
    process = store.site.start("db", "rehearse", store.deployment)
    while not reached.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = store.deployment.glob(".*")
    assert left.name.startswith(".database.sqlite.rehearsal-")
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert content(store) == before
    store.core(CREATE, ALTER)
    rehearse(store)
    assert not left.exists()
