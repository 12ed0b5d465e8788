"""Compare what one owner's models say with what a database has, and see nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import ops
from sqlalchemy import exc

from anabranch.authoring.cycles import part_cycles
from anabranch.authoring.ownership import Models
from anabranch.errors import PendingError, PluginError
from anabranch.objects import OwnedObject, TableName, unnamed


@dataclass(frozen=True)
class Scope:
    """What of the models and the database is one owner's.

    :ivar own: its tables, those its models define and those it made before.
    :ivar shared: tables of others that carry columns, indexes or constraints of it.
    :ivar strangers: owners whose models cannot be seen, and who may have made what is not recorded.
    :ivar withheld: what is left alone for that reason.
    """

    owner: str
    models: Models
    own: frozenset[TableName]
    shared: frozenset[TableName]
    recorded: tuple[OwnedObject, ...]
    strangers: frozenset[str] = frozenset()
    withheld: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        owner: str,
        models: Models,
        recorded: Iterable[OwnedObject],
        strangers: Iterable[str] = (),
    ) -> Scope:
        recorded = tuple(recorded)
        makers = {item.table: item.owner for item in recorded if item.kind == "table"}
        tables = models.by_name()
        defined = {name: models.owner_of_table(table) for name, table in tables.items()}
        own = {name for name, of in defined.items() if of == owner}
        own |= {name for name, of in makers.items() if of == owner and name not in defined}
        shared = {
            name
            for name, table in tables.items()
            if name not in own and any(models.owner_of(item) == owner for item in _items(table))
        }
        shared |= {
            item.table
            for item in recorded
            if item.owner == owner and item.kind != "table" and item.table not in own
        }
        return cls(owner, models, frozenset(own), frozenset(shared), recorded, frozenset(strangers))

    def includes_name(self, name: str | None, kind: str, parents: Any) -> bool:
        """Filter what is reflected: other owners' tables are not even looked at."""
        if kind == "schema":
            return (name or "") in {table.schema for table in self.own | self.shared}
        if kind == "table":
            table = self.models.name_of(parents.get("schema_name"), name or "")
            return table in self.own or table in self.shared
        return True

    def includes_object(
        self, item: Any, name: str | None, kind: str, reflected: bool, counterpart: Any
    ) -> bool:
        """Filter what is compared: on any table only what is this owner's."""
        if kind == "table":
            table = self.models.name_of(item.schema, item.name)
            return table in self.own or (table in self.shared and (not reflected))
        if not reflected:
            return self.models.owner_of(item) == self.owner
        if counterpart is not None:
            return True
        table = self.models.name_of(item.table.schema, item.table.name)
        columns = [name] if kind == "column" else [column.name for column in item.columns]
        owners = {self._maker("column", table, str(column)) for column in columns}
        if kind != "column" and (maker := self._made(kind, table, item)) is not None:
            owners = {maker}
        if table not in self.own:
            return owners == {self.owner}
        if not owners <= {None, self.owner}:
            return False
        unknown = None in owners and self._maker("table", table, table.name) is None
        if unknown and self.strangers:
            self.withheld.append(f"{kind.replace('_', ' ')} {name or '(unnamed)'} of {table.name}")
            return False
        return True

    def _made(self, kind: str, table: TableName, item: Any) -> str | None:
        """Return who made an index or a constraint, if that was recorded."""
        if kind == "index":
            return self._maker("index", table, str(item.name))
        prefix: Literal["fk", "uq"] = "fk" if kind == "foreign_key_constraint" else "uq"
        name = item.name or unnamed(prefix, [column.name for column in item.columns])
        return self._maker("constraint", table, str(name))

    def _maker(self, kind: str, table: TableName, name: str) -> str | None:
        return next(
            (
                item.owner
                for item in self.recorded
                if item.kind == kind and item.table == table and item.name == name
            ),
            None,
        )


