"""What a rebuild of a SQLite table would lose unasked is kept, or the revision is refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from anabranch import RevisionError
from support.databases import Database
from support.store import Store
from support.trees import revision_file

REBUILD = """
with op.batch_alter_table("item") as batch:
    batch.alter_column("price", type_=sa.Numeric(10, 2), existing_type=sa.Integer())
"""
BY_HAND = """
op.execute("CREATE TABLE new_item (id INTEGER PRIMARY KEY, name TEXT, price NUMERIC)")
op.execute("INSERT INTO new_item SELECT id, name, price FROM item")
op.execute("DROP TABLE item")
op.execute("ALTER TABLE new_item RENAME TO item")
"""
ASIDE = """
op.execute("ALTER TABLE item RENAME TO old_item")
op.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price NUMERIC)")
op.execute("INSERT INTO item SELECT id, name, price FROM old_item")
op.execute("DROP TABLE old_item")
"""
WAYS = {"batch": REBUILD, "by hand": BY_HAND, "put aside": ASIDE}
ITEM = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)"
LOG = "CREATE TABLE log (text TEXT)"
TRIGGER = (
    "CREATE TRIGGER item_log AFTER UPDATE OF name ON item WHEN new.price > 0\n"
    "BEGIN INSERT INTO log VALUES (old.name || '>' || new.name); END"
)
ROWS = "INSERT INTO item (id, name, price) VALUES (1, 'Pen', 2), (2, 'Ink', 3)"


@pytest.fixture
def shelf(tmp_path: Path, sqlite_database: Database) -> Shelf:
    return Shelf(tmp_path, sqlite_database)


class Shelf:
    """A store whose first revision runs some statements, and whose second one is tried."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.store = Store(directory, database)
        self.database = database

    def made_of(self, *statements: str) -> None:
        body = "\n".join(f"op.execute({statement!r})" for statement in statements)
        self.first = revision_file("c1", upgrade=body)
        self.store.core(self.first)
        self.store.upgrade()

    def run(self, body: str) -> None:
        self.store.core(self.first, revision_file("c2", down="c1", upgrade=body))
        self.store.upgrade(allow_destructive=True)

    def refuses(self, body: str, words: str) -> RevisionError:
        """*body* is refused with *words*, and the database is byte for byte what it was."""
        before = self.dump()
        with pytest.raises(RevisionError, match=words) as raised:
            self.run(body)
        assert (raised.value.code, raised.value.exit_code) == ("AB231", 5)
        assert raised.value.what.startswith("core@c2 failed")
        assert self.dump() == before
        return raised.value

    def dump(self) -> list[str]:
        return [line for line in self.database.dump().splitlines() if "anabranch_jour" not in line]

    def sql(self, name: str) -> str:
        rows = self.database.execute(f"SELECT sql FROM sqlite_master WHERE name = '{name}'")
        return " ".join(rows[0]["sql"].split()) if rows else ""

    def column(self, statement: str) -> list[object]:
        return [next(iter(row.values())) for row in self.database.execute(statement)]


# -- triggers, views, indexes


@pytest.mark.parametrize("way", WAYS)
def test_triggers_stay_and_fire(shelf: Shelf, way: str) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER, ROWS)
    shelf.run(f"{WAYS[way]}\nop.execute(\"UPDATE item SET name = 'Nib' WHERE id = 1\")")
    assert shelf.sql("item_log") == " ".join(TRIGGER.split())
    shelf.database.execute("UPDATE item SET name = 'Blot' WHERE id = 2")
    assert shelf.column("SELECT text FROM log") == ["Pen>Nib", "Ink>Blot"]


@pytest.mark.parametrize("way", WAYS)
def test_a_trigger_that_the_script_puts_back_itself_is_the_scripts(shelf: Shelf, way: str) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER)
    own = TRIGGER.replace("'>'", "'->'")
    shelf.run(f"{WAYS[way]}\nop.execute({own!r})")
    assert "'->'" in shelf.sql("item_log")


@pytest.mark.parametrize("way", WAYS)
def test_a_trigger_that_the_script_drops_is_gone(shelf: Shelf, way: str) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER)
    shelf.run(f"op.execute('DROP TRIGGER item_log')\n{WAYS[way]}")
    assert not shelf.sql("item_log")


