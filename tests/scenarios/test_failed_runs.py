"""A run that fails leaves the database as its message says, and the next one completes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

BOOM = "raise ValueError('no more customers')"


def three_owners(store: Store, failing: str) -> Path:
    """The core, billing and reviews with two revisions each; returns the file of the fourth."""
    store.core(
        revision_file("c1", created="2024-01-01", upgrade=table("customer")),
        revision_file("c2", down="c1", created="2024-03-01", upgrade=table("product")),
    )
    store.plugin(
        "billing",
        revision_file("b1", created="2024-02-01", upgrade=table("invoice")),
        revision_file("b2", down="b1", created="2024-05-01", upgrade=table("payment")),
    )
    store.plugin(
        "reviews",
        revision_file("r1", created="2024-04-01", upgrade=f"{table('review')}\n{failing}"),
        revision_file("r2", down="r1", created="2024-06-01", upgrade=table("reward")),
    )
    return store.versions_of("store_reviews") / "r1_a_change.py"


def mend(path: Path, failing: str) -> None:
    path.write_text(path.read_text().replace(failing, "pass"))


BEFORE = ["core@c1", "billing@b1", "core@c2"]
AFTER = ["reviews@r1", "billing@b2", "reviews@r2"]


@pytest.mark.parametrize(
    ("failing", "cause"),
    [
        (BOOM, "ValueError: no more customers"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("op.execute('SELECT * FROM nowhere')", "nowhere"),
        ("op.add_column('nowhere', sa.Column('x', sa.Integer))", "nowhere"),
    ],
    ids=["exception", "SystemExit", "SQL", "operation"],
)
def test_failure_in_the_middle_is_rolled_back_named_and_resumed(
    store: Store, failing: str, cause: str
) -> None:
    """SQLite: nothing happened. PostgreSQL: what ran before stands, the failed revision does not.

    The message names owner, revision, file and line; the mended file completes the run.
    """
    path = three_owners(store, failing)
    line = path.read_text().splitlines().index(f"    {failing}") + 1

    failed = store.init_db().expect(5)

    assert "reviews@r1" in failed.err
    assert f"{path}, line {line}" in failed.err
    assert cause in failed.err
    assert "Traceback" not in failed.out + failed.err
    if store.database.backend == "sqlite":
        assert store.database.dump() in ("", "BEGIN TRANSACTION;\nCOMMIT;")
        assert (
            "Rolled back: reviews@r1, and with it 3 revisions that had run in the same "
            "transaction. Nothing else was changed." in failed.err
        )
    else:
        assert set(store.schema) == {"customer", "invoice", "product"}
        assert store.applied == set(BEFORE)
        assert "reviews@r1 was rolled back. 3 revisions before it stay applied" in failed.err
        assert store.journal == ["run", *(f"applied {key}" for key in BEFORE), "failed reviews@r1"]

    mend(path, failing)
    store.init_db().expect(0)
    assert set(store.schema) == {"customer", "invoice", "payment", "product", "review", "reward"}
    assert store.applied == {*BEFORE, *AFTER}
    assert [entry for entry in store.journal if entry.startswith("applied")] == [
        f"applied {key}" for key in (*BEFORE, *AFTER)
    ]


def test_failure_on_a_prepared_database_leaves_one_line_in_the_journal(store: Store) -> None:
    """The failed run is on record, and nothing else of it is."""
    path = three_owners(store, BOOM)
    store.upgrade(["core@c2", "billing@b1"])
    before = store.database.dump().splitlines()

    store.init_db().expect(5)

    after = store.database.dump().splitlines()
    new = [line for line in after if line not in before]
    assert len(new) == 1
    assert "failed" in new[0]
    assert str(path) in new[0]
    assert "no more customers" in new[0]
    assert [line for line in before if line not in after] == []
    mend(path, BOOM)
    store.upgrade()
    assert store.applied == {*BEFORE, *AFTER}


@pytest.mark.parametrize(
    ("break_script", "cause"),
    [
        (lambda text: f"{text}\nraise RuntimeError('cannot import')\n", "cannot import"),
        (lambda text: text.replace("def upgrade", "def upgrad"), "no function upgrade()"),
        (lambda text: f"{text}\ndef broken(:\n", "SyntaxError"),
        (lambda text: f"{text}\nraise SystemExit('bye')\n", "bye"),
        (lambda text: text.replace("import sqlalchemy", "import sqlalchemi"), "sqlalchemi"),
    ],
    ids=["raises", "no upgrade()", "syntax error", "SystemExit", "import"],
)
def test_script_that_cannot_be_loaded_stops_the_run_before_the_first_revision(
    store: Store, break_script: object, cause: str
) -> None:
    """Every script is imported before the first one runs, so a damaged last one costs nothing."""
    assert callable(break_script)
    three_owners(store, "pass")
    path = store.versions_of("store_reviews") / "r2_a_change.py"
    sound = path.read_text()
    path.write_text(break_script(sound))

    failed = store.init_db().expect(4)

    assert "reviews@r2" in failed.err
    assert str(path) in failed.err
    assert cause in failed.err
    assert "Traceback" not in failed.out + failed.err
    assert store.database.schema() == {}
    path.write_text(sound)
    store.upgrade()
    assert store.applied == {*BEFORE, *AFTER}


def test_several_damaged_scripts_are_all_named(store: Store) -> None:
    """An operator mends a broken installation once, not once for each file."""
    three_owners(store, "pass")
    paths = [
        store.versions / "c1_a_change.py",
        store.versions_of("store_billing") / "b2_a_change.py",
    ]
    for path in paths:
        path.write_text(f"{path.read_text()}\nraise RuntimeError\n")
    failed = store.init_db().expect(4)
    assert all(str(path) in failed.err for path in paths)
    assert store.database.schema() == {}


NO_ROOM = {
    "sqlite": "op.execute('PRAGMA max_page_count=1')\n"
    "op.execute('CREATE TABLE big AS SELECT zeroblob(1000000) AS x')",
    "postgresql": "op.execute("
    "\"DO $$ BEGIN RAISE 'the disk is full' USING ERRCODE = 'disk_full'; END $$\")",
}


def test_a_full_disk_is_not_blamed_on_the_revision(store: Store) -> None:
    store.core(revision_file("c1", upgrade=NO_ROOM[store.database.backend]))
    failed = store.init_db().expect(5)
    assert "disk is full" in failed.err
    assert "Next:  Make room where the database is, then run the same command again." in failed.err


SWALLOWED = """
try:
    op.execute("INSERT OR ROLLBACK INTO customer (id) VALUES (1), (1)")
