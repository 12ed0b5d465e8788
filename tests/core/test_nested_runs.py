"""A script or a hook that migrates another database, in the middle of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import op

from anabranch import RevisionError
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

INNER = """
from anabranch import MigrationManager
inner = MigrationManager("archive", metadata=sa.MetaData(), migrations={location!r})
inner.upgrade({url!r})
"""


@pytest.fixture
def archive(tmp_path: Path) -> Database:
    """A second database, with a tree of one revision in the folder ``archive``."""
    versions = tmp_path / "archive" / "versions"
    versions.mkdir(parents=True)
    (versions / "a1.py").write_text(revision_file("a1", upgrade=table("old_order")))
    return sqlite(tmp_path / "archive.sqlite")


def inner(archive: Database) -> str:
    assert archive.path is not None
    return INNER.format(location=str(archive.path.parent / "archive"), url=archive.url)


def current_context() -> object:
    """What ``op`` works on; None outside of a run."""
    try:
        return op.get_context()
    except (NameError, AttributeError):
        return None


def test_a_script_may_migrate_a_second_database_and_go_on(store: Store, archive: Database) -> None:
    """``op`` and ``context`` are the outer run's again afterwards."""
    store.core(
        revision_file(
            "c1",
            upgrade=f"{table('one')}\n{inner(archive)}\n{table('two')}\n"
            "from alembic import context\n"
            "assert context.get_context() is op.get_context()\n"
            "assert context.config.attributes['connection'] is op.get_bind()",
        ),
        revision_file("c2", down="c1", upgrade=table("three")),
    )
    assert store.upgrade() == ["core@c1", "core@c2"]
    assert set(store.schema) == {"one", "two", "three"}
    assert "old_order" in archive.schema()
    assert "two" not in archive.schema()
    assert current_context() is None


def test_a_failed_run_gives_op_back(store: Store) -> None:
    """Nothing of it stays behind for who uses Alembic next in this process."""
    took = (
        "from alembic.operations import Operations\nwith Operations.context(op.get_context()): pass"
    )
    for before in ("", took):
        store.core(revision_file("c1", upgrade=f"{table('one')}\n{before}\n1 / 0"))
        with pytest.raises(RevisionError, match="ZeroDivisionError"):
            store.upgrade()
        assert current_context() is None


def test_a_hook_may_migrate_a_second_database(store: Store, archive: Database) -> None:
    hook = "\n    ".join(inner(archive).strip().splitlines())
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    store.plugin(
        "mirror",
        hooks="import sqlalchemy as sa\n"
        "from anabranch_plugins_api import hookimpl\n"
        f"@hookimpl\ndef anabranch_before_revision(connection, revision):\n    {hook}\n",
    )
    assert store.upgrade() == ["core@c1", "core@c2"]
    assert set(store.schema) == {"one", "two"}
    assert "old_order" in archive.schema()


def test_an_inner_run_that_fails_is_a_failure_of_the_script(
    store: Store, archive: Database
) -> None:
    assert archive.path is not None
    script = archive.path.parent / "archive" / "versions" / "a1.py"
    script.write_text(script.read_text().replace(table("old_order"), "1 / 0"))
    store.core(revision_file("c1", upgrade=f"{table('one')}\n{inner(archive)}"))
    with pytest.raises(RevisionError, match=r"core@c1 failed .*core@a1 failed .*ZeroDivisionError"):
        store.upgrade()
    assert store.schema == {}
    assert archive.schema() == {}