def test_constraints_stay_in_their_order(shelf: Shelf) -> None:
    """Alembic's sets have none: the same revision would leave another text on each site."""
    keys = ", ".join(
        f"CONSTRAINT {name} FOREIGN KEY (price) REFERENCES {to} (id)"
        for name, to in zip("fbdace", "abcdef", strict=True)
    )
    targets = [f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)" for name in "abcdef"]
    shelf.made_of(ITEM.replace("price INTEGER", f"price INTEGER, {keys}"), *targets)
    shelf.run(
        REBUILD
        + '    batch.create_unique_constraint("z", ["name"])\n'
        + '    batch.create_check_constraint("y", "price > 0")\n'
    )
    found = shelf.sql("item").split("CONSTRAINT ")[1:]
    assert [text.split()[0] for text in found] == [*"fbdace", "y", "z"]


DROP_PRICE = 'with op.batch_alter_table("item") as batch:\n    batch.drop_column("price")'


def test_a_trigger_that_uses_a_dropped_column_is_refused(shelf: Shelf) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER, ROWS)
    error = shelf.refuses(DROP_PRICE, r"table item: trigger item_log \(no such column: new.price\)")
    assert "by a statement of its own" in error.remedy
    shelf.run(f"op.execute('DROP TRIGGER item_log')\n{DROP_PRICE}")
    assert not shelf.sql("item_log")


BLOCK = "with op.get_context().autocommit_block():\n    op.execute({statement!r})\n"


@pytest.mark.parametrize("end", [BLOCK.format(statement="SELECT 1"), "op.get_bind().commit()"])
def test_what_cannot_be_kept_is_refused_before_a_script_commits_by_hand(
    shelf: Shelf, end: str
) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER, ROWS)
    shelf.refuses(f"{DROP_PRICE}\n{end}", "table item: trigger item_log")


@pytest.mark.parametrize("way", WAYS)
def test_a_trigger_is_back_before_a_script_commits_by_hand(shelf: Shelf, way: str) -> None:
    """A run that is killed after that commit would leave the table without it."""
    shelf.made_of(ITEM, LOG, TRIGGER)
    count = "INSERT INTO log SELECT count(*) FROM sqlite_master WHERE name = 'item_log'"
    shelf.run(f"{WAYS[way]}\n{BLOCK.format(statement=count)}")
    assert shelf.column("SELECT text FROM log") == ["1"]
    assert shelf.sql("item_log") == " ".join(TRIGGER.split())


def test_a_trigger_on_updates_of_a_dropped_column_is_refused(shelf: Shelf) -> None:
    """SQLite itself would take it, and never fire it."""
    trigger = "CREATE TRIGGER t AFTER UPDATE OF price ON item BEGIN SELECT 1; END"
    shelf.made_of(ITEM, trigger)
    shelf.refuses(DROP_PRICE, r"trigger t \(no such column: price\)")


@pytest.mark.parametrize("way", WAYS)
def test_views_and_triggers_elsewhere_go_on_working(shelf: Shelf, way: str) -> None:
    """They make a batch fail in SQLite, which looks through them while the table is away."""
    shelf.made_of(
        ITEM,
        LOG,
        ROWS,
        "CREATE VIEW names AS SELECT name FROM item",
        "CREATE VIEW upper_names AS SELECT upper(name) AS name FROM names",
        "CREATE TRIGGER elsewhere AFTER INSERT ON log BEGIN UPDATE item SET price = 0; END",
        "CREATE TRIGGER instead INSTEAD OF INSERT ON names\n"
        "BEGIN INSERT INTO item (name) VALUES (new.name); END",
    )
    before = {n: shelf.sql(n) for n in ("names", "upper_names", "elsewhere", "instead")}
    shelf.run(WAYS[way])
    assert {n: shelf.sql(n) for n in before} == before
    shelf.database.execute("INSERT INTO names VALUES ('Cap')", "INSERT INTO log VALUES ('x')")
    assert shelf.column("SELECT name FROM upper_names") == ["PEN", "INK", "CAP"]
    assert shelf.column("SELECT price FROM item") == [0, 0, 0]


def test_a_view_that_loses_its_column_is_refused(shelf: Shelf) -> None:
    shelf.made_of(ITEM, "CREATE VIEW prices AS SELECT price FROM item")
    shelf.refuses(DROP_PRICE, r"table item: view prices \(no such column: price\)")
    shelf.run(f"op.execute('DROP VIEW prices')\n{DROP_PRICE}")
    assert not shelf.sql("prices")


