"""Changed values of enumerated types, which Alembic does not notice.

Values that the models add are written. One that they lack is named and stays: rows may have it, and
whether it was renamed or taken away only the author knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops

from anabranch.authoring.comparison import Scope
from anabranch.authoring.enums import new_columns
from anabranch.authoring.history import written_values
from anabranch.reading import Reading

_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class NewValues:
    """The values that one native type is to get.

    :ivar elsewhere: what the columns of that type need on databases without such types.
    """

    type: sa.Enum
    before: tuple[str, ...]
    added: tuple[str, ...]
    elsewhere: ops.UpgradeOps

    @property
    def name(self) -> str:
        """The type as a statement names it."""
        parts = [part for part in (self.type.schema, self.type.name) if part]
        return ".".join(p if _PLAIN.fullmatch(p) else _quoted(p, '"') for p in parts)

    def statements(self) -> list[str]:
        """Return what PostgreSQL runs; the values come in the models' order."""
        lines = []
        for value in self.added:
            later = self.type.enums[self.type.enums.index(value) + 1 :]
            place = next((f" BEFORE {_quoted(v)}" for v in later if v in self.before), "")
            lines.append(f"ALTER TYPE {self.name} ADD VALUE IF NOT EXISTS {_quoted(value)}{place}")
        return lines

    def words(self) -> list[str]:
        """Say in a line each what is added."""
        return [f"add value {value} to type {self.type.name}" for value in self.added]


def new_values(
    connection: sa.Connection,
    reading: Reading,
    scope: Scope,
    upgrade: ops.UpgradeOps,
    report: Callable[[str], None],
) -> tuple[NewValues, ...]:
    """Return the values that native types are to get, and add to *upgrade* those of checks.

    A type of which nothing is known for sure is passed over. What the models lack is reported.
    """
    native = _native(connection, reading)
    there = _there(scope, upgrade)
    using: dict[str, list[tuple[sa.Column[Any], sa.Enum]]] = {}
    for column, model in _columns(scope):
        if model.native_enum and _key(model) in native:
            using.setdefault(_key(model), []).append((column, model))
        elif not model.native_enum and column in there:
            known = _checked(connection, column, model)
            subject = f"{column.table.name}.{column.name}"
            changed = _compare(model, known, subject, report) if known else None
            if changed is not None:
                _leave_out(upgrade, column)
                if changed.added:
                    upgrade.ops.append(_altered(column, known, changed.type))
    found = []
    for key, columns in using.items():
        model = columns[0][1]
        changed = _compare(model, native[key], f"the type {model.name}", report)
        if changed is None:
            continue
        existing = [c for c, type_ in columns if c in there and type(type_) is sa.Enum]
        for column in existing:
            _leave_out(upgrade, column)
        if changed.added:
            altered: list[Any] = [_altered(c, native[key], changed.type) for c in existing]
            found.append(NewValues(model, native[key], changed.added, ops.UpgradeOps(altered)))
    if found:
        report(
            "On PostgreSQL a row can have a new value once its revision is committed: fill it in "
            "by another revision, and under --atomic by another run."
        )
    return tuple(found)


@dataclass(frozen=True)
class _Change:
    """What a type is to get, and the type that has it, and all that the database's has."""

    added: tuple[str, ...]
    type: sa.Enum


def _compare(
    model: sa.Enum, known: tuple[str, ...], subject: str, report: Callable[[str], None]
) -> _Change | None:
    """Return what is to be added; None where nothing differs. What is gone is reported."""
    added = tuple(value for value in model.enums if value not in known)
    gone = tuple(value for value in known if value not in model.enums)
    if not added and not gone:
        return None
    if gone:
        report(
            f"The models lack {', '.join(map(repr, gone))}, which {subject} has. Nothing is written"
            " for that, since rows may have it: write by hand what renames it (ALTER TYPE ... "
            "RENAME VALUE ... TO ...) or takes it away, once no row has it."
        )
    return _Change(added, _with_values(model, (*model.enums, *gone)))


