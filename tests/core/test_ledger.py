"""Records wait for one another only where no commit can pass unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import AnabranchError
from anabranch.scripts import read_location
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

RAW = "op.get_bind().connection.dbapi_connection"
COMMITS = {
    "by the driver": f"{RAW}.commit()",
    "by a script of the driver": f"{RAW}.executescript('SELECT 1;')",
    "in the driver's words": f"{RAW}.execute('COMMIT')",
    "in words of its own": "op.execute('COMMIT')",
    "behind a comment": "op.execute('/* now */ COMMIT')",
    "under another name": "getattr(op, 'get_' + 'bind')().connection.driver_connection.commit()",
}


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Database) -> Store:
    return Store(tmp_path, sqlite_database)


@pytest.mark.parametrize("commit", COMMITS.values(), ids=COMMITS.keys())
def test_what_a_script_commits_by_itself_is_recorded_with_it(store: Store, commit: str) -> None:
    """The revisions before it share its transaction, and stay with it when it then fails."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
        revision_file("c3", down="c2", upgrade=f"{commit}\nraise RuntimeError"),
    )
    with pytest.raises(AnabranchError):
        store.upgrade()
    assert set(store.schema) == {"one", "two"}
    assert store.applied == {"core@c1", "core@c2"}
    assert store.version_rows == ["c2"]
    assert {"table one core@c1", "table two core@c2"} <= store.objects
    assert [line for line in store.journal if line.startswith("applied")] == [
        "applied core@c1",
        "applied core@c2",
    ]


def test_what_a_hook_commits_by_itself_is_recorded_with_it(store: Store) -> None:
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    store.plugin(
        "billing",
        hooks="""
        from anabranch_plugins_api import hookimpl

        @hookimpl
        def anabranch_before_revision(connection, revision):
            if revision == "core@c2":
                connection.connection.dbapi_connection.commit()
                raise RuntimeError
        """,
    )
    with pytest.raises(AnabranchError):
        store.upgrade()
    assert store.applied == {"core@c1"}
    assert set(store.schema) == {"one"}


def plain(folder: Path, source: str) -> bool:
    (folder / "x.py").write_text(source)
    ((revision,), _) = read_location("core", folder)
    return revision.plain


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        table("one"),
        "op.execute('UPDATE one SET id = 2')",
        "with op.batch_alter_table('one') as batch:\n    batch.drop_column('id')",
        "op.add_column('one', sa.Column('data', sa.JSON))",
    ],
)
def test_an_ordinary_script_cannot_commit_unseen(tmp_path: Path, body: str) -> None:
    assert plain(tmp_path, revision_file("a", upgrade=body))
    assert plain(tmp_path, revision_file("a", upgrade=body, annotated=True))


@pytest.mark.parametrize(
    "line",
    [
        *COMMITS.values(),
        "import os",
        "from shop.helpers import tidy",
        "import sqlite3",
        "sa.create_engine('sqlite://')",
        "op.get_context().connection.commit()",
        "with op.batch_alter_table('one') as batch:\n    batch.impl.execute('X')",
        "exec('x')",
        "op.__dict__['get_bind']()",
        "from sqlalchemy.orm import Session",
        "pass; import os",
        "import sqlalchemy as sa; import os",
        "depends_on = end",
        "from alembic import op, context",
    ],
)
def test_a_script_that_could_is_not_plain(tmp_path: Path, line: str) -> None:
    assert not plain(tmp_path, revision_file("a", upgrade=line))


def test_what_a_docstring_says_does_nothing(tmp_path: Path) -> None:
    message = "connect, commit and import os"
    assert plain(tmp_path, revision_file("a", message=message))
    assert not plain(tmp_path, revision_file("a", message=message, upgrade="op.execute(__doc__)"))
    assert not plain(tmp_path, '"""a""";' + revision_file("a", message=message))