def test_a_view_that_was_broken_before_is_nobodys_fault(shelf: Shelf) -> None:
    shelf.made_of(ITEM, "CREATE VIEW broken AS SELECT nowhere FROM item")
    shelf.run(REBUILD)
    assert shelf.sql("broken")


INDEXES = {
    "descending": "CREATE INDEX ix ON item (name DESC)",
    "expression": "CREATE UNIQUE INDEX ix ON item (lower(name))",
    "partial": "CREATE INDEX ix ON item (name) WHERE price > 1",
    "partial expression": "CREATE INDEX ix ON item (lower(name)) WHERE price > 1",
    "collated": "CREATE INDEX ix ON item (name COLLATE NOCASE)",
    "plain": "CREATE INDEX ix ON item (name)",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", INDEXES)
def test_indexes_stay_as_they_were(shelf: Shelf, index: str, way: str) -> None:
    shelf.made_of(ITEM, INDEXES[index], ROWS)
    shelf.run(WAYS[way])
    assert shelf.sql("ix").replace('"', "") == INDEXES[index]


@pytest.mark.parametrize("index", ["descending", "partial", "collated", "plain"])
def test_an_index_dropped_in_the_batch_is_gone(shelf: Shelf, index: str) -> None:
    shelf.made_of(ITEM, INDEXES[index])
    shelf.run(f"{REBUILD}    batch.drop_index('ix')")
    assert not shelf.sql("ix")


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_dropped_before_the_batch_is_gone(shelf: Shelf, index: str) -> None:
    shelf.made_of(ITEM, INDEXES[index])
    shelf.run(f"op.drop_index('ix')\n{REBUILD}")
    assert not shelf.sql("ix")


def test_an_index_goes_with_its_column(shelf: Shelf) -> None:
    shelf.made_of(ITEM, "CREATE INDEX ix ON item (price * 2)")
    shelf.run(DROP_PRICE)
    assert not shelf.sql("ix")


def test_an_index_that_the_script_makes_anew_is_the_scripts(shelf: Shelf) -> None:
    shelf.made_of(ITEM, INDEXES["descending"])
    shelf.run(f"op.drop_index('ix')\n{REBUILD}\nop.create_index('ix', 'item', ['name'])")
    assert shelf.sql("ix") == INDEXES["plain"]


RENAME = (
    'with op.batch_alter_table("item") as batch:\n'
    '    batch.alter_column("name", new_column_name="title", existing_type=sa.Text())'
)


def test_a_plain_index_follows_a_renamed_column_and_a_descending_one_is_refused(
    shelf: Shelf,
) -> None:
    shelf.made_of(ITEM, INDEXES["plain"], "CREATE INDEX down ON item (name DESC)")
    shelf.refuses(RENAME, r"index down \(a column was renamed\)")
    shelf.run(f"op.drop_index('down')\n{RENAME}")
    assert shelf.sql("ix") == "CREATE INDEX ix ON item (title)"


def test_a_copy_by_hand_that_renames_a_column_is_seen(shelf: Shelf) -> None:
    shelf.made_of(ITEM, INDEXES["plain"], ROWS)
    body = BY_HAND.replace("name TEXT", "title TEXT").replace(
        "INTO new_item SELECT", "INTO new_item (id, title, price) SELECT"
    )
    shelf.refuses(body, r"index ix \(a column was renamed\)")
    shelf.run(f"op.drop_index('ix')\n{body}\nop.create_index('ix', 'item', ['title'])")
    assert shelf.sql("ix") == "CREATE INDEX ix ON item (title)"


def test_several_rebuilds_in_one_revision_keep_everything(shelf: Shelf) -> None:
    names = ("descending", "expression")
    shelf.made_of(
        ITEM, LOG, TRIGGER, ROWS, *(INDEXES[n].replace("ix", f"ix_{n}", 1) for n in names)
    )
    before = [shelf.sql(f"ix_{name}") for name in names]
    shelf.run(f"{REBUILD}\n{REBUILD.replace('10', '12')}\n{REBUILD}")
    assert [shelf.sql(f"ix_{name}") for name in names] == before
    assert shelf.sql("item_log") == " ".join(TRIGGER.split())


# -- the table's own definition


DEFINITIONS = {
    "autoincrement": ("id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT", "AUTOINCREMENT"),
    "collate": ("id INTEGER PRIMARY KEY, name VARCHAR(9) COLLATE NOCASE", "COLLATE NOCASE"),
    "on conflict": (
        "id INTEGER PRIMARY KEY, name TEXT NOT NULL ON CONFLICT IGNORE",
        "NOT NULL ON CONFLICT IGNORE",
    ),
    "unique on conflict": (
        "id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT REPLACE",
        "ON CONFLICT REPLACE",
    ),
    "unnamed check": ("id INTEGER PRIMARY KEY, name TEXT, CHECK (name <> '')", "(name <> '')"),
    "check of a column": ("id INTEGER PRIMARY KEY, name TEXT CHECK (name <> '')", "(name <> '')"),
    "expression default": (
        "id INTEGER PRIMARY KEY, name TEXT DEFAULT ('a' || 'b')",
        "DEFAULT ('a' || 'b')",
    ),
    "generated": (
        "id INTEGER PRIMARY KEY, name TEXT, loud TEXT GENERATED ALWAYS AS (upper(name)) STORED",
        "GENERATED ALWAYS AS (upper(name)) STORED",
    ),
    "generated before others": (
        "id INTEGER PRIMARY KEY, name TEXT, loud TEXT GENERATED ALWAYS AS (upper(name)) STORED,"
        " UNIQUE (name, loud), CHECK (id > 0)",
        "GENERATED ALWAYS AS (upper(name)) STORED,",
    ),
    "virtual": (
        "id INTEGER PRIMARY KEY, name TEXT, loud TEXT GENERATED ALWAYS AS (upper(name)) VIRTUAL",
        "GENERATED ALWAYS AS (upper(name))",
    ),
}


@pytest.mark.parametrize("what", DEFINITIONS)
def test_a_batch_keeps_what_reflection_does_not_see(shelf: Shelf, what: str) -> None:
    columns, kept = DEFINITIONS[what]
    shelf.made_of(f"CREATE TABLE item (price INTEGER, {columns})", ROWS)
    shelf.run(REBUILD)
    assert shelf.sql("item").count("CHECK") == columns.count("CHECK")
    assert kept in shelf.sql("item")
    assert "NUMERIC(10, 2)" in shelf.sql("item")
    assert shelf.column("SELECT name FROM item ORDER BY id") == ["Pen", "Ink"]


def test_a_counter_goes_on_where_it_was(shelf: Shelf) -> None:
    """Also when the rows with the highest ids are gone: an id is never given twice."""
    shelf.made_of(
        f"CREATE TABLE item ({DEFINITIONS['autoincrement'][0]}, price INTEGER)",
        ROWS,
        "DELETE FROM item WHERE id = 2",
    )
    shelf.run(REBUILD)
    shelf.database.execute("INSERT INTO item (name) VALUES ('Cap')")
    assert shelf.column("SELECT id FROM item") == [1, 3]


def test_a_collation_that_the_script_names_is_the_scripts(shelf: Shelf) -> None:
    shelf.made_of("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9) COLLATE NOCASE)")
    shelf.run(
        'with op.batch_alter_table("item") as batch:\n'
        '    batch.alter_column("name", type_=sa.String(9, collation="BINARY"))'
    )
    assert "COLLATE NOCASE" not in shelf.sql("item")


def test_a_check_on_a_column_of_another_type_is_refused(shelf: Shelf) -> None:
    """Whether it is meant to stay cannot be known."""
    shelf.made_of("CREATE TABLE item (id INTEGER PRIMARY KEY, kind VARCHAR(3), CHECK (kind <> ''))")
    body = (
        'with op.batch_alter_table("item"{}) as batch:\n'
        '    batch.alter_column("kind", type_=sa.String(9))'
    )
    shelf.refuses(body.format(""), r"table item: CHECK \(kind <> ''\)")
    shelf.run(body.format(", table_args=(sa.CheckConstraint(\"kind <> 'x'\"),)"))
    assert "kind <> 'x'" in shelf.sql("item")
    assert "kind <> ''" not in shelf.sql("item")


def test_a_check_goes_with_its_column(shelf: Shelf) -> None:
    shelf.made_of("CREATE TABLE item (id INTEGER PRIMARY KEY, price INTEGER CHECK (price > 0))")
    shelf.run(DROP_PRICE)
    assert "CHECK" not in shelf.sql("item")


def test_a_generated_column_may_be_dropped(shelf: Shelf) -> None:
    columns = DEFINITIONS["generated"][0]
    shelf.made_of(f"CREATE TABLE item (price INTEGER, {columns})", ROWS)
    shelf.run('with op.batch_alter_table("item") as batch:\n    batch.drop_column("loud")')
    assert "loud" not in shelf.sql("item")


def test_a_definition_written_out_is_meant_as_it_is(shelf: Shelf) -> None:
    shelf.made_of(
        "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE,"
        " price INTEGER, CHECK (price > 0))",
        ROWS,
    )
    shelf.run(BY_HAND)
    assert shelf.sql("item").startswith('CREATE TABLE "item" (id INTEGER PRIMARY KEY, name TEXT,')


@pytest.mark.parametrize("target", ["box (id)", '"box"(id)', "box", "[box] ( id ) MATCH FULL"])
@pytest.mark.parametrize(
    "does",
    [
        "ON DELETE CASCADE",
        "on update set null\nON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED",
    ],
)
def test_a_columns_foreign_key_does_what_it_did(shelf: Shelf, target: str, does: str) -> None:
    """Reflection sees nothing of that, other than of a constraint of the table."""
    shelf.made_of(
        "CREATE TABLE box (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE item (id INTEGER PRIMARY KEY, price INTEGER, /* in */ box INTEGER"
        f" CONSTRAINT held REFERENCES {target} {does}, up INTEGER REFERENCES item (id) {does})",
    )
    question = "SELECT \"from\", on_update || '/' || on_delete AS does FROM"
    question += " pragma_foreign_key_list('item') ORDER BY 1"
    before = shelf.database.execute(question)
    shelf.run(REBUILD)
    assert shelf.database.execute(question) == before
    assert shelf.sql("item").count("INITIALLY DEFERRED") == 2 * does.count("INITIALLY")


def test_a_renamed_columns_foreign_key_is_refused_or_said_anew(shelf: Shelf) -> None:
    shelf.made_of(
        "CREATE TABLE box (id INTEGER PRIMARY KEY)",
        "CREATE TABLE item (id INTEGER, box INTEGER REFERENCES box (id) ON DELETE CASCADE,"
        " bag INTEGER REFERENCES box (id) ON DELETE NO ACTION)",
    )
    renames = 'with op.batch_alter_table("item", recreate="always") as batch:\n'
    renames += '    batch.alter_column("{}", new_column_name="crate")'
    shelf.refuses(
        renames.format("box"), r"table item: ON DELETE CASCADE of the foreign key \(box\)\.$"
    )
    shelf.run(renames.format("bag"))
    assert shelf.sql("item").count("ON DELETE CASCADE") == 1


def test_a_foreign_key_that_the_script_makes_does_what_that_says(shelf: Shelf) -> None:
    """Also one of the same columns, with a name of the script's own."""
    shelf.made_of(
        "CREATE TABLE box (id INTEGER PRIMARY KEY)",
        "CREATE TABLE item (id INTEGER, box INTEGER REFERENCES box (id) ON DELETE CASCADE)",
    )
    anew = """
names = {{"fk": "fk_%(table_name)s_%(column_0_name)s"}}
with op.batch_alter_table("item", naming_convention=names) as batch:
    batch.drop_constraint("fk_item_box", type_="foreignkey")
    batch.create_foreign_key("kept", "box", ["box"], ["id"]{})
"""
    shelf.refuses(anew.format(""), "ON DELETE CASCADE of the foreign key")
    shelf.run(anew.format(', ondelete="NO ACTION"'))
    assert "CASCADE" not in shelf.sql("item")


# -- rows


def test_children_keep_their_rows(shelf: Shelf) -> None:
    """Also composite keys and a table that refers to itself, with ON DELETE CASCADE."""
    shelf.made_of(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER,"
        " parent INTEGER REFERENCES item (id) ON DELETE CASCADE, UNIQUE (id, name))",
        "CREATE TABLE part (id INTEGER PRIMARY KEY, item INTEGER, name TEXT,"
        " FOREIGN KEY (item, name) REFERENCES item (id, name) ON DELETE CASCADE)",
        ROWS,
        "UPDATE item SET parent = 1",
        "INSERT INTO part VALUES (1, 1, 'Pen'), (2, 2, 'Ink')",
    )
    shelf.run(REBUILD)
    assert shelf.column("SELECT id FROM part") == [1, 2]
    assert shelf.column("SELECT parent FROM item") == [1, 1]
    assert "REFERENCES item (id" in shelf.sql("item").replace('"', "")


def test_a_table_put_aside_takes_foreign_keys_along_and_is_refused(shelf: Shelf) -> None:
    """SQLite leads the children to the table that is then dropped; nothing says it."""
    shelf.made_of(ITEM, "CREATE TABLE part (item INTEGER REFERENCES item (id))")
    shelf.refuses(ASIDE, "table part: its foreign key")
    shelf.run(BY_HAND)
    assert "REFERENCES item" in shelf.sql("part")


# -- what is none


def test_a_renamed_and_a_dropped_table_are_no_rebuild(shelf: Shelf) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER, INDEXES["descending"], "CREATE TABLE old (id INTEGER)")
    shelf.run("op.rename_table('item', 'thing')\nop.drop_table('old')")
    assert "thing" in shelf.sql("item_log")
    assert not shelf.sql("old")