def _with_values(model: sa.Enum, values: Iterable[str]) -> sa.Enum:
    values = tuple(values)
    # Without a length it is as long as its longest value; None would mean without an end.
    given = model.length != max(map(len, model.enums), default=0)
    length = {"length": model.length} if given else {}
    return sa.Enum(
        *values,
        name=model.name,
        schema=model.schema,
        native_enum=model.native_enum,
        create_constraint=model.create_constraint,
        **length,
    )


def _native(connection: sa.Connection, reading: Reading) -> dict[str, tuple[str, ...]]:
    """Return the values of the native types: as PostgreSQL has them, else by the revisions."""
    if connection.dialect.name != "postgresql":
        graph = reading.graph
        applied = [key for key in graph.order if key in reading.applied and key in graph.installed]
        return written_values(graph.revisions[key] for key in applied)
    found: dict[str, tuple[str, ...]] = {}
    inspector: Any = sa.inspect(connection)
    for each in inspector.get_enums(schema="*"):
        found[f"{each['schema']}.{each['name']}"] = tuple(each["labels"])
        if each["visible"]:
            found[each["name"]] = tuple(each["labels"])
    return found


def _key(type_: sa.Enum) -> str:
    return ".".join(part for part in (type_.schema, type_.name) if part)


def _columns(scope: Scope) -> Iterator[tuple[sa.Column[Any], sa.Enum]]:
    """Yield the owner's columns of a named enumerated type."""
    for name, table in scope.models.by_name().items():
        if name in scope.own | scope.shared:
            for column in table.columns:
                type_ = column.type
                if not isinstance(type_, sa.Enum) or not type_.name or not type_.enums:
                    continue
                if scope.models.owner_of(column) == scope.owner:
                    yield column, type_


def _there(scope: Scope, upgrade: ops.UpgradeOps) -> set[sa.Column[Any]]:
    """Return those of the owner's columns that the database has."""
    new = {(table, column.name) for table, column, _ in new_columns(upgrade.ops, scope.models)}
    name_of = scope.models.name_of
    return {
        column
        for column, _ in _columns(scope)
        if (name_of(column.table.schema, column.table.name), column.name) not in new
    }


def _checked(connection: sa.Connection, column: sa.Column[Any], model: sa.Enum) -> tuple[str, ...]:
    """Return the values that the check of a column's type allows; none where it has no check."""
    if not model.create_constraint:
        return ()
    names = {
        (connection.dialect.identifier_preparer.format_constraint(constraint) or "").strip('"`')
        for constraint in column.table.constraints
        if isinstance(constraint, sa.CheckConstraint) and constraint.name == model.name
    }
    table = column.table
    for check in sa.inspect(connection).get_check_constraints(table.name, schema=table.schema):
        if check["name"] in names:
            return tuple(value.replace("''", "'") for value in _LITERAL.findall(check["sqltext"]))
    return ()


def _leave_out(upgrade: ops.UpgradeOps, column: sa.Column[Any]) -> None:
    """Take out Alembic's own change of the column's type, which may lose values."""
    for operation in list(upgrade.ops):
        if not isinstance(operation, ops.ModifyTableOps):
            continue
        if (operation.schema, operation.table_name) != (column.table.schema, column.table.name):
            continue
        for part in list(operation.ops):
            if isinstance(part, ops.AlterColumnOp) and part.column_name == column.name:
                part.modify_type = None
                if not part.has_changes():
                    operation.ops.remove(part)
        if not operation.ops:
            upgrade.ops.remove(operation)


def _altered(column: sa.Column[Any], known: tuple[str, ...], type_: sa.Enum) -> ops.ModifyTableOps:
    table = column.table
    change = ops.AlterColumnOp(
        table.name,
        column.name,
        schema=table.schema,
        existing_type=_with_values(type_, known),
        existing_nullable=column.nullable,
        existing_server_default=column.server_default or False,
        existing_comment=column.comment,
        modify_type=type_,
    )
    return ops.ModifyTableOps(table.name, [change], schema=table.schema)


def _quoted(text: str, mark: str = "'") -> str:
    return mark + text.replace(mark, mark * 2) + mark
