"""``init-db --keep-going``: after a failure, what does not need what failed is applied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch import IncompleteError
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

BOOM = "raise ValueError('no more customers')"


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    store = Store(tmp_path, every_database)
    yield store
    store.site.close()


def five_owners(store: Store, failing: str) -> Path:
    """Reviews fails at its second revision, which loyalty needs; returns that file.

    Gifts needs only the first, and billing nobody.
    """
    store.core(revision_file("c1", created="2024-01-01", upgrade=table("customer")))
    store.plugin(
        "reviews",
        revision_file("r1", created="2024-01-02", upgrade=table("review")),
        revision_file("r2", down="r1", created="2024-01-03", upgrade=failing),
        revision_file("r3", down="r2", created="2024-01-04", upgrade=table("reward")),
    )
    store.plugin(
        "loyalty",
        revision_file("l1", depends="reviews@r2", created="2024-01-05", upgrade=table("points")),
        revision_file("l2", down="l1", created="2024-01-06", upgrade=table("levels")),
    )
    store.plugin(
        "gifts",
        revision_file("g1", depends="reviews@r1", created="2024-01-07", upgrade=table("gift")),
    )
    store.plugin("billing", revision_file("b1", created="2024-01-08", upgrade=table("invoice")))
    return store.versions_of("store_reviews") / "r2_a_change.py"


APPLIED = {"core@c1", "reviews@r1", "gifts@g1", "billing@b1"}


def test_what_does_not_need_what_failed_is_applied(store: Store) -> None:
    """On every database; what was left out is applied once the cause is mended."""
    path = five_owners(store, BOOM)
    failed = store.init_db("--keep-going").expect(5)
    assert store.applied == APPLIED
    assert set(store.schema) == {"customer", "review", "gift", "invoice"}
    assert "Error AB310: Of this run 4 are applied, 1 failed, 3 were skipped:" in failed.err
    assert str(path) in failed.err
    assert "reviews@r3 was skipped: it needs reviews@r2, which failed." in failed.err
    assert "loyalty@l1 was skipped: it needs reviews@r2, which failed." in failed.err
    assert "loyalty@l2 was skipped: it needs loyalty@l1, which was skipped." in failed.err
    assert "State: 4 revisions of this run are applied. What failed was rolled back." in failed.err
    assert "Traceback" not in failed.out + failed.err
    assert store.journal.count("run") == 1
    assert "failed reviews@r2" in store.journal
    assert store.journal[-1] == "incomplete"

    path.write_text(revision_file("r2", down="r1", created="2024-01-03"))
    store.init_db("--keep-going").expect()
    assert store.applied == {*APPLIED, "reviews@r2", "reviews@r3", "loyalty@l1", "loyalty@l2"}
    assert set(store.schema) > {"reward", "points", "levels"}
    assert len([event for event in store.journal if event.startswith("applied")]) == 8


def test_a_file_that_cannot_be_loaded_fails_like_one_that_raises(sqlite_store: Store) -> None:
    path = five_owners(sqlite_store, BOOM)
    path.write_text(f"{path.read_text()}\ndef broken(:\n")
    failed = sqlite_store.init_db("--keep-going").expect(5)
    assert "AB118 reviews@r2" in failed.err
    assert sqlite_store.applied == APPLIED


def test_the_report_for_tools_names_all_three(sqlite_store: Store) -> None:
    five_owners(sqlite_store, BOOM)
    answer = json.loads(sqlite_store.init_db("--keep-going", "--json").expect(5).out)
    assert answer["exit_code"] == 5
    assert {f"{item['owner']}@{item['revision']}" for item in answer["applied"]} == APPLIED
    (failed,) = answer["failed"]
    assert (failed["owner"], failed["revision"]) == ("reviews", "r2")
    assert failed["error"]["code"] == "AB301"
    assert "no more customers" in failed["error"]["text"]
    assert [(item["revision"], item["reason"]) for item in answer["skipped"]] == [
        ("r3", "it needs reviews@r2, which failed"),
        ("l1", "it needs reviews@r2, which failed"),
        ("l2", "it needs loyalty@l1, which was skipped"),
    ]


def test_what_follows_a_failure_of_the_core_waits_for_it(sqlite_store: Store) -> None:
    """Its plugins were written for a core that has it, whatever they declare."""
    sqlite_store.core(
        revision_file("c1", created="2024-01-01", upgrade=table("customer")),
        revision_file("c2", down="c1", created="2024-01-03", upgrade=BOOM),
    )
    sqlite_store.plugin("early", revision_file("e1", created="2024-01-02", upgrade=table("e")))
    sqlite_store.plugin("late", revision_file("l1", created="2024-01-04", upgrade=table("l")))
    failed = sqlite_store.init_db("--keep-going").expect(5)
    assert "late@l1 was skipped: core@c2, which comes before it, failed." in failed.err
    assert sqlite_store.applied == {"core@c1", "early@e1"}


def test_plugins_whose_models_are_broken_do_not_stop_the_others(sqlite_store: Store) -> None:
    sqlite_store.core(revision_file("c1", upgrade=table("customer")))
    broken = (
        revision_file("x1", upgrade=table("x")),
        revision_file("x2", down="x1", upgrade=table("y")),
    )
    sqlite_store.plugin("broken", *broken, models="print('imported')\n1 / 0")
    sqlite_store.plugin("sound", revision_file("s1", upgrade=table("s")))
    failed = sqlite_store.init_db("--keep-going").expect(5)
    assert "AB112 'store_broken.db_models' of broken" in failed.err
    assert failed.out.count("imported") == 1
    assert sqlite_store.applied == {"core@c1", "sound@s1"}


def test_several_failures_are_all_told_even_if_it_is_the_first_revision(
    sqlite_store: Store,
) -> None:
    """Nothing is applied: our records and the reasons are there, and nothing else."""
    sqlite_store.core(revision_file("c1"))
    sqlite_store.upgrade()
    sqlite_store.plugin("a", revision_file("a1", created="2024-01-02", upgrade=BOOM))
    sqlite_store.plugin("b", revision_file("b1", created="2024-01-03", upgrade="op.nonsense()"))
    failed = sqlite_store.init_db("--keep-going").expect(5)
    assert "Of this run 0 are applied, 2 failed, 0 were skipped:" in failed.err
    assert "disabled = ['a']" in failed.err
    assert "disabled = ['b']" in failed.err
    assert sqlite_store.journal[2:] == ["run", "failed a@a1", "failed b@b1", "incomplete"]


def test_a_part_that_stays_is_told_and_ends_with_6(
    tmp_path: Path, mariadb_database: Database
) -> None:
    """MariaDB commits at DDL; the others go on, and the next run goes on in the middle."""
    store = Store(tmp_path, mariadb_database)
    path = five_owners(store, f"{table('half')}\n{BOOM}")
    failed = store.init_db("--keep-going").expect(6)
    assert "reviews@r2 stopped after its statement 1 (CREATE TABLE half" in failed.err
    assert store.applied == APPLIED
    assert set(store.schema) == {"customer", "review", "half", "gift", "invoice"}
    path.write_text(path.read_text().replace(BOOM, "pass"))
    store.init_db().expect()
    assert {"reward", "points", "levels"} <= set(store.schema)


def test_a_transaction_of_all_cannot_keep_going(sqlite_store: Store) -> None:
    five_owners(sqlite_store, BOOM)
    refused = sqlite_store.init_db("--keep-going", "--atomic").expect(2)
    assert "cannot keep going" in refused.err
    assert sqlite_store.database.schema() == {}


def test_a_rehearsal_that_fails_runs_nothing(sqlite_store: Store) -> None:
    """It tells of all that would fail, and the database is as it was."""
    sqlite_store.core(revision_file("c1", created="2024-01-01", upgrade=table("customer")))
    sqlite_store.upgrade()
    before = sqlite_store.database.dump()
    five_owners(sqlite_store, BOOM)
    failed = sqlite_store.init_db("--keep-going", "--rehearse").expect(5)
    assert "loyalty@l2 was skipped" in failed.err
    assert "State: This was a rehearsal. The database was not changed." in failed.err
    assert sqlite_store.database.dump() == before


HOOKS = """
    import pathlib
    from anabranch_plugins_api import Seed, hookimpl

    @hookimpl
    def anabranch_after_run(revisions):
        with pathlib.Path({log!r}).open("a") as file:
            file.write(" ".join(revisions) + "\\n")

    @hookimpl
    def anabranch_seeds():
        return [Seed("first", lambda connection: connection.exec_driver_sql(
            "INSERT INTO {table} (id) VALUES (1)"))]
