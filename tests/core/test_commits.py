"""What scripts commit behind everybody's back, and what must not be committed that way."""

from __future__ import annotations

import pytest

from anabranch import RevisionError
from anabranch.listening import Listener, Progress
from support.lossy import lossy_way
from support.store import Store, table
from support.trees import revision_file

HIDDEN = {
    "behind a comment": "op.execute('-- so far\\n/* and */ COMMIT')",
    "among statements": "op.execute('CREATE TABLE half (id INTEGER); COMMIT; SELECT 1')",
    "in two words": "op.execute('CREATE TABLE half (id INTEGER); COM' 'MIT; SELECT 1')",
    "through the driver": "op.get_bind().connection.dbapi_connection.commit()",
    "through a cursor": "op.get_bind().connection.cursor().execute('COMMIT')",
}


@pytest.mark.parametrize("how", HIDDEN)
@pytest.mark.parametrize("mode", ["revision", "run"])
def test_a_hidden_commit_on_postgresql_is_told_as_partial(
    postgresql_store: Store, how: str, mode: str
) -> None:
    """Exit code 6; what ran before it in the same transaction stays applied, and is recorded."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{HIDDEN[how]}\n1 / 0"),
    )
    with pytest.raises(RevisionError, match="core@c2 failed") as raised:
        store.upgrade(transaction=mode)
    assert (raised.value.exit_code, raised.value.partial) == (6, True)
    assert "core@c2 had committed by itself, so a part of it may have stayed." in raised.value.state
    assert "1 revision before it stays applied, the last is core@c1." in raised.value.state
    assert {"one", "two"} <= set(store.schema)
    assert store.applied == {"core@c1"}
    assert store.version_rows == ["c1"]
    path = store.versions / "c2_a_change.py"
    path.write_text(
        path.read_text()
        .replace("1 / 0", "pass")
        .replace(table("two"), "pass")
        .replace("TABLE half", "TABLE IF NOT EXISTS half")
    )
    assert store.upgrade(transaction=mode) == ["core@c2"]
    assert store.applied == {"core@c1", "core@c2"}


@pytest.mark.parametrize("how", HIDDEN)
def test_after_a_hidden_commit_a_run_goes_on(postgresql_store: Store, how: str) -> None:
    """Each revision is recorded once, and a later failure undoes none of them."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n{HIDDEN[how]}"),
        revision_file("c3", down="c2", upgrade=f"{table('three')}\n1 / 0"),
    )
    with pytest.raises(RevisionError, match="core@c3 failed") as raised:
        store.upgrade(transaction="run")
    assert raised.value.exit_code == 5
    assert "2 revisions before it stay applied, the last is core@c2" in raised.value.state
    assert store.applied == {"core@c1", "core@c2"}
    assert store.journal.count("applied core@c1") == 1


def test_a_hidden_rollback_on_postgresql_loses_no_other_revision(postgresql_store: Store) -> None:
    """In a transaction of its own a revision may do that; in a shared one it is refused."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2",
            down="c1",
            upgrade=f"{table('two')}\nop.get_bind().connection.dbapi_connection.rollback()\n"
            f"{table('three')}",
        ),
    )
    with pytest.raises(RevisionError, match=r"core@c2 failed .*shares with core@c1"):
        store.upgrade(transaction="run")
    assert store.schema == {}
    assert store.upgrade() == ["core@c1", "core@c2"]
    assert set(store.schema) == {"one", "three"}


def test_a_rollback_in_two_words_is_refused(postgresql_store: Store) -> None:
    """Nothing in the text tells of it, but what is recorded would not be there."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file(
            "c2", down="c1", upgrade=f"{table('two')}\nop.execute('SELECT 1; ROLL' 'BACK')"
        ),
    )
    with pytest.raises(RevisionError, match=r"core@c2 failed .* nobody could see") as raised:
        store.upgrade()
    assert raised.value.exit_code == 5
    assert set(store.schema) == {"one"}
    assert store.applied == {"core@c1"}


