"""PostgreSQL behind a pooler: the run lock belongs to a session, which not every pooler keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.databases import Database
from support.pgbouncer import PROGRAM, pooler
from support.store import Store, table
from support.trees import revision_file

pytestmark = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"),
    reason="no pooler to test on: apt-get install pgbouncer",
)


@pytest.fixture
def store(tmp_path: Path, postgresql_database: Database) -> Store:
    store = Store(tmp_path, postgresql_database)
    store.core(
        revision_file("c1", upgrade=table("one", "name")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    return store


def test_a_pooler_in_transaction_mode_is_refused_before_anything_runs(store: Store) -> None:
    """A lock of the session would be another client's a moment later."""
    with pooler(store.database, "transaction") as through:
        store.configure(url=through.url)
        refused = store.init_db().expect(8)
    assert (
        "Error AB421: The database is reached through a pooler in transaction mode" in refused.err
    )
    assert "Next:  Connect to the server itself" in refused.err
    assert store.database.schema() == {}


def test_a_pooler_in_session_mode_is_as_good_as_none(store: Store) -> None:
    with pooler(store.database, "session") as through:
        store.configure(url=through.url)
        store.init_db().expect(0)
    assert store.applied == {"core@c1", "core@c2"}