"""


def test_seeds_of_what_is_complete_are_sown_and_a_run_ends_once_all_is_there(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Those of reviews wait for its tables; hooks hear of the run when everything is in place."""
    store, log = sqlite_store, tmp_path / "log"
    path = five_owners(store, BOOM)
    invoice = revision_file("b1", created="2024-01-08", upgrade=table("invoice"))
    store.plugin("billing", invoice, hooks=HOOKS.format(log=str(log), table="invoice"))
    waits = HOOKS.format(log=str(tmp_path / "other"), table="reward")
    store.plugin("waits", revision_file("w1", depends="reviews@r3"), hooks=waits)
    store.init_db("--keep-going").expect(5)
    assert store.database.rows("invoice") == [{"id": 1}]
    assert not log.exists()
    path.write_text(path.read_text().replace(BOOM, "pass"))
    store.init_db().expect()
    assert store.database.rows("invoice") == [{"id": 1}]
    assert store.database.rows("reward") == [{"id": 1}]
    (line,) = log.read_text().splitlines()
    assert set(line.split()) == store.applied


def test_rows_are_guarded_after_a_run_that_kept_going(sqlite_store: Store) -> None:
    """An application may have gone on without what failed: what migrations made holds rows."""
    store = sqlite_store
    five_owners(store, BOOM)
    with store.manager() as manager, pytest.raises(IncompleteError) as caught:
        manager.upgrade(store.deployment, keep_going=True)
    assert {str(key) for key in caught.value.upgrade.applied} == APPLIED
    store.database.execute("INSERT INTO customer (id) VALUES (1)")
    store.core(
        revision_file("c1", created="2024-01-01", upgrade=table("customer")),
        revision_file("c2", down="c1", created="2024-01-09", upgrade="op.drop_table('customer')"),
    )
    with store.manager() as manager, pytest.raises(IncompleteError) as refused:
        manager.upgrade(store.deployment, keep_going=True)
    assert "AB431 core@c2 would drop table customer: it has 1 row." in refused.value.what
    assert store.database.rows("customer") == [{"id": 1}]


def test_the_backup_from_before_a_run_that_kept_going_is_kept(sqlite_store: Store) -> None:
    """However often it fails again, since what was applied cannot be told from what was not."""
    store = sqlite_store
    store.core(revision_file("c1", upgrade=table("customer")))
    store.upgrade()
    store.database.execute("INSERT INTO customer (id) VALUES (1)")
    five_owners(store, BOOM)
    for number in range(5):
        more = revision_file(
            "b2",
            down="b1",
            created="2024-01-09",
            upgrade=f"op.execute('UPDATE customer SET id = {number + 2}')",
        )
        invoice = revision_file("b1", created="2024-01-08", upgrade=table("invoice"))
        store.plugin("billing", invoice, *([more] if number else []))
        store.init_db("--keep-going").expect(5)
    backups = sorted((store.deployment / "backups").iterdir())
    assert len(backups) == 4
