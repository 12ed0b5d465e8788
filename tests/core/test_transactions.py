"""Which revisions share a transaction, as asked for and as they can."""

from __future__ import annotations

import pytest

from anabranch import RevisionError, UsageError
from anabranch.listening import Listener, Progress
from anabranch.planning import Step
from anabranch.revision import Revision, RevisionKey
from anabranch.transactions import Mode, Unit, units_of
from support.store import Store, table
from support.trees import revision_file


def steps(text: str) -> list[Step]:
    """A step for each letter; a capital needs autocommit."""
    return [
        Step(number, Revision(RevisionKey("core", letter), autocommit=letter.isupper()), (), ())
        for number, letter in enumerate(text, start=1)
    ]


@pytest.mark.parametrize(
    ("text", "mode", "dialect", "expected"),
    [
        ("abc", "auto", "sqlite", "abc"),
        ("abc", "auto", "postgresql", "a b c"),
        ("abc", "auto", "mysql", "a b c"),
        ("abc", "run", "postgresql", "abc"),
        ("abc", "run", "sqlite", "abc"),
        ("abc", "revision", "sqlite", "a b c"),
        ("aBc", "auto", "sqlite", "a B c"),
        ("abCDef", "run", "postgresql", "ab C D ef"),
        ("A", "run", "sqlite", "A"),
        ("", "auto", "sqlite", ""),
    ],
)
def test_units_keep_the_order_and_whoever_needs_autocommit_alone(
    text: str, mode: Mode, dialect: str, expected: str
) -> None:
    units = units_of(steps(text), mode, dialect)
    assert " ".join("".join(s.key.id for s in unit.steps) for unit in units) == expected
    assert all(not unit.shared for unit in units if unit.steps[0].revision.autocommit)


def test_a_run_cannot_be_one_transaction_where_each_statement_commits() -> None:
    with pytest.raises(UsageError, match="mysql commits at every DDL statement"):
        units_of(steps("ab"), "run", "mysql")


def test_what_is_left_of_a_unit_is_of_its_kind() -> None:
    abc = Unit(tuple(steps("abc")), shared=True)
    assert abc.after(1) == Unit(abc.steps[1:], shared=True)


def test_a_run_that_is_one_transaction_is_rolled_back_as_a_whole(store: Store) -> None:
    """On PostgreSQL too, where asked for; the next run begins from the start."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n1 / 0"),
    )
    before = store.database.dump()
    told: list[Progress] = []
    with pytest.raises(RevisionError, match="core@c2 failed") as raised:
        store.upgrade(transaction="run", listener=Listener(progress=told.append))
    assert raised.value.exit_code == 5
    assert "Rolled back: core@c2, and with it 1 revision" in raised.value.state
    assert "Nothing else was changed." in raised.value.state
    assert [(p.event, p.step.key.id) for p in told] == [
        *(("started", "c1"), ("ran", "c1"), ("started", "c2"), ("failed", "c2"))
    ]
    assert store.database.dump().replace("BEGIN TRANSACTION;\nCOMMIT;", "") == before
    path = store.versions / "c2_a_change.py"
    path.write_text(path.read_text().replace("1 / 0", "pass"))
    assert store.upgrade(transaction="run") == ["core@c1", "core@c2"]
    assert store.applied == {"core@c1", "core@c2"}


def test_each_revision_may_have_its_own_transaction(store: Store) -> None:
    """On SQLite too, where asked for: what ran before the failure stays, and is told as applied."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=f"{table('two')}\n1 / 0"),
    )
    told: list[Progress] = []
    with pytest.raises(RevisionError) as raised:
        store.upgrade(transaction="revision", listener=Listener(progress=told.append))
    assert "1 revision before it stays applied, the last is core@c1" in raised.value.state
    assert ("applied", "c1") in [(p.event, p.step.key.id) for p in told]
    assert store.applied == {"core@c1"}
    assert set(store.schema) == {"one"}


ALONE = "with op.get_context().autocommit_block():\n    op.execute('VACUUM')"


