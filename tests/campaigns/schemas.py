"""Random SQLite schemas with rows, and changes to one of their tables."""

from __future__ import annotations

import copy
import random
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TYPES = {"INTEGER": "sa.Integer()", "VARCHAR(20)": "sa.String(20)", "TEXT": "sa.Text()"}
WIDER = {
    "INTEGER": ("NUMERIC(10, 2)", "sa.Numeric(10, 2)"),
    "VARCHAR(20)": ("VARCHAR(40)", "sa.String(40)"),
    "TEXT": ("VARCHAR(90)", "sa.String(90)"),
}
LOG = "CREATE TABLE log (text TEXT)"


@dataclass
class Column:
    name: str
    type: str
    not_null: bool = False
    default: str = ""
    collation: str = ""
    conflict: str = ""
    generated: str = ""
    check: str = ""

    @property
    def sql(self) -> str:
        return " ".join(
            filter(
                None,
                (
                    self.name,
                    self.type,
                    "NOT NULL" * self.not_null,
                    self.conflict and f"ON CONFLICT {self.conflict}",
                    self.default and f"DEFAULT {self.default}",
                    self.collation and f"COLLATE {self.collation}",
                    self.check and f"CHECK ({self.check})",
                    self.generated and f"GENERATED ALWAYS AS ({self.generated}) STORED",
                ),
            )
        )


@dataclass
class Constraint:
    """A constraint of a table; *rest* follows its name, *columns* are those it speaks of."""

    name: str
    rest: str
    columns: set[str]

    @property
    def sql(self) -> str:
        return (f"CONSTRAINT {self.name} " if self.name else "") + self.rest


@dataclass
class Thing:
    """An index, a trigger or a view: its statement, and the columns it speaks of."""

    kind: str
    name: str
    sql: str
    columns: set[str]
    is_plain: bool = False


@dataclass
class Table:
    name: str
    columns: list[Column]
    autoincrement: bool
    constraints: list[Constraint] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    spent: int = 0

    def definition(self, name: str) -> str:
        key = f"id INTEGER PRIMARY KEY{' AUTOINCREMENT' if self.autoincrement else ''}"
        parts = [key, *(c.sql for c in self.columns), *(c.sql for c in self.constraints)]
        return f"CREATE TABLE {name} ({', '.join(parts)})"

    @property
    def plain(self) -> list[Column]:
        return [column for column in self.columns if not column.generated]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass
