"""On MariaDB no DDL can be rolled back: a run that ended half-way goes on where it stopped."""

from __future__ import annotations

import json
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch import Listener, Progress
from campaigns.targets import in_child
from support.databases import Database
from support.mariadb import Server
from support.store import Store, table
from support.trees import revision_file
from support.wire import FAULTS, Fault, fail_after, inject

STRIDE = 20


@pytest.fixture
def store(tmp_path: Path, mariadb_database: Database) -> Store:
    return Store(tmp_path, mariadb_database)


def log(store: Store) -> list[dict[str, Any]]:
    """What is logged of half-done revisions."""
    return store.database.rows("anabranch_statement")


#: A revision with all that makes it hard to go on: it asks what there is and branches on the
#: answer, takes keys from the database, the time and chance, catches errors, renames in a circle.
HARD = """
import uuid
bind = op.get_bind()
op.execute("CREATE TABLE a (id INTEGER PRIMARY KEY AUTO_INCREMENT, n INTEGER, mark VARCHAR(40))")

a = sa.Table("a", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
             sa.Column("n", sa.Integer), sa.Column("mark", sa.String(40)))
first = bind.execute(a.insert().values(n=1, mark=str(uuid.uuid4()))).inserted_primary_key[0]
bind.execute(a.insert().values(n=first + 1, mark=str(uuid.uuid4())))
op.bulk_insert(a, [{"n": n, "mark": "bulk"} for n in (300, 400, 500)])
if not sa.inspect(bind).has_table("b"):
    op.create_table("b", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
op.create_index("ix_a_n", "a", ["n"])
copied = bind.execute(sa.select(a).where(a.c.mark == "bulk").order_by(a.c.id)).all()
for number, row in enumerate(copied, start=1):
    bind.execute(sa.text("INSERT INTO b VALUES (:id, :n)"), {"id": number, "n": row.n * 10})
    bind.execute(a.update().where(a.c.id == row.id).values(mark="copied"))
op.add_column("a", sa.Column("more", sa.Integer, server_default="7"))
try:
    with bind.begin_nested():
        bind.execute(sa.text("INSERT INTO b (id, n) VALUES (1, 0)"))
except sa.exc.IntegrityError:
    bind.execute(sa.text("UPDATE b SET n = n + 1 WHERE id = 1"))
op.execute("CREATE TEMPORARY TABLE passing (n INTEGER)")
op.execute("INSERT INTO passing SELECT n FROM b")
op.execute("SET @most = (SELECT max(n) FROM passing)")
op.execute("CREATE TABLE kept AS SELECT @most AS most, n FROM passing")
with op.get_context().autocommit_block():
    op.execute("UPDATE b SET n = n + 1")
    op.execute("ALTER TABLE b ADD COLUMN late INTEGER")
op.rename_table("b", "c")
op.execute("RENAME TABLE a TO swap, c TO a, swap TO c")
op.execute("CREATE VIEW v AS SELECT n FROM a")
op.execute("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.late = 1")
op.execute("CREATE PROCEDURE p() UPDATE a SET late = coalesce(late, 0) + 1")
op.execute("CALL p()")
op.execute("CREATE TABLE gone1 (x INTEGER)")
op.execute("CREATE TABLE gone2 (x INTEGER)")
op.execute("DROP TABLE gone1, gone2")
op.execute("INSERT INTO a (id, n) VALUES (50, 99)")
op.drop_index("ix_a_n", "c")
op.drop_column("c", "more")
"""


def outcome(database: Database) -> Any:
    """Everything that is in the database, but for chance, our times, and keys the server chose."""
    schema = database.schema(ignore=["anabranch_journal", "anabranch_revision"])
    rows = {name: database.rows(name) for name in schema}
    keys = sorted(row["id"] for row in rows["c"])
    for row in rows["c"]:
        row["mark"] = len(row["mark"])
        if row["n"] == keys[0] + 1:  # what the script took from the first key
            row["n"] = "second"
        row["id"] = keys.index(row["id"])
    rows["c"] = sorted(rows["c"], key=lambda row: row["id"])
    triggers = database.execute("SHOW TRIGGERS")
    shown = [(row["Trigger"], row["Table"], row["Statement"]) for row in triggers]
    applied = database.execute("SELECT owner, revision FROM anabranch_revision")
    return schema, rows, shown, applied


