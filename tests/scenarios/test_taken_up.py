"""What a plugin made has become another owner's since, however that one spells its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.databases import Database, sqlite
from support.store import Store
from support.trees import revision_file

GIFT = "sa.Column('id', sa.Integer, primary_key=True)"


def taken_up(directory: Path, database: Database, made: str, found: str, *, parts: str = "") -> str:
    """Let a plugin make a table, the core find it there, and the plugin go; say what stays.

    :param made: what the plugin's revision does.
    :param found: what the core's does later, where it would have to.
    """
    store = Store(directory, database)
    first = revision_file("c1", created="2024-01-01", upgrade=f"op.create_table('item', {GIFT})")
    store.core(first)
    more = f"\n{parts}" if parts else ""
    store.plugin("gifts", revision_file("g1", depends="c1", upgrade=made + more))
    store.upgrade()
    perhaps = "if False:\n    " + found.replace("\n", "\n    ")
    store.core(first, revision_file("c2", down="c1", created="2025-01-01", upgrade=perhaps))
    store.upgrade()
    store.uninstall("gifts")
    return store.db("purge", "gifts", "--yes").expect().out


@pytest.mark.parametrize(
    ("made", "found", "stays"),
    [
        ("op.create_table('gift', {})", "op.create_table('gift', {}, schema='public')", "gift"),
        ("op.create_table('Gift', {})", "op.create_table('Gift', {})", "Gift"),
        ("op.create_table('Gift', {})", "op.execute('CREATE TABLE Gift (id INT)')", ""),
        ("op.create_table('gift', {})", "op.execute('CREATE TABLE Gift (id INT)')", "gift"),
        ("op.create_table('gift', {})", "op.execute('CREATE TABLE PUBLIC.GIFT (id INT)')", "gift"),
        ("op.create_table('Gift', {})", "op.execute('CREATE TABLE \"Gift\" (id INT)')", "Gift"),
        ("op.create_table('gift', {})", "op.create_table('Gift', {})", ""),
        (
            "op.execute('CREATE SCHEMA extra')\nop.create_table('gift', {}, schema='extra')",
            "op.create_table('gift', {}, schema='extra')",
            "extra.gift",
        ),
        (
            "op.execute('CREATE SCHEMA extra')\nop.create_table('gift', {}, schema='extra')",
            "op.create_table('gift', {})",
            "",
        ),
    ],
)
def test_names_are_read_as_postgresql_reads_them(
    tmp_path: Path, postgresql_database: Database, made: str, found: str, stays: str
) -> None:
    """Schemas count, the own one is none; what SQL does not quote is in lower case."""
    out = taken_up(
        tmp_path, postgresql_database, made.replace("{}", GIFT), found.replace("{}", GIFT)
    )
    assert f"Stays     table {stays}, for core" in out if stays else "Stays" not in out
    tables = postgresql_database.execute(
        "SELECT table_name FROM information_schema.tables WHERE lower(table_name) = 'gift'"
    )
    assert len(tables) == bool(stays)


@pytest.mark.parametrize(
    "found",
    [
        f"op.create_table('GIFT', {GIFT})",
        "op.execute('create table if not exists main.[Gift] (id int)')",
    ],
)
def test_sqlite_takes_names_in_any_case(tmp_path: Path, found: str) -> None:
    database = sqlite(tmp_path / "store.sqlite")
    found += "\nop.create_index('IX_item_Note', 'Item', ['note'])"
    found += "\nop.add_column('ITEM', sa.Column('NOTE', sa.Integer))"
    parts = "op.add_column('item', sa.Column('note', sa.Integer))\n"
    parts += "op.create_index('ix_item_note', 'item', ['note'])"
    out = taken_up(tmp_path, database, f"op.create_table('gift', {GIFT})", found, parts=parts)
    assert "Stays     table gift, for core" in out
    assert "Stays     column note of item, for core" in out
    assert "Stays     index ix_item_note of item, for core" in out
    assert "gift" in database.schema()


def test_mariadb_knows_its_own_database_by_name(tmp_path: Path, mariadb_database: Database) -> None:
    """Tables differ by their case there, columns do not."""
    own = mariadb_database.url.rpartition("/")[2].partition("?")[0]
    found = f"op.create_table('gift', {GIFT}, schema={own!r})\n"
    found += "op.create_table('Wish', sa.Column('id', sa.Integer))\n"
    found += "op.add_column('item', sa.Column('NOTE', sa.Integer))"
    parts = f"op.create_table('wish', {GIFT})\n"
    parts += "op.add_column('item', sa.Column('note', sa.Integer))"
    made = f"op.create_table('gift', {GIFT})"
    out = taken_up(tmp_path, mariadb_database, made, found, parts=parts)
    assert "Stays     table gift, for core" in out
    assert "Stays     column note of item, for core" in out
    assert "Stays     table wish" not in out
    assert "wish" not in mariadb_database.schema()