class Schema:
    tables: list[Table]
    things: list[Thing]

    def statements(self) -> list[str]:
        """Return what builds the schema and its rows; triggers come last and have not fired."""
        found = [LOG, *(table.definition(table.name) for table in self.tables)]
        for table in self.tables:
            for row in table.rows:
                values = ", ".join(_literal(value) for value in row.values())
                found.append(f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({values})")
            if table.spent:
                found.append(f"INSERT INTO {table.name} (id) VALUES ({table.spent})")
                found.append(f"DELETE FROM {table.name} WHERE id = {table.spent}")
        order = ("index", "view", "trigger")
        return found + [t.sql for t in sorted(self.things, key=lambda t: order.index(t.kind))]


@dataclass
class Change:
    """A script, and the schema there must be after it."""

    script: str
    schema: Schema


def random_schema(chance: random.Random) -> Schema:
    schema = Schema([], [])
    for number in range(chance.randint(2, 4)):
        _add_table(schema, f"t{number}", chance)
    for table in schema.tables:
        for number in range(chance.randint(0, 3)):
            schema.things.append(_index(table, f"ix_{table.name}_{number}", chance))
        for number in range(chance.randint(0, 2)):
            schema.things.append(_trigger(schema, table, f"tr_{table.name}_{number}", chance))
    for number in range(chance.randint(0, 2)):
        schema.things.append(_view(schema, f"v{number}", chance))
    return schema


def _add_table(schema: Schema, name: str, chance: random.Random) -> None:
    table = Table(name, [], chance.random() < 0.4)
    for number in range(chance.randint(2, 5)):
        type_ = chance.choice(list(TYPES))
        column = Column(f"{name}c{number}", type_)
        if type_ != "INTEGER" and chance.random() < 0.4:
            column.collation = chance.choice(("NOCASE", "RTRIM"))
        if chance.random() < 0.3:
            column.default = chance.choice(
                ("7", "(3 + 4)") if type_ == "INTEGER" else ("'x'", "('a' || 'b')", "'it''s'")
            )
            column.not_null = chance.random() < 0.5
            if column.not_null and chance.random() < 0.3:
                column.conflict = chance.choice(("ABORT", "FAIL", "REPLACE"))
        if chance.random() < 0.2:
            column.check = f"{column.name} <> {_literal(_value(column, 90 + number))}"
        table.columns.append(column)
    numbers = [c for c in table.columns if c.type == "INTEGER"]
    if numbers and chance.random() < 0.3:
        base = chance.choice(numbers).name
        table.columns.append(Column(f"{name}g", "INTEGER", generated=f"{base} * 2"))
    if chance.random() < 0.4:
        column = chance.choice(table.plain)
        called = f"ck_{name}" * (chance.random() < 0.5)
        check = f"CHECK ({column.name} <> {_literal(_value(column, 99))})"
        table.constraints.append(Constraint(called, check, {column.name}))
    for number in range(chance.randint(0, 2)):
        column = chance.choice(table.plain)
        called = f"uq_{name}_{number}" * (chance.random() < 0.5)
        conflict = " ON CONFLICT IGNORE" * (chance.random() < 0.3)
        unique = f"UNIQUE (id, {column.name}){conflict}"
        if not any(unique.split(")")[0] in c.rest for c in table.constraints):
            table.constraints.append(Constraint(called, unique, {column.name}))
    if schema.tables and chance.random() < 0.8:
        _refer(table, chance.choice(schema.tables), chance)
    if chance.random() < 0.3:
        table.columns.insert(0, Column(f"{name}self", "INTEGER"))
        _refer(table, table, chance, f"{name}self")
    _fill(schema, table, chance)
    schema.tables.append(table)


def _refer(table: Table, parent: Table, chance: random.Random, column: str = "") -> None:
    name = column or f"{table.name}p"
    if not column:
        table.columns.insert(0, Column(name, "INTEGER"))
    called = f"fk_{name}" * (chance.random() < 0.6)
    action = chance.choice((" ON DELETE CASCADE", " ON DELETE SET NULL", ""))
    uniques = [c for c in parent.constraints if c.rest.startswith("UNIQUE")]
    columns, other = {name}, ""
    if parent is not table and uniques and chance.random() < 0.5:
        # Composite: the parent's key and another column of it.
        other = next(iter(uniques[0].columns))
        column_type = parent.column(other).type
        table.columns.insert(0, Column(f"{table.name}q", column_type))
        columns.add(f"{table.name}q")
        rest = f"FOREIGN KEY ({name}, {table.name}q) REFERENCES {parent.name} (id, {other}){action}"
    else:
        rest = f"FOREIGN KEY ({name}) REFERENCES {parent.name} (id){action}"
    table.constraints.append(Constraint(called, rest, columns))


def _fill(schema: Schema, table: Table, chance: random.Random) -> None:
    parents = {name: (parent, other) for name, parent, other in _parents(schema, table)}
    for number in range(chance.randint(0, 5)):
        row: dict[str, Any] = {"id": number + 1}
        for column in table.plain:
            null = not column.not_null and chance.random() < 0.2
            row[column.name] = None if null else _value(column, number)
        for name, (parent, other) in parents.items():
            rows = table.rows if parent is table else parent.rows
            found = chance.choice(rows) if rows else None
            row[name] = found["id"] if found else None
            if other:
                row[f"{table.name}q"] = found[other] if found else None
        table.rows.append(row)
    if table.autoincrement and all(not c.not_null or c.default for c in table.plain):
        table.spent = 50 * (chance.random() < 0.5)


def _parents(schema: Schema, table: Table) -> list[tuple[str, Table, str]]:
    found: list[tuple[str, Table, str]] = []
    for constraint in table.constraints:
        match = re.match(
            r"FOREIGN KEY \((\w+)(?:, \w+)?\) REFERENCES (\w+) \(id(?:, (\w+))?\)", constraint.rest
        )
        if match:
            named = {other.name: other for other in schema.tables}
            found.append((match[1], named.get(match[2], table), match[3] or ""))
    return found


def _index(table: Table, name: str, chance: random.Random) -> Thing:
    column = chance.choice(table.columns)
    kind = chance.choice(("plain", "plain", "desc", "collate", "expression", "partial", "two"))
    text = column.name
    if kind == "desc":
        text += " DESC"
    elif kind == "collate":
        text += " COLLATE NOCASE"
    elif kind == "expression":
        text = f"lower({text})"
    elif kind == "two":
        text += f", id{' DESC' * (chance.random() < 0.5)}"
    where = f" WHERE {column.name} IS NOT NULL" if kind == "partial" else ""
    unique = kind == "two" and chance.random() < 0.5
    sql = f"CREATE {'UNIQUE ' * unique}INDEX {name} ON {table.name} ({text}){where}"
    return Thing(
        "index",
        name,
        sql,
        {column.name},
        is_plain="DESC" not in sql and kind in {"plain", "two", "partial"},
    )


def _trigger(schema: Schema, table: Table, name: str, chance: random.Random) -> Thing:
    other = chance.choice(schema.tables)
    column, theirs = chance.choice(table.columns), chance.choice(other.columns)
    event = chance.choice(("INSERT", "UPDATE", f"UPDATE OF {column.name}", "DELETE"))
    row = "old" if event == "DELETE" else "new"
    body = chance.choice(
        (
            f"INSERT INTO log VALUES ({row}.{column.name})",
            f"INSERT INTO log SELECT {theirs.name} FROM {other.name} WHERE id = {row}.id",
        )
    )
    used = {column.name} if "log VALUES" in body or "OF" in event else set()
    if "SELECT" in body:
        used |= {theirs.name}
    sql = f"CREATE TRIGGER {name} AFTER {event} ON {table.name} BEGIN {body}; END"
    return Thing("trigger", name, sql, used)


def _view(schema: Schema, name: str, chance: random.Random) -> Thing:
    views = [thing for thing in schema.things if thing.kind == "view"]
    if views and chance.random() < 0.4:
        below = chance.choice(views)
        return Thing("view", name, f"CREATE VIEW {name} AS SELECT * FROM {below.name}", set())
    table = chance.choice(schema.tables)
    column = chance.choice(table.columns)
    sql = f"CREATE VIEW {name} AS SELECT id, {column.name} FROM {table.name}"
    return Thing("view", name, sql, {column.name})


def random_change(schema: Schema, chance: random.Random) -> Change:
    """Return a change of one table, by a batch or by hand."""
    after = copy.deepcopy(schema)
    table = chance.choice(after.tables)
    lines: list[str] = []
    for _ in range(chance.randint(1, 2)):
        lines += _operation(after, table, chance)
    if chance.random() < 0.2:
        gone = {thing.name for thing in schema.things} - {thing.name for thing in after.things}
        drops = [f'op.execute("DROP INDEX {name}")' for name in sorted(gone)]
        return Change("\n".join([*drops, _by_hand(table, schema)]), after)
    always = ', recreate="always"' * (chance.random() < 0.6)
    body = "".join(f"    batch.{line}\n" for line in lines) or "    pass\n"
    script = f'with op.batch_alter_table("{table.name}"{always}) as batch:\n{body}'
    if 'drop_index("' in script and not always:
        # Alone it would need no rebuild; then it is no case of this campaign.
        script = script.replace(f'("{table.name}")', f'("{table.name}", recreate="always")')
    return Change(script, after)


def _operation(schema: Schema, table: Table, chance: random.Random) -> list[str]:
    kind = chance.choice(("add", "drop", "type", "null", "default", "rename", "unique", "index"))
    bound = {name for c in table.constraints if "KEY" in c.rest for name in c.columns}
    bound |= {other for t in schema.tables for _, p, other in _parents(schema, t) if p is table}
    free = [
        column
        for column in table.plain
        if column.name not in bound
        and not any(column.name in other.generated for other in table.columns)
    ]
    if kind == "add" or not free:
        name = f"{table.name}new{len(table.columns)}"
        table.columns.append(Column(name, "INTEGER"))
        for row in table.rows:
            row[name] = None
        return [f'add_column(sa.Column("{name}", sa.Integer()))']
    column = chance.choice(free)
    if kind == "drop":
        return _drop(schema, table, column)
    if kind == "index":
        return _drop_index(schema, table, chance)
    if kind == "unique":
        name = f"uq_new_{len(table.constraints)}"
        unique = f"UNIQUE (id, {column.name})"
        if any(unique in constraint.rest for constraint in table.constraints):
            return []
        table.constraints.append(Constraint(name, unique, {column.name}))
        return [f'create_unique_constraint("{name}", ["id", "{column.name}"])']
    was = TYPES.get(column.type, "sa.Numeric(10, 2)")
    if kind == "rename":
        return _rename(schema, table, column, was)
    if kind == "type" and column.type in WIDER:
        column.type, type_ = WIDER[column.type]
        return [f'alter_column("{column.name}", type_={type_}, existing_type={was})']
    if kind == "null" and column.not_null:
        column.not_null, column.conflict = False, ""
        return [f'alter_column("{column.name}", nullable=True, existing_type={was})']
    if f"{table.name}new" in column.name:
        return []  # its rows would get the default
    column.default = "7" if column.type == "INTEGER" else "'seven'"
    default = "sa.text('7')" if column.type == "INTEGER" else "'seven'"
    return [f'alter_column("{column.name}", server_default={default}, existing_type={was})']


def _drop(schema: Schema, table: Table, column: Column) -> list[str]:
    table.columns.remove(column)
    table.constraints = [c for c in table.constraints if column.name not in c.columns]
    schema.things = [
        t for t in schema.things if not (t.kind == "index" and column.name in t.columns)
    ]
    for row in table.rows:
        row.pop(column.name)
    return [f'drop_column("{column.name}")']


def _drop_index(schema: Schema, table: Table, chance: random.Random) -> list[str]:
    found = [
        t
        for t in schema.things
        if t.kind == "index" and f" ON {table.name} " in t.sql and "lower(" not in t.sql
    ]
    if not found:
        return []
    index = chance.choice(found)
    schema.things.remove(index)
    return [f'drop_index("{index.name}")']


def _rename(schema: Schema, table: Table, column: Column, was: str) -> list[str]:
    old, new = column.name, f"{column.name}n"
    column.name = new
    for other in table.columns:
        other.check = re.sub(rf"\b{old}\b", new, other.check)
    for constraint in table.constraints:
        constraint.rest = re.sub(rf"\b{old}\b", new, constraint.rest)
        constraint.columns = {new if name == old else name for name in constraint.columns}
    for thing in schema.things:
        thing.sql = re.sub(rf"\b{old}\b", new, thing.sql)
        thing.columns = {new if name == old else name for name in thing.columns}
    for row in table.rows:
        row[new] = row.pop(old)
    return [f'alter_column("{old}", new_column_name="{new}", existing_type={was})']


def _by_hand(table: Table, before: Schema) -> str:
    """Return the rebuild as SQLite's manual has it, without a word of what hangs on the table."""
    was = next(other for other in before.tables if other.name == table.name)
    old = [c.name for c in was.plain]
    new = [c.name for c in table.plain]
    pairs = [(n, n if n in old else n[:-1]) for n in new if n in old or n[:-1] in old]
    columns = ", ".join(["id", *(n for n, _ in pairs)])
    values = ", ".join(["id", *(o for _, o in pairs)])
    return "\n".join(
        f"op.execute({statement!r})"
        for statement in (
            table.definition("new_table"),
            f"INSERT INTO new_table ({columns}) SELECT {values} FROM {table.name}",
            f"DROP TABLE {table.name}",
            f"ALTER TABLE new_table RENAME TO {table.name}",
        )
    )


def facts(path: Path) -> set[tuple[Any, ...]]:
    """Return what a database says and does, in a form in which two ways to write it are equal."""
    found: set[tuple[Any, ...]] = set()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ask = connection.execute
        ask("BEGIN")
        for kind, name, table, sql in ask(
            "SELECT * FROM (SELECT type, name, tbl_name, sql FROM sqlite_master) ORDER BY 1, 2"
        ).fetchall():
            if name.startswith(("anabranch_", "alembic_", "sqlite_")):
                continue
            if kind == "table":
                found |= _table_facts(connection, name, sql)
            elif not table.startswith(("anabranch_", "alembic_")):
                found.add((kind, name, table, re.sub(r'["\s]+', " ", sql).replace(" ", "")))
            if kind == "view":
                found.add(("view", name, str(ask(f"SELECT * FROM {name}").fetchall())))
        if ask("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchall():
            counters = ask("SELECT name, seq FROM sqlite_sequence").fetchall()
            found |= {("counter", *row) for row in counters if row[1] and row[0] != "log"}
        ask("ROLLBACK")
    return found


def _table_facts(connection: sqlite3.Connection, table: str, sql: str) -> set[tuple[Any, ...]]:
    ask = connection.execute
    found: set[tuple[Any, ...]] = {("autoincrement", table, "AUTOINCREMENT" in sql)}
    columns: list[str] = []
    for _, name, type_, not_null, default, key, hidden in ask(f"PRAGMA table_xinfo({table})"):
        columns.append(name)
        bare = (default or "").strip("()").replace(" ", "")
        type_ = type_.replace("GENERATED ALWAYS", "").strip().upper()
        found.add(("column", table, name, type_, bool(not_null and not key), bare, key, hidden))
    for name in columns:
        ask(f"CREATE INDEX probe ON {table} ({name})")
        (collation,) = [row[4] for row in ask("PRAGMA index_xinfo(probe)") if row[2] == name]
        ask("DROP INDEX probe")
        found.add(("collation", table, name, collation))
    uniques = [row[1] for row in ask(f"PRAGMA index_list({table})") if row[3] == "u"]
    for name in uniques:
        parts = [(r[2], r[4]) for r in ask(f"PRAGMA index_xinfo({name})") if r[5]]
        found.add(("unique", table, str(sorted(parts))))
    found.add(("conflicts", table, str(sorted(re.findall(r"ON CONFLICT (\w+)", sql)))))
    checks = re.findall(r"CHECK\s*\(((?:[^()']|'[^']*')*)\)", sql)
    found.add(("checks", table, str(sorted(check.replace(" ", "") for check in checks))))
    keys: dict[int, list[Any]] = {}
    for number, _, parent, source, target, *rest in ask(f"PRAGMA foreign_key_list({table})"):
        keys.setdefault(number, [parent, *rest]).append((source, target))
    found |= {("foreign key", table, str(key)) for key in keys.values()}
    names = ", ".join(sorted(columns))
    rows = ask(f"SELECT {names} FROM {table} ORDER BY {names}").fetchall()
    found.add(("rows", table, names, str(rows)))
    return found


def _value(column: Column, number: int) -> Any:
    return number + 1 if column.type == "INTEGER" else f"Row {number}"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
