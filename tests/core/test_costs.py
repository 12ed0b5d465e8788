"""What a command costs, counted and not timed: files, modules, statements and steps."""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.revision import AppliedRevision, Revision
from support.databases import Database
from support.graphs import ran, revision
from support.store import Store, table
from support.trees import revision_file

# -- nothing to do


def chain(length: int, *, tables: bool = True, prefix: str = "c") -> list[str]:
    """A line of revisions, each of which creates a table."""
    return [
        revision_file(
            f"{prefix}{number:03}",
            down=f"{prefix}{number - 1:03}" if number else None,
            upgrade=table(f"t_{prefix}{number:03}") if tables else "pass",
            downgrade=f"op.drop_table('t_{prefix}{number:03}')" if tables else "pass",
        )
        for number in range(length)
    ]


OPENED = """
import atexit, runpy, sys
opened = []
def note(name, arguments):
    if name == "open":
        opened.append(str(arguments[0]))
sys.addaudithook(note)
atexit.register(lambda: print(*opened, sep="\\n", file=sys.stderr))
runpy.run_module("store", run_name="__main__")
"""


@pytest.mark.parametrize("command", [["init-db"], ["db", "status"], ["db", "plan"]])
def test_the_files_that_are_opened_do_not_grow_with_the_revisions(
    tmp_path: Path, sqlite_database: Database, command: list[str]
) -> None:
    """Once a first run has filled the cache, no revision file is opened."""
    store = Store(tmp_path, sqlite_database)
    counts: list[int] = []
    for length in (3, 30):
        store.core(*chain(length))
        store.upgrade()
        time.sleep(2.1)  # until an edit could not pass unnoticed
        store.site.run(*command, store.deployment).expect(0)
        done = store.site.python("-c", OPENED, *command, store.deployment).expect(0)
        opened = done.err.splitlines()
        assert any(name.endswith("config.toml") for name in opened), "the measurement sees files"
        assert not [name for name in opened if "/migrations/versions/" in name]
        counts.append(len(opened))
    assert counts[0] == counts[1]


class Statements:
    """What is sent through SQLAlchemy while it is listened to, by its first words."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(sa.Engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        event.remove(sa.Engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.sent.append(" ".join(statement.split()[:3]))


def test_a_look_at_a_database_sends_the_same_few_statements_whatever_is_in_it(
    store: Store,
) -> None:
    counts: list[int] = []
    for length in (2, 20):
        store.core(*chain(length))
        store.upgrade()
        with Statements() as statements:
            assert store.upgrade() == []
        counts.append(len(statements.sent))
    assert counts[0] == counts[1] <= 12, statements.sent


# The revisions' own, and a look now and then, from another connection, at who holds the run up.
OTHERS = ("CREATE TABLE", "SELECT a.pid, a.usename")


def test_a_revision_sends_its_own_statements_and_a_few_records(store: Store) -> None:
    """On SQLite the records of all are written together; on PostgreSQL with each commit.

    There one statement asks for the lock and for the transaction, and one writes all records.
    """
    counts: list[Counter[str]] = []
    for length in (10, 20, 40):
        store.core(*chain(length))
        with Statements() as statements:
            store.upgrade()
        counts.append(Counter(statements.sent))
    more = counts[2] - counts[1]
    records = Counter({text: count for text, count in more.items() if not text.startswith(OTHERS)})
    revisions = 10
    if store.database.backend == "sqlite":
        assert records.total() == 0, records
    else:
        assert records.total() == 2 * revisions, records


class Rows:
    """The rows that are read through SQLAlchemy while it is listened to."""

    def __init__(self) -> None:
        self.read = 0

    def __enter__(self) -> Rows:
        event.listen(sa.Engine, "after_cursor_execute", self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        event.remove(sa.Engine, "after_cursor_execute", self._note)

    def _note(self, _connection: Any, cursor: Any, *_rest: Any) -> None:
        self.read += max(cursor.rowcount, 0) if cursor.description else 0


@pytest.mark.parametrize(
    ("backend", "transaction"), [("postgresql", "auto"), ("postgresql", "run"), ("mariadb", "auto")]
)
def test_a_run_reads_no_more_for_each_revision_where_there_are_more(
    request: pytest.FixtureRequest, backend: str, transaction: str
) -> None:
    """Twice the revisions read twice the rows, not those of all tables for each of them."""
    store: Store = request.getfixturevalue(f"{backend}_store")
    read: list[int] = []
    for length in (20, 40, 80):
        store.core(*chain(length))
        with Rows() as rows:
            store.upgrade(transaction=transaction)
        read.append(rows.read)
    # Each run reads once what is there, and adds as many revisions as there were.
    assert read[2] <= 2.5 * read[1], read


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_downgrade_reads_no_more_for_each_revision_where_there_are_more(
    request: pytest.FixtureRequest, backend: str
) -> None:
    """What is another owner's is read once, and not again for each revision that names its own."""
    store: Store = request.getfixturevalue(f"{backend}_store")
    read: list[int] = []
    for length in (20, 40):
        store.core(*chain(length))
        store.plugin("billing", *chain(length, prefix="b"))
        store.upgrade()
        with Rows() as rows, store.manager() as manager:
            manager.downgrade(store.deployment, "billing@base")
        read.append(rows.read)
    assert read[1] <= 2.5 * read[0], read