except sa.exc.IntegrityError:
    pass
op.execute("CREATE TABLE late (id INTEGER)")
"""


@pytest.mark.parametrize(
    "script", ["op.execute('INSERT OR ROLLBACK INTO customer (id) VALUES (1), (1)')", SWALLOWED]
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_transaction_that_sqlite_rolls_back_by_itself_is_not_taken_for_a_commit(
    tmp_path: Path, sqlite_database: Database, script: str, alone: bool
) -> None:
    """As it does when the disk is full, whether the script goes on after that or not."""
    store = Store(tmp_path, sqlite_database)
    store.core(revision_file("c1", upgrade=table("customer")))
    if alone:
        store.upgrade()
    before = store.database.dump()
    store.core(
        revision_file("c1", upgrade=table("customer")),
        revision_file("c2", down="c1", upgrade=table("product")),
        revision_file("c3", down="c2", upgrade=script),
    )
    failed = store.init_db().expect(5)
    assert re.search("^State: Rolled back.* Nothing else was changed.$", failed.err, re.M)
    after = [line for line in store.database.dump().splitlines() if "'failed'" not in line]
    assert after == (before or "BEGIN TRANSACTION;\nCOMMIT;").splitlines()
    store.core(
        revision_file("c1", upgrade=table("customer")),
        revision_file("c2", down="c1", upgrade=table("product")),
        revision_file("c3", down="c2"),
    )
    assert store.upgrade() == (
        ["core@c2", "core@c3"] if alone else ["core@c1", "core@c2", "core@c3"]
    )
    assert store.journal.count("run") == (2 if alone else 1)