def test_a_revision_that_commits_by_itself_splits_the_run_and_is_said_to(store: Store) -> None:
    """Before it is committed, what ran before it; a later failure leaves both."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=ALONE),
        revision_file("c3", down="c2", upgrade=table("three")),
        revision_file("c4", down="c3", upgrade="1 / 0"),
    )
    told: list[Progress] = []
    with pytest.raises(RevisionError, match="core@c4") as raised:
        store.upgrade(transaction="run", listener=Listener(progress=told.append))
    notes = [progress.note for progress in told if progress.event == "noted"]
    assert notes == ["This run has 3 transactions, not one: core@c2 cannot share one."]
    assert "2 revisions before it stay applied, the last is core@c2" in raised.value.state
    assert "with it 1 revision that had run" in raised.value.state
    assert store.applied == {"core@c1", "core@c2"}
    assert set(store.schema) == {"one"}


def test_a_revision_may_say_that_it_is_not_transactional(store: Store) -> None:
    """All of it then runs outside a transaction, without a block of its own."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade="op.execute('VACUUM')").replace(
            "depends_on = None", "depends_on = None\ntransactional = False"
        ),
        revision_file("c3", down="c2", upgrade=table("three")),
    )
    told: list[Progress] = []
    assert store.upgrade(listener=Listener(progress=told.append)) == [
        "core@c1",
        "core@c2",
        "core@c3",
    ]
    assert store.applied == {"core@c1", "core@c2", "core@c3"}
    shared = {p.step.key.id: p.shared for p in told if p.event == "applied"}
    assert shared["c2"] is False
    if store.database.backend == "sqlite":
        assert shared["c1"] is True


def test_a_revision_that_failed_outside_a_transaction_may_have_left_a_part(store: Store) -> None:
    store.core(
        revision_file("c1", upgrade=f"{table('one')}\n1 / 0").replace(
            "depends_on = None", "depends_on = None\ntransactional: bool = False  # CONCURRENTLY"
        ),
    )
    with pytest.raises(RevisionError, match="core@c1") as raised:
        store.upgrade()
    assert raised.value.exit_code == 6
    assert set(store.schema) == {"one"}


def test_the_command_says_what_ran_and_what_is_committed(store: Store) -> None:
    """A line with ``ok`` is true whatever comes after it."""
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade=ALONE),
        revision_file("c3", down="c2", upgrade="1 / 0"),
    )
    failed = store.init_db("--atomic").expect(5)
    lines = [line for line in failed.out.splitlines() if line.startswith("[")]
    assert [line.split(". ")[-1].split()[0] for line in lines] == ["ran", "ok", "FAILED"]
    assert "Note: This run has 3 transactions, not one: core@c2 cannot share one." in failed.err
    assert "2 revisions before it stay applied, the last is core@c2." in failed.err


def test_a_run_in_one_transaction_that_rolls_back_by_hand_is_refused(
    postgresql_store: Store,
) -> None:
    """The work of other revisions would be lost with its own."""
    store = postgresql_store
    store.core(
        revision_file("c1", upgrade=table("one")),
        revision_file("c2", down="c1", upgrade="op.get_bind().rollback()"),
    )
    with pytest.raises(RevisionError, match="shares with core@c1"):
        store.upgrade(transaction="run")
    assert store.schema == {}
    assert store.upgrade() == ["core@c1", "core@c2"]


def test_a_deferred_constraint_fails_the_revision_that_broke_it(postgresql_store: Store) -> None:
    """Not the last one of the transaction they share; and it stays deferred for the next."""
    store = postgresql_store
    first = (
        "op.execute('CREATE TABLE one (id INTEGER PRIMARY KEY, boss INTEGER "
        "REFERENCES one DEFERRABLE INITIALLY DEFERRED)')"
    )
    later = [
        revision_file("c2", down="c1", upgrade="op.execute('INSERT INTO one VALUES (1, 7)')"),
        revision_file("c3", down="c2", upgrade=table("three")),
    ]
    store.core(revision_file("c1", upgrade=first), *later)
    with pytest.raises(RevisionError, match=r"core@c2 failed.*is not present in table") as raised:
        store.upgrade(transaction="run")
    assert "with it 1 revision that had run in the same transaction" in raised.value.state
    assert store.schema == {}
    healed = "op.execute('INSERT INTO one VALUES (1, 2)')\nop.execute('INSERT INTO one VALUES (2)')"
    again = healed.replace("1, 2", "3, 4").replace("(2)", "(4)")
    store.core(
        revision_file("c1", upgrade=first),
        revision_file("c2", down="c1", upgrade=healed),
        revision_file("c3", down="c2", upgrade=again),
    )
    assert store.upgrade(transaction="run") == ["core@c1", "core@c2", "core@c3"]