@pytest.mark.parametrize("transaction", ["auto", "run"])
def test_the_server_finds_a_record_without_reading_them_all(
    postgresql_store: Store, transaction: str
) -> None:
    """PostgreSQL counts the rows of ours that it read from one end of a table to the other."""
    scanned = (
        "SELECT sum(seq_tup_read) AS rows FROM pg_stat_user_tables "
        "WHERE relname LIKE 'anabranch%' OR relname = 'alembic_version'"
    )
    counts: list[int] = []
    for length in (50, 100):
        postgresql_store.core(*chain(length))
        postgresql_store.upgrade(transaction=transaction)
        counts.append(int(postgresql_store.database.execute(scanned)[0]["rows"]))
    # The second run reads the fifty there are a few times over, and adds fifty.
    assert counts[1] - counts[0] < 20 * 50, counts


def test_what_has_not_changed_is_not_ordered_again_under_the_lock(store: Store) -> None:
    """The graph of the look before the lock is that of the look after it."""
    store.core(*chain(3))
    ordered = 0

    def note(frame: Any, what: str, _argument: Any) -> None:
        nonlocal ordered
        ordered += what == "call" and frame.f_code.co_name == "_canonical_order"

    sys.setprofile(note)
    try:
        assert len(store.upgrade()) == 3
    finally:
        sys.setprofile(None)
    assert ordered == 1


def test_statements_of_our_own_are_compiled_once(store: Store) -> None:
    """Each is found in the cache: compiling it costs more than sending it."""
    compiled: list[int] = []

    def note(frame: Any, what: str, _argument: Any) -> None:
        code = frame.f_code
        if what == "call" and code.co_name in ("visit_insert", "visit_update", "visit_delete"):
            compiled[-1] += 1

    for length in (5, 25):
        store.core(*chain(length))
        compiled.append(0)
        sys.setprofile(note)
        try:
            store.upgrade()
        finally:
            sys.setprofile(None)
    # The second run records four times as many revisions.
    assert 0 < compiled[1] <= compiled[0] + 2


# -- planning


def long_chain(size: int) -> list[Revision]:
    return [revision(f"core@{n}", down=str(n - 1) if n else "", checksum="x") for n in range(size)]


def wide_fan(size: int) -> list[Revision]:
    plugins = [revision(f"p{n}@a", depends="core@0", checksum="x") for n in range(size - 1)]
    return [revision("core@0", checksum="x"), *plugins]


def chained(size: int) -> list[Revision]:
    """Ten plugins, each revision of which depends on its neighbour's."""
    found = [revision("core@0", checksum="x")]
    for n, owner in itertools.product(range(size // 10), range(10)):
        needs = f"p{owner - 1}@{n}" if owner else "core@0"
        down = str(n - 1) if n else ""
        found.append(revision(f"p{owner}@{n}", down=down, depends=needs, checksum="x"))
    return found


def steps_of(action: Callable[[], object]) -> int:
    """How many lines of Python *action* runs: a loop over more of anything shows."""
    lines = 0

    def trace(_frame: Any, what: str, _argument: Any) -> Any:
        nonlocal lines
        lines += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("shape", [long_chain, wide_fan, chained])
@pytest.mark.parametrize("state", ["fresh", "applied"])
def test_planning_takes_twice_the_steps_for_twice_the_revisions(
    shape: Callable[[int], list[Revision]], state: str
) -> None:
    """Lines are counted, and what they loop over inside the interpreter is small."""
    counts: list[int] = []
    for size in (300, 600):
        revisions = shape(size)
        applied: list[AppliedRevision] = []
        if state == "applied":
            graph = Graph.build(revisions)
            applied = ran(graph, graph.order)

        def plan(
            revisions: list[Revision] = revisions, applied: list[AppliedRevision] = applied
        ) -> None:
            graph = Graph.build(revisions, applied)
            assert not graph.problems
            keys = {row.key for row in applied}
            plan = make_plan(graph, keys)
            assert len(plan.steps) + len(keys) == len(revisions)
            graph.maximal(keys)

        counts.append(steps_of(plan))
    assert counts[1] <= 2.1 * counts[0]
