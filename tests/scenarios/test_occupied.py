"""A revision would create what is there: it is said before anything runs, and whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import IncompleteError, IntegrityError, RevisionError
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

GIFT = "op.create_table('gift', sa.Column('id', sa.Integer, primary_key=True))"
SCORE = "op.add_column('item', sa.Column('score', sa.Integer))"
CORE = [revision_file("c1", created="2024-01-01", upgrade=table("item"))]
PERHAPS = "if not sa.inspect(op.get_bind()).has_table('gift'):\n    " + GIFT
TAKES_UP = revision_file("c2", down="c1", created="2025-01-01", upgrade=PERHAPS)
GIFTS = revision_file("g1", depends="c1", created="2024-03-01", upgrade=f"{GIFT}\n{table('wish')}")
STAYED = "Error AB127: gifts@g1 would create table gift, which is there: it stayed for core when"


def purged(directory: Path, database: Database, *more: str) -> Store:
    """A plugin made a table, the core took it up, and the plugin was purged; it is installed."""
    store = Store(directory, database)
    store.core(*CORE)
    store.plugin("gifts", GIFTS, *more)
    store.upgrade()
    store.core(*CORE, TAKES_UP)
    store.upgrade()
    purge = store.db("purge", "gifts", "--yes").expect()
    assert "still installed, and the next init-db would stop: gifts@g1 would create" in purge.out
    return store


def test_a_plugin_comes_back_to_what_stayed_for_others(
    tmp_path: Path, every_database: Database
) -> None:
    """Everybody says so before anything runs, and the ways on are ways on."""
    store = purged(tmp_path, every_database)
    before = every_database.dump()
    for done in (store.init_db(), store.db("sql")):
        done.expect(4)
        assert STAYED in done.err
        assert "State: The database was not changed." in done.err
        assert "init-db DIR --take-up' leaves it as it is, and makes the rest of gifts" in done.err
    assert STAYED in store.db("status").expect().err
    assert STAYED in store.db("plan").expect().err
    for verb in ("status", "plan"):
        store.db(verb, "--check").expect(4)
    assert every_database.dump() == before
    # One way out: what it also makes is there, and all of it is recorded as its.
    every_database.execute("CREATE TABLE wish (id INTEGER PRIMARY KEY)")
    if every_database.backend == "mariadb":
        every_database.execute("ALTER TABLE wish MODIFY id INTEGER AUTO_INCREMENT")
    if every_database.backend == "postgresql":
        every_database.execute("DROP TABLE wish", "CREATE TABLE wish (id SERIAL PRIMARY KEY)")
    store.db("adopt", "--plugin", "gifts", *["--accept-differences"]).expect()
    assert "up to date" in store.init_db().expect().out
    # Another: a release that takes it as it is.
    store.db("purge", "gifts", "--yes").expect()
    taking = revision_file("g1", depends="c1", upgrade=f"{PERHAPS}\n{table('wish')}")
    store.plugin("gifts", taking, version="2.0")
    assert store.upgrade() == ["gifts@g1"]


def test_one_command_brings_back_all_but_what_stayed(
    tmp_path: Path, every_database: Database
) -> None:
    """That is left as it is, with its rows, and what others did to it since."""
    rows = 'op.execute("INSERT INTO gift (id) VALUES (7)")'
    note = "op.add_column('gift', sa.Column('note', sa.String(9)))"
    index = "op.create_index('ix_gift_note', 'gift', ['note'])"
    second = revision_file("g2", down="g1", created="2024-03-02", upgrade=f"{note}\n{index}")
    wish = "op.execute('INSERT INTO wish (id) SELECT id FROM gift')"
    written = "op.execute(\"UPDATE gift SET note = 'new'\")"
    third = revision_file("g3", down="g2", created="2024-03-03", upgrade=f"{written}\n{wish}")
    made = f"{GIFT}\n{table('wish')}\n{rows}\n{table('list')}"
    gifts = (revision_file("g1", depends="c1", created="2024-03-01", upgrade=made), second)
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    store.plugin("gifts", *gifts)
    store.upgrade()
    store.core(*CORE, TAKES_UP)
    store.upgrade()
    every_database.execute("UPDATE gift SET note = 'old'", "INSERT INTO gift (id) VALUES (8)")
    fresh, kept = store.schema, every_database.rows("gift")
    purge = store.db("purge", "gifts", "--yes").expect()
    assert "init-db DIR --take-up' leaves it as it is, and makes the rest of gifts" in purge.out
    assert set(store.schema) == {"item", "gift"}
    done = store.init_db("--take-up").expect()
    assert "gifts@g1 takes up table gift as it is." in done.out
    assert "gifts@g2 takes up table gift as it is." in done.out
    assert store.schema == fresh
    assert every_database.rows("gift") == kept
    assert {"table gift core@", "table wish gifts@g1"} <= store.objects
    # What had not run before the purge runs as ever.
    store.plugin("gifts", *gifts, third)
    assert store.upgrade() == ["gifts@g3"]
    assert every_database.rows("gift") == [{"id": 7, "note": "new"}, {"id": 8, "note": "new"}]
    assert every_database.rows("wish") == [{"id": 7}, {"id": 8}]
    store.db("purge", "gifts", "--yes").expect()
    assert store.upgrade(take_up=True) == ["gifts@g1", "gifts@g2", "gifts@g3"]
    assert store.schema == fresh


def test_what_stayed_of_anothers_table_is_taken_up(
    tmp_path: Path, every_database: Database
) -> None:
    """A column that the core has as its own by now, with its values."""
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    zero = "op.execute('UPDATE item SET score = 0')"
    more = "op.add_column('item', sa.Column('stars', sa.Integer))\n"
    more += "op.execute('UPDATE item SET stars = 1')"
    gifts = revision_file(
        "g1", depends="c1", created="2024-03-01", upgrade=f"{SCORE}\n{zero}\n{more}"
    )
    store.plugin("gifts", gifts)
    store.upgrade()
    perhaps = "if sa.inspect(op.get_bind()).get_columns('item') == []:\n    " + SCORE
    store.core(*CORE, revision_file("c2", down="c1", created="2025-01-01", upgrade=perhaps))
    store.upgrade()
    every_database.execute("INSERT INTO item (id, score, stars) VALUES (1, 5, 2)")
    store.db("purge", "gifts", "--yes").expect()
    assert every_database.rows("item") == [{"id": 1, "score": 5}]
    assert "AB127" in store.init_db().expect(4).err
    store.init_db("--take-up").expect()
    assert every_database.rows("item") == [{"id": 1, "stars": 1, "score": 5}]
    assert {"column item.score core@", "column item.stars gifts@g1"} <= store.objects


def test_a_rebuild_of_what_stayed_cannot_be_left_out(tmp_path: Path) -> None:
    """It would copy the table without what is there under the name of a new column."""
    note = "with op.batch_alter_table('gift', recreate='always') as batch:\n"
    note += "    batch.add_column(sa.Column('note', sa.String(9)))"
    second = revision_file("g2", down="g1", created="2024-03-02", upgrade=note)
    store = purged(tmp_path, sqlite(tmp_path / "store.sqlite"), second)
    before = store.schema
    failed = store.init_db("--take-up").expect(5)
    assert "AB127: gifts@g2 failed" in failed.err
    assert "it rebuilds gift, of which a purge left something" in failed.err
    assert store.schema == before


def test_what_only_the_run_can_tell_is_said_when_it_fails(
    tmp_path: Path, database: Database
) -> None:
    """A name that is computed, and a statement of SQL."""
    hidden = "name = ''.join(['gi', 'ft'])\nop.execute('CREATE TABLE ' + name + ' (id INTEGER)')"
    store = Store(tmp_path, database)
    store.core(*CORE, revision_file("c2", down="c1", created="2024-02-01", upgrade=GIFT))
    store.upgrade()
    store.plugin("gifts", revision_file("g1", depends="c1", created="2024-03-01", upgrade=hidden))
    with store.manager() as manager:
        assert manager.status(store.deployment).state == "pending"
        with pytest.raises(RevisionError) as caught:
            manager.upgrade(store.deployment)
    assert caught.value.code == "AB127"
    assert caught.value.exit_code == 5
    assert "There is a table gift already: core@c2 made it." in caught.value.what
    assert "disabled = ['gifts']" in caught.value.remedy


def test_two_plugins_with_one_table_are_both_named(tmp_path: Path, database: Database) -> None:
    """In one run, and also where the rest of it goes on."""
    store = Store(tmp_path, database)
    store.core(*CORE)
    store.plugin("gifts", GIFTS)
    store.plugin("wishes", revision_file("w1", created="2024-04-01", upgrade=table("wish")))
    with store.manager() as manager, pytest.raises(RevisionError) as caught:
        manager.upgrade(store.deployment)
    assert "wishes@w1 failed" in caught.value.what
    assert "There is a table wish already: gifts@g1 made it." in caught.value.what
    with store.manager() as manager, pytest.raises(IncompleteError) as kept:
        manager.upgrade(store.deployment, keep_going=True)
    assert "gifts@g1 made it" in str(kept.value)
    assert store.applied == {"core@c1", "gifts@g1"}
    with store.manager() as manager, pytest.raises(IntegrityError) as sure:
        manager.upgrade(store.deployment)
    assert "wishes@w1 would create table wish, which is there: gifts@g1" in sure.value.what


def test_what_a_plugin_put_on_the_cores_table_is_in_the_cores_way(
    tmp_path: Path, every_database: Database
) -> None:
    store = Store(tmp_path, every_database)
    store.core(*CORE)
    store.plugin("gifts", revision_file("g1", depends="c1", created="2024-03-01", upgrade=SCORE))
    store.upgrade()
    store.uninstall("gifts")
    store.core(*CORE, revision_file("c2", down="c1", created="2025-01-01", upgrade=SCORE))
    refused = store.init_db().expect(4)
    assert "AB127: core@c2 would create column score of item, which is there: gifts@g1 made it" in (
        refused.err
    )
    assert "remove what is gifts's with 'db purge DIR gifts'" in refused.err
    store.db("purge", "gifts", "--yes").expect()
    assert store.upgrade() == ["core@c2"]


@pytest.mark.parametrize(
    "body",
    [
        f"op.drop_table('gift')\n{GIFT}",
        f"op.rename_table('gift', 'present')\n{GIFT}",
        f"op.execute('DROP TABLE gift')\n{GIFT}",
        "op.execute('CREATE TABLE IF NOT EXISTS gift (id INTEGER)')",
        f"try:\n  with op.get_bind().begin_nested():\n    {GIFT}\nexcept Exception:\n  pass",
        PERHAPS,
    ],
)
def test_a_revision_that_can_run_is_not_stopped(
    tmp_path: Path, database: Database, body: str
) -> None:
    store = Store(tmp_path, database)
    store.core(*CORE, revision_file("c2", down="c1", created="2024-02-01", upgrade=GIFT))
    store.upgrade()
    store.plugin("gifts", revision_file("g1", depends="c2", created="2024-03-01", upgrade=body))
    assert store.upgrade() == ["gifts@g1"]


def test_what_a_downgrade_left_is_said_to_be_there(tmp_path: Path) -> None:
    store = Store(tmp_path, sqlite(tmp_path / "store.sqlite"))
    store.core(*CORE)
    left = revision_file("g1", depends="c1", upgrade=GIFT, downgrade="op.execute('SELECT 1')")
    store.plugin("gifts", left)
    store.upgrade()
    store.db("downgrade", "gifts@base", "--yes").expect()
    refused = store.init_db().expect(4)
    assert "AB127: gifts@g1 would create table gift, which is there: gifts@g1 made it" in (
        refused.err
    )
    assert "If what gifts makes is all there, 'db adopt DIR --plugin gifts'" in refused.err
    store.db("adopt", "--plugin", "gifts").expect()
    assert "up to date" in store.init_db().expect().out


def test_another_tools_tables_are_for_adopting(tmp_path: Path, database: Database) -> None:
    """Nobody recorded them, so only the failure tells."""
    store = Store(tmp_path, database)
    store.core(*CORE)
    database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY)")
    failed = store.init_db().expect(5)
    assert "Error AB301" in failed.err
    assert "If another tool made what is there, 'db adopt DIR' takes it over." in failed.err