def test_a_run_that_ends_at_any_command_is_finished_by_the_next(
    tmp_path: Path, mariadb_server: Server
) -> None:
    """As if it had not ended: rows once, tables owned, and nothing of the log left.

    Every so many commands, and others each time.
    """
    golden = mariadb_server.create()
    store = Store(tmp_path, golden)
    store.core(revision_file("c1", upgrade=HARD))
    store.plugin("billing", revision_file("b1", depends="c1", upgrade=table("invoice")))
    with store.manager() as manager:

        def ended_at(place: int, fault: Fault) -> bool:
            """Whether the run ended early; the next one then must finish it."""
            database = mariadb_server.create()

            def migrate() -> None:
                inject(place, fault)
                manager.upgrade(database.url)

            try:
                ended = in_child(migrate) != 0
                assert in_child(partial(manager.upgrade, database.url)) == 0, (place, fault)
                assert outcome(database) == wanted, (place, fault)
                return ended
            finally:
                mariadb_server.drop(database)

        in_child(partial(manager.upgrade, golden.url))
        wanted = outcome(golden)
        assert len(wanted[1]["a"]) == 4 and len(wanted[1]["c"]) == 5, wanted
        place = first = random.randint(1, STRIDE)
        while sum(ended_at(place, fault) for fault in FAULTS):
            place += STRIDE
    assert place > 100, first


@pytest.mark.parametrize("then", ["anabranch_statement", "COMMIT"])
def test_rows_changed_in_an_autocommit_block_are_changed_once(store: Store, then: str) -> None:
    """Where their line of the log cannot be written, they are not changed either."""
    body = (
        "op.execute('CREATE TABLE one (n INTEGER)')\n"
        "op.execute('INSERT INTO one VALUES (1)')\n"
        "with op.get_context().autocommit_block():\n"
        "    op.execute('UPDATE one SET n = n + 1')"
    )
    store.core(revision_file("c1", upgrade=body))
    with store.manager() as manager:

        def migrate() -> None:
            fail_after("UPDATE one", then)
            manager.upgrade(store.database.url)

        assert in_child(migrate) != 0
        assert in_child(partial(manager.upgrade, store.database.url)) == 0
    assert store.database.rows("one") == [{"n": 2}]


TWO_HALVES = """
op.create_table("one", sa.Column("id", sa.Integer, primary_key=True))
op.execute("INSERT INTO one VALUES (1)")
op.create_table("two", sa.Column("id", sa.Integer, primary_key=True))
op.execute("INSERT INTO one VALUES (2)")
{rest}
"""


def half_done(
    store: Store, rest: str = "op.execute('ALTER TABLE missing ADD COLUMN x INTEGER')"
) -> Path:
    """Run a revision that fails after its third statement; returns its file."""
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=TWO_HALVES.format(rest=rest)),
        },
    )
    failed = store.init_db().expect(6)
    assert "Traceback" not in failed.err
    assert (
        "State: core@c2 stopped after its statement 4 (INSERT INTO one VALUES (2)); what it did "
        "up to there stays, and the next run goes on at statement 5. 1 revision before it stays "
        "applied, the last is core@c1."
    ) in failed.err
    return store.versions / "c2.py"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_mended_revision_goes_on_after_its_last_finished_statement(store: Store) -> None:
    """Exit code 6, then 0; what was not yet run may be edited."""
    path = half_done(store)
    edit(path, "ALTER TABLE missing", "ALTER TABLE one")
    assert "1 revision applied" in store.init_db().expect(0).out
    assert store.database.rows("one") == [{"id": 1, "x": None}, {"id": 2, "x": None}]
    assert store.applied == {"core@c1", "core@c2"}
    assert store.objects == {"table zero core@c1", "table one core@c2", "table two core@c2"}
    assert store.journal == ["run", "applied core@c1", "failed core@c2", "run", "applied core@c2"]
    assert log(store) == []


def test_rows_written_after_the_last_ddl_are_rolled_back(store: Store) -> None:
    """They and their lines of the log are one transaction: the fourth statement is repeated."""
    store.core(revision_file("c1", upgrade=TWO_HALVES.format(rest="1 / 0")))
    failed = store.init_db().expect(6)
    assert "core@c1 stopped after its statement 3 (CREATE TABLE two" in failed.err
    assert store.database.rows("one") == [{"id": 1}]
    edit(next(store.versions.glob("c1*")), "1 / 0", "pass")
    store.init_db().expect(0)
    assert store.database.rows("one") == [{"id": 1}, {"id": 2}]


def test_a_revision_that_wrote_rows_only_is_rolled_back_as_a_whole(store: Store) -> None:
    """Exit code 5, as on other databases."""
    fails = "op.execute('INSERT INTO zero VALUES (1)')\n1 / 0"
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=fails),
        }
    )
    assert "State: core@c2 was rolled back." in store.init_db().expect(5).err
    assert store.database.rows("zero") == []
    assert log(store) == []


