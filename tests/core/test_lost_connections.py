"""What is said, and what stands, where the connection to a server is lost during a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from anabranch import AnabranchError, RevisionError
from anabranch.listening import Listener, Progress
from anabranch_plugins_api import hookimpl
from support.databases import Database
from support.lossy import lossy_way
from support.store import Store, table
from support.trees import revision_file

KILL = {
    "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
    "mariadb": "KILL CONNECTION_ID()",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def server_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    database: Database = request.getfixturevalue(f"{request.param}_database")
    store = Store(tmp_path, database)
    yield store
    store.site.close()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_lost_connection_is_not_the_revisions_fault(server_store: Store, wrapped: bool) -> None:
    """The state and the next move are told; nothing asks to mend a script or to leave one out."""
    store = server_store
    kill = f"op.execute({KILL[store.database.backend]!r})"
    if wrapped:
        kill = f"try:\n    {kill}\nexcept Exception as error:\n    raise OSError('no') from error"
    store.core(revision_file("c1", upgrade=table("one")))
    store.plugin("billing", revision_file("b1", upgrade=f"{table('two')}\n{kill}"))
    with pytest.raises(RevisionError) as raised:
        store.upgrade()
    failure = raised.value
    assert failure.what.startswith("billing@b1 lost the connection to the server (")
    assert failure.code == "AB305"
    assert failure.remedy == (
        "See that the server can be reached, and run the same command again; it goes on."
    )
    assert failure.state.endswith("1 revision before it stays applied, the last is core@c1.")
    assert failure.exit_code == (6 if store.database.backend == "mariadb" else 5)
    path = store.versions_of("store_billing") / "b1_a_change.py"
    path.write_text(path.read_text().replace(kill.replace("\n", "\n    "), "pass"))
    assert store.upgrade() == ["billing@b1"]


def test_a_commit_that_nobody_can_be_asked_of_is_told_as_unknown(postgresql_store: Store) -> None:
    """Neither applied nor rolled back is claimed; the next run sees which it is."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
    )
    with lossy_way(store.database) as (way, url):
        store.configure(url=url)
        way.final = True

        def report(progress: Progress) -> None:
            way.armed = (progress.event, progress.step.key.id) == ("started", "c2")

        with pytest.raises(RevisionError, match="core@c2 lost the connection") as raised:
            store.upgrade(listener=Listener(progress=report))
    assert raised.value.state == (
        "The connection was lost while core@c2 was committed, which is done as a whole or not at "
        "all; the next run sees which. 1 revision before it stays applied, the last is core@c1."
    )
    assert raised.value.exit_code == 6
    store.configure()
    assert store.upgrade() == []
    assert store.applied == {"core@c1", "core@c2"}


def test_what_is_applied_is_said_where_the_connection_is_lost_after_it(
    postgresql_store: Store,
) -> None:
    store = postgresql_store
    store.core(revision_file("c1", upgrade=table("one")))
    other = store.database

    def report(progress: Progress) -> None:
        if progress.event == "applied":
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'anabranch%'"
            )

    class Announced:
        """A plugin that is told of runs, so that something follows the revisions."""

        @hookimpl
        def anabranch_after_run(self, connection: sa.Connection) -> None:
            connection.exec_driver_sql("SELECT 1")

    with (
        store.manager(plugins=[Announced()]) as manager,
        pytest.raises(AnabranchError, match="cannot be opened") as raised,
    ):
        manager.upgrade(store.deployment, listener=Listener(progress=report))
    assert raised.value.state == "1 revision of this run is applied and stays so."
    assert raised.value.exit_code == 6
    assert store.upgrade() == []