FAMILY = """
op.create_table("parent", sa.Column("id", sa.Integer, primary_key=True))
op.create_table("child", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("parent.id")))
op.execute("INSERT INTO parent VALUES (1), (2)")
op.execute("INSERT INTO child VALUES (10, 1), (20, 2)")
"""
BREAKING = "op.execute('DELETE FROM parent WHERE id = 2')"
COMMITS = {
    "connection": "op.get_bind().commit()",
    "text": "op.execute('COMMIT')",
    "autocommit_block": "with op.get_context().autocommit_block():\n    pass",
}


@pytest.mark.parametrize("how", COMMITS)
def test_broken_references_are_not_committed_by_a_later_revisions_own_commit(
    sqlite_store: Store, how: str
) -> None:
    """The one that broke them is named, and everything is rolled back."""
    store = sqlite_store
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade=BREAKING),
        # In a helper, so that nothing announces it.
        revision_file(
            "c3", down="c2", upgrade=f"{table('other')}\nimport store.helper\nstore.helper.helper()"
        ),
        files={
            "store/helper.py": "from alembic import op\n\ndef helper():\n    "
            + COMMITS[how].replace("\n", "\n    ")
        },
    )
    store.upgrade("core@c1")
    before = store.database.rows("parent"), store.schema
    with pytest.raises(RevisionError, match=r"core@c2 failed .*foreign keys are broken") as raised:
        store.upgrade()
    assert raised.value.exit_code == 5
    assert (store.database.rows("parent"), store.schema) == before
    assert store.applied == {"core@c1"}


def test_broken_references_that_a_driver_committed_unseen_are_told_as_partial(
    sqlite_store: Store,
) -> None:
    """``executescript()`` commits first, whatever anybody thinks of it."""
    store = sqlite_store
    script = "op.get_bind().connection.executescript('SELECT 1')"
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade=f"{BREAKING}\n{script}\n{table('other')}"),
    )
    store.upgrade("core@c1")
    with pytest.raises(RevisionError, match=r"core@c2 failed .*foreign keys are broken") as raised:
        store.upgrade()
    assert raised.value.exit_code == 6


def test_references_that_were_broken_before_may_follow_a_renamed_table(
    sqlite_store: Store,
) -> None:
    """Whichever of the two tables is renamed, twice, and by exchanging names."""
    store = sqlite_store
    exchange = "\n".join(
        f"op.rename_table({old!r}, {new!r})"
        for old, new in [("folk", "x"), ("kids", "folk"), ("x", "kids")]
    )
    store.core(
        revision_file("c1", upgrade=FAMILY),
        revision_file("c2", down="c1", upgrade="op.rename_table('child', 'kids')"),
        revision_file("c3", down="c2", upgrade="op.rename_table('parent', 'folk')"),
        revision_file("c4", down="c3", upgrade=f"{exchange}\nop.get_bind().commit()"),
        revision_file("c5", down="c4", upgrade="op.execute('DELETE FROM kids WHERE id = 1')"),
    )
    store.upgrade("core@c1")
    store.database.execute("INSERT INTO child VALUES (30, 77)")
    assert store.upgrade("core@c4") == ["core@c2", "core@c3", "core@c4"]
    with pytest.raises(RevisionError, match=r"core@c5 failed .*1 row of folk .*refers"):
        store.upgrade()
    assert len(store.database.rows("folk")) == 3


def test_a_commit_whose_answer_is_lost_is_asked_after(postgresql_store: Store) -> None:
    """The connection ends, the revision is applied, and the message says so; exit code 6."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=table("two")),
        revision_file("c3", down="c2", upgrade=table("three")),
    )
    with lossy_way(store.database) as (way, url):
        store.configure(url=url)

        def report(progress: Progress) -> None:
            way.armed = (progress.event, progress.step.key.id) == ("started", "c2")

        with pytest.raises(RevisionError, match="core@c2") as raised:
            store.upgrade(listener=Listener(progress=report))
    assert way.broken == 1
    assert raised.value.exit_code == 6
    assert raised.value.state.startswith("core@c2 and all before it are committed")
    assert store.applied == {"core@c1", "core@c2"}
    assert set(store.schema) == {"one", "two"}
    store.configure()
    assert store.upgrade() == ["core@c3"]