def test_a_revision_that_sees_for_itself_what_is_done_begins_anew(store: Store) -> None:
    """``resumable = False``: nothing is logged, so everything is sent again."""
    script = revision_file(
        "c1", upgrade="op.execute('CREATE TABLE IF NOT EXISTS one (id INTEGER)')\n1 / 0"
    )
    store.core(named={"c1.py": script + "\nresumable = False\n"})
    failed = store.init_db().expect(6)
    assert (
        "core@c1 is not resumable, and what it did before it failed may have stayed" in failed.err
    )
    assert log(store) == []
    edit(store.versions / "c1.py", "1 / 0", "op.execute('INSERT INTO one VALUES (1)')")
    store.init_db().expect(0)
    assert store.database.rows("one") == [{"id": 1}]


def test_a_refusal_that_a_script_catches_is_one_all_the_same(store: Store) -> None:
    path = half_done(store)
    edit(path, "ALTER TABLE missing", "ALTER TABLE one")
    edit(
        path,
        'op.execute("INSERT INTO one VALUES (1)")',
        "import contextlib\n    with contextlib.suppress(Exception):\n"
        '        op.execute("INSERT INTO one VALUES (7)")',
    )
    assert "Error AB303" in store.init_db().expect(4).err
    assert store.applied == {"core@c1"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"two", sa.Column("id"', '"two", sa.Column("key"'),
        ('op.execute("INSERT INTO one VALUES (1)")', "pass"),
        ("INSERT INTO one VALUES (1)", "INSERT INTO one VALUES (7)"),
    ],
)
def test_an_edited_beginning_is_refused(store: Store, old: str, new: str) -> None:
    """Exit code 4, and the statement is named; with the beginning put back it goes on."""
    path = half_done(store)
    edit(path, "ALTER TABLE missing", "ALTER TABLE one")
    text = path.read_text(encoding="utf-8")
    edit(path, old, new)
    refused = store.init_db().expect(4)
    assert "Error AB303: core@c2 cannot go on where it stopped: its statement" in refused.err
    assert "Next:  Put back what the script said up to that statement" in refused.err
    path.write_text(text, encoding="utf-8")
    store.init_db().expect(0)
    assert [row["id"] for row in store.database.rows("one")] == [1, 2]


def test_a_script_that_became_shorter_is_refused(store: Store) -> None:
    path = half_done(store)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("op.execute")] + "\n", encoding="utf-8")
    assert "and the script ends before it" in store.init_db().expect(4).err


def test_a_half_done_revision_is_shown_until_it_is_done(store: Store) -> None:
    path = half_done(store)
    words = (
        "Warning AB306: core@c2 is half done: it stopped after its statement 4 "
        "(INSERT INTO one VALUES (2)).\n"
        "  The same command as before (init-db) goes on from there.\n"
    )
    assert words in store.db("status").expect(0).err
    assert words in store.db("plan").expect(0).err
    shown = json.loads(store.db("status", "--json").expect(0).out)
    assert [problem["code"] for problem in shown["problems"]] == ["AB306"]
    edit(path, "ALTER TABLE missing", "ALTER TABLE one")
    assert "AB306" not in store.init_db("--strict").expect(0).err
    assert "AB306" not in store.db("status").expect(0).err


def test_a_half_done_downgrade_is_shown_by_every_run_until_it_is_done(store: Store) -> None:
    """Nothing is pending, and yet the database is not as the records say."""
    down = "op.drop_table('one')\nop.execute('ALTER TABLE missing ADD COLUMN x INTEGER')"
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=table("one"), downgrade=down),
        },
    )
    store.init_db().expect(0)
    store.init_db().expect(0)
    store.db("downgrade", "core@c1", "--yes").expect(6)
    warning = (
        "Warning AB306: core@c2 is half done: it stopped after its statement 1 (DROP TABLE one).\n"
        "  The same command as before (db downgrade) goes on from there.\n"
    )
    for _ in range(2):  # the second look could rely on the first
        assert warning in store.init_db().expect(0).err
    assert store.db("status").expect(0).err.count("AB306") == 1
    edit(store.versions / "c2.py", "ALTER TABLE missing", "ALTER TABLE zero")
    store.db("downgrade", "core@c1", "--yes").expect(0)
    assert store.database.execute("SELECT x FROM zero") == []
    assert "AB306" not in store.db("status").expect(0).err


