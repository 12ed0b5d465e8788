"""A run with nothing to do is quick, quiet and without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.database import Database as Target
from anabranch.locking import run_lock
from anabranch.urls import parse_url
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file


@pytest.fixture
def store(tmp_path: Path, database: Database) -> Iterator[Store]:
    """A core and a plugin with hooks and models, both up to date."""
    store = Store(tmp_path, database)
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin(
        "billing",
        revision_file("b1", upgrade=table("two")),
        hooks="from anabranch_plugins_api import hookimpl\n",
    )
    store.upgrade()
    yield store
    store.site.close()


NAME_MODULES = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
runpy.run_module("store", run_name="__main__")
"""


def imported(store: Store, *arguments: str | Path) -> set[str]:
    """The modules that a process of the application has imported by its end."""
    return set(store.site.python("-c", NAME_MODULES, *arguments).expect(0).err.split())


@pytest.mark.parametrize("command", [["init-db"], ["db", "status"], ["db", "plan"]])
def test_nothing_is_imported_that_only_a_run_needs(store: Store, command: list[str]) -> None:
    """Neither Alembic nor its templates, no plugin, no model, no revision."""
    modules = imported(store, *command, store.deployment)
    assert "sqlalchemy" in modules, "the measurement sees what is imported"
    tops = {name.partition(".")[0] for name in modules}
    assert not tops & {"alembic", "mako", "store_billing"}
    assert not {"store.models", "anabranch.executor", "anabranch.authoring"} & modules


def test_a_run_imports_what_it_needs(store: Store) -> None:
    """The same measurement does see Alembic and the plugin when something is pending."""
    store.core(
        revision_file("c1", upgrade=table("one")), revision_file("c2", down="c1"), version="2.0"
    )
    store.plugin(
        "billing", revision_file("b1", upgrade=table("two")), revision_file("b2", down="b1")
    )
    modules = imported(store, "init-db", store.deployment)
    assert {"alembic.op", "store.models", "store_billing.db_models"} <= modules


def test_a_run_with_nothing_to_do_changes_nothing(store: Store) -> None:
    """No line in the journal, no lock file written, exit code 0, twice."""
    before = store.database.dump()
    files = {path: path.stat().st_mtime_ns for path in store.deployment.iterdir()}
    for _ in range(2):
        done = store.init_db().expect(0)
        assert "Nothing is pending: the database is up to date." in done.out
        assert done.err == ""
    assert store.database.dump() == before
    assert {path: path.stat().st_mtime_ns for path in store.deployment.iterdir()} == files


def test_a_run_with_nothing_to_do_does_not_wait_for_the_lock(store: Store, tmp_path: Path) -> None:
    """It takes no lock: what holds it, a backup perhaps, is no obstacle."""
    target = Target.of(parse_url(store.database.url, tmp_path))
    with (
        target.migrate() as connection,
        store.manager() as manager,
        run_lock(
            target,
            connection,
            name="anabranch\0\0alembic_version",
            timeout=0,
            waiting=lambda _: None,
        ),
    ):
        assert manager.upgrade(store.deployment, lock_timeout=0).applied == ()