def test_a_rebuilt_table_may_be_dropped_by_the_same_revision(shelf: Shelf) -> None:
    shelf.made_of(ITEM, LOG, TRIGGER, INDEXES["descending"])
    shelf.run(f"{REBUILD}\nop.drop_table('item')")
    assert not shelf.sql("item_log")


def test_a_table_described_by_the_script_keeps_what_that_leaves_out(shelf: Shelf) -> None:
    """With ``copy_from`` Alembic looks at nothing, so that nothing can be meant."""
    shelf.made_of(ITEM.replace("name TEXT", "name TEXT UNIQUE"), INDEXES["plain"], ROWS)
    shelf.run(
        "table = sa.Table('item', sa.MetaData(), sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('name', sa.Text), sa.Column('price', sa.Integer))\n"
        "with op.batch_alter_table('item', copy_from=table) as batch:\n"
        "    batch.alter_column('price', nullable=False)"
    )
    assert shelf.sql("ix") == INDEXES["plain"]
    assert "UNIQUE" in shelf.sql("item")
    assert "price INTEGER NOT NULL" in shelf.sql("item")


@pytest.mark.parametrize("name", ["ÄRZTE", "a b", "order", "x" * 45])
def test_odd_names_are_followed(shelf: Shelf, name: str) -> None:
    shelf.made_of(
        f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, "ö n" TEXT COLLATE NOCASE)',
        LOG,
        f'CREATE TRIGGER "t {name}" AFTER INSERT ON "{name}" '
        'BEGIN INSERT INTO log VALUES (new."ö n"); END',
        f'CREATE INDEX "i {name}" ON "{name}" ("ö n" DESC)',
    )
    shelf.run(
        f"with op.batch_alter_table({name!r}) as batch:\n"
        "    batch.add_column(sa.Column('more', sa.Integer, nullable=True))\n"
        "    batch.alter_column('id', nullable=False)"
    )
    assert "COLLATE NOCASE" in shelf.sql(name)
    assert "DESC" in shelf.sql(f"i {name}")
    shelf.database.execute(f"""INSERT INTO "{name}" ("ö n") VALUES ('x')""")
    assert shelf.column("SELECT text FROM log") == ["x"]


@pytest.mark.parametrize("caught", [False, True])
def test_rows_that_a_drop_with_foreign_keys_on_would_delete_are_spared(
    shelf: Shelf, caught: bool
) -> None:
    """The revision is refused also where its script catches the refusal and goes on."""
    shelf.made_of(
        ITEM,
        "CREATE TABLE part (id INTEGER PRIMARY KEY, "
        "item INTEGER REFERENCES item (id) ON DELETE CASCADE)",
        ROWS,
        "INSERT INTO part VALUES (1, 1), (2, 2)",
    )
    on = "with op.get_context().autocommit_block():\n    op.execute('PRAGMA foreign_keys = ON')\n"
    with pytest.raises(RevisionError, match=r"drops item with foreign keys on.* rows of part"):
        body = textwrap.indent(REBUILD.strip(), "    ")
        if caught:
            body = f"    try:\n{textwrap.indent(body, '    ')}\n    except Exception:\n        pass"
        shelf.run(on + body)
    assert len(shelf.database.rows("part")) == 2
    assert len(shelf.database.rows("item")) == 2