def test_a_temporary_table_that_is_gone_may_be_made_again(store: Store) -> None:
    """The refusal says how, and that is the way on."""
    rest = (
        "op.execute('CREATE TEMPORARY TABLE passing AS SELECT id FROM one')\n"
        "op.execute('CREATE TABLE three (id INTEGER)')\n"
        "op.execute('INSERT INTO {} SELECT id FROM passing')"
    )
    body = f"{table('one')}\n{rest.format('missing')}"
    store.core(named={"c1.py": revision_file("c1", upgrade=body)})
    store.init_db().expect(6)
    path = store.versions / "c1.py"
    edit(path, "missing", "three")
    refused = store.init_db().expect(4)
    assert "what follows needs passing, which went with its session" in refused.err
    assert (
        "Next:  Let the script make passing once more, by a statement of its own right after that "
        "one; then run the same command again." in refused.err
    )
    again = "op.execute('CREATE TEMPORARY TABLE passing AS SELECT id FROM one')\n    "
    edit(path, "op.execute('INSERT INTO three", f"{again}op.execute('INSERT INTO three")
    store.init_db().expect(0)
    assert store.applied == {"core@c1"}


REBUILD = """
op.execute("CREATE TABLE fresh (id INTEGER PRIMARY KEY)")
op.execute("INSERT INTO fresh SELECT id FROM zero")
op.execute("DROP TABLE zero")
op.execute("RENAME TABLE fresh TO zero")
op.execute("CREATE TABLE more (id INTEGER)")
{rest}
"""


def test_a_finished_drop_is_not_asked_about_again(store: Store) -> None:
    """What has the dropped table's name now holds the rows that were to be kept."""
    fails = REBUILD.format(rest="1 / 0")
    store.core(named={"c1.py": revision_file("c1", upgrade=table("zero"))})
    store.init_db().expect(0)
    store.database.execute("INSERT INTO zero VALUES (1), (2)")
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=fails),
        }
    )
    store.init_db().expect(6)
    edit(store.versions / "c2.py", "1 / 0", "pass")
    store.init_db().expect(0)
    assert store.database.rows("zero") == [{"id": 1}, {"id": 2}]


def test_a_drop_after_a_finished_copy_loses_nothing(store: Store) -> None:
    """The copy was made by an earlier run, and counts all the same."""
    store.core(named={"c1.py": revision_file("c1", upgrade=table("zero"))})
    store.init_db().expect(0)
    store.database.execute("INSERT INTO zero VALUES (1), (2)")
    fails = 'op.execute("CREATE TABLE other (id INTEGER)")\n1 / 0\n'
    middle = REBUILD.format(rest="").replace('op.execute("DROP', f'{fails}op.execute("DROP')
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=middle),
        }
    )
    store.init_db().expect(6)
    edit(store.versions / "c2.py", "1 / 0", "pass")
    store.init_db().expect(0)
    assert store.database.rows("zero") == [{"id": 1}, {"id": 2}]


def test_a_drop_that_a_kill_broke_off_asks_the_database_anew(store: Store) -> None:
    """What was asked before the drop is no part of the script: the rows may be there since."""
    store.core(named={"c1.py": revision_file("c1", upgrade=table("zero"))})
    store.init_db().expect(0)
    # Not told by its source alone.
    drop = 'op.execute("DROP TA" + "BLE zero")'
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=drop),
        }
    )
    waits = "SELECT 1 FROM information_schema.processlist WHERE state LIKE '%metadata lock%'"
    with store.database.engine() as engine, engine.connect() as reader:
        reader.exec_driver_sql("SELECT * FROM zero")
        process = store.site.start("init-db", store.deployment)
        while not store.database.execute(waits):
            assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
        while store.database.execute(waits):  # until the server sees it, or has waited enough
            time.sleep(0.05)
    assert "zero" in store.schema
    store.database.execute("INSERT INTO zero VALUES (1)")
    refused = store.init_db().expect(8)
    assert "core@c2 would drop table zero: it has 1 row." in refused.err
    assert store.database.rows("zero") == [{"id": 1}]


def test_who_may_hold_the_lock_that_a_statement_waits_for_is_named(store: Store) -> None:
    store.core(named={"c1.py": revision_file("c1", upgrade=table("zero"))})
    store.init_db().expect(0)
    store.configure("[migrations]\nstatement_lock_timeout = 1\n")
    alter = "op.add_column('zero', sa.Column('x', sa.Integer))"
    store.core(
        named={
            "c1.py": revision_file("c1", upgrade=table("zero")),
            "c2.py": revision_file("c2", down="c1", upgrade=alter),
        }
    )
    with store.database.engine() as engine, engine.connect() as reader:
        session = reader.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        reader.exec_driver_sql("SELECT * FROM zero")
        notes: list[str] = []

        def report(progress: Progress) -> None:
            if progress.event == "noted":
                notes.append(progress.note)
                reader.rollback()

        assert store.upgrade(listener=Listener(progress=report)) == ["core@c2"]
    assert f"a lock that another session, perhaps server session {session} (user " in notes[0]