def compare(connection: sa.Connection, scope: Scope) -> tuple[ops.UpgradeOps, MigrationContext]:
    """Return what would bring the database to what the owner's models say.

    :raises PendingError: if a table of another owner, on which this one has something, is not
        there yet.
    """
    _require_shared(connection, scope)
    metadata = {
        id(table.metadata): table.metadata
        for name, table in scope.models.by_name().items()
        if name in scope.own | scope.shared
    }
    context = MigrationContext.configure(
        connection,
        opts={
            "include_name": scope.includes_name,
            "include_object": scope.includes_object,
            "include_schemas": any(table.schema for table in scope.own | scope.shared),
            "target_metadata": list(metadata.values()) or sa.MetaData(),
            "compare_type": True,
        },
    )
    try:
        with warnings.catch_warnings():
            # Tables whose keys form a cycle: the keys come apart below.
            warnings.filterwarnings("ignore", "Cannot correctly sort tables", exc.SAWarning)
            script = produce_migrations(context, context.opts["target_metadata"])
    except exc.NoReferencedTableError as error:
        raise PluginError(
            f"A foreign key of {scope.owner} leads to a table its MetaData does not have: {error}",
            owner=scope.owner,
            remedy="Define the models on the host's declarative base, or refer to the column "
            "itself: ForeignKey(User.id) instead of a string.",
        ) from error
    assert script.upgrade_ops is not None
    _leave_out_others(script.upgrade_ops, scope)
    _leave_out_same_keys(script.upgrade_ops, scope.models)
    part_cycles(script.upgrade_ops, scope.models)
    return script.upgrade_ops, context


def _items(table: sa.Table) -> list[Any]:
    return [*table.columns, *table.indexes, *table.constraints]


def _require_shared(connection: sa.Connection, scope: Scope) -> None:
    inspector = sa.inspect(connection)
    defined = scope.models.by_name()
    for table in sorted(scope.shared & set(defined)):
        if not inspector.has_table(table.name, table.schema or None):
            owner = scope.models.owner_of_table(defined[table])
            raise PendingError(
                f"{scope.owner} adds to the table {table.name!r} of {owner}, "
                "which this database does not have yet.",
                pending=(),
                remedy="Bring the deployment up to date first, or leave the directory out.",
            )


def _leave_out_others(upgrade: ops.UpgradeOps, scope: Scope) -> None:
    """Take other owners' columns out of the tables that are created: Alembic takes all of them."""
    tables = scope.models.by_name()
    for operation in upgrade.ops:
        if isinstance(operation, ops.CreateTableOp):
            table = tables[scope.models.name_of(operation.schema, operation.table_name)]
            foreign = {c.name for c in table.columns if scope.models.owner_of(c) != scope.owner}
            operation.columns = [
                item for item in operation.columns if not foreign & _column_names(item)
            ]


def _leave_out_same_keys(upgrade: ops.UpgradeOps, models: Models) -> None:
    """Take out foreign keys that only differ in whether they write out the default schema."""
    for operation in list(upgrade.ops):
        if not isinstance(operation, ops.ModifyTableOps):
            continue
        dropped = {
            _key(part.to_constraint(), models): part
            for part in operation.ops
            if isinstance(part, ops.DropConstraintOp) and part.constraint_type == "foreignkey"
        }
        for part in list(operation.ops):
            if isinstance(part, ops.CreateForeignKeyOp):
                same = dropped.get(_key(part.to_constraint(), models))
                if same is not None:
                    operation.ops.remove(same)
                    operation.ops.remove(part)
        if not operation.ops:
            upgrade.ops.remove(operation)


def _key(constraint: Any, models: Models) -> tuple[object, ...]:
    """Return what makes two foreign keys of one table the same, but for their schemas' names."""
    target = constraint.elements[0].target_fullname.split(".")
    schema = target[-3] if len(target) > 2 else None
    options = (
        constraint.ondelete,
        constraint.onupdate,
        constraint.deferrable,
        constraint.initially,
    )
    return (
        models.name_of(schema, target[-2]),
        *(
            (element.parent.name, element.target_fullname.rpartition(".")[2])
            for element in constraint.elements
        ),
        *(str(option or "").upper().replace("NO ACTION", "") for option in options),
    )


def _column_names(item: Any) -> set[str]:
    if isinstance(item, sa.Column):
        return {item.name}
    return {column.name for column in getattr(item, "columns", ())}
