"""Whose is a table, a column, an index: the one question that keeps revisions apart.

In order of trust: ``info={"owner": ...}`` on the object; the module of the mapped class; the module
whose code created the object; a module of the owner's that holds it; the core.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

from anabranch.discovery import Discovery, Owner
from anabranch.errors import PluginError
from anabranch.events import listening
from anabranch.models import core_metadata, owner_metadata
from anabranch.names import normalise
from anabranch.objects import Kind, TableName
from anabranch.revision import CORE


class Packages:
    """Which owner's code a module is: the longest package that one owner alone lives in."""

    def __init__(self, discovery: Discovery, core: Iterable[str]) -> None:
        self._owners: dict[str, str] = {name.split(".")[0]: CORE for name in core if name}
        modules = {owner.name: _modules(owner) for owner in discovery.owners if owner.name != CORE}
        parents = {
            name: {module.rpartition(".")[0] for module in own} - {""}
            for name, own in modules.items()
        }
        sharing = Counter(parent for own in parents.values() for parent in own)
        for name, own in modules.items():
            for parent in parents[name]:
                if sharing[parent] == 1 and parent not in self._owners:
                    self._owners[parent] = name
            for module in own:
                self._owners[module] = name

    def owner_of(self, module: str) -> str | None:
        """Return the owner that *module* belongs to, or None for everybody else's code."""
        while module:
            if module in self._owners:
                return self._owners[module]
            module = module.rpartition(".")[0]
        return None


def _modules(owner: Owner) -> list[str]:
    return [name for name in (*owner.models, owner.migrations, owner.hooks.split(":")[0]) if name]


class Models:
    """The loaded models of an application, and whose everything in them is.

    :ivar default_schema: what the database to compare with calls the schema that needs no name;
        models may write it out.
    :ivar failures: what went wrong in loading the models of owners other than the wanted one.
    """

    def __init__(self, packages: Packages) -> None:
        self._packages = packages
        self._created_by: dict[int, str] = {}
        self._held: list[Any] = []
        self._class_owners: dict[sa.Table, str] = {}
        self._holders: dict[sa.Table, set[str]] = {}
        self._names: frozenset[str] = frozenset()
        self.default_schema = ""
        self.metadata: dict[str, sa.MetaData] = {}
        self.failures: list[PluginError] = []

    @classmethod
    def load(
        cls, discovery: Discovery, source: Any, *, wanted: str, core_modules: Iterable[str] = ()
    ) -> Models:
        """Import the models of every owner, watching who creates what.

        :raises PluginError: if the models of *wanted* or of the core cannot be imported.
        """
        models = cls(Packages(discovery, core_modules))
        models._names = frozenset(owner.name for owner in discovery.owners)
        with models._watching():
            core = core_metadata(source)
            for owner in discovery.owners:
                try:
                    models.metadata[owner.name] = owner_metadata(owner, core)
                except PluginError as error:
                    if owner.name in (wanted, CORE):
                        raise
                    models.failures.append(error)
        models._scan()
        return models

    def tables(self) -> Iterator[sa.Table]:
        """Yield every table of every owner once."""
        for metadata in {id(metadata): metadata for metadata in self.metadata.values()}.values():
            yield from metadata.tables.values()

    def by_name(self) -> Mapping[TableName, sa.Table]:
        """Return every table by the name it is recorded under."""
        return {self.name_of(table.schema, table.name): table for table in self.tables()}

    def name_of(self, schema: str | None, name: str) -> TableName:
        """Return the name that a table is recorded under."""
        return TableName("" if schema in (None, self.default_schema) else schema, name)

    @staticmethod
    def parts(table: sa.Table) -> Iterator[tuple[Kind, Any]]:
        """Yield the columns of *table*, and the indexes and constraints that have a name."""
        for column in table.columns:
            yield "column", column
        for index in table.indexes:
            if index.name:
                yield "index", index
        for constraint in table.constraints:
            if constraint.name:
                yield "constraint", constraint

    def owner_of_table(self, table: sa.Table) -> str:
        """Return the owner of *table*.

        :raises PluginError: if it is in modules of several plugins and nothing tells whose it is.
        """
        return self.told_owner(table) or CORE

    def told_owner(self, table: sa.Table) -> str | None:
        """Return the owner of *table*, or None where nothing tells, and it counts as the core's.

        :raises PluginError: as :meth:`owner_of_table` does.
        """
        if (named := self._named(table)) is not None:
            return named
        if (owner := self._class_owners.get(table)) is not None:
            return owner
        if (owner := self._created_by.get(id(table))) is not None:
            return owner
        holders = self._holders.get(table, set())
        if CORE in holders or not holders:
            return CORE if holders else None
        if len(holders) > 1:
            raise PluginError(
                f"The table {table.name!r} is in modules of {', '.join(sorted(holders))}, and "
                "nothing tells whose it is.",
                owner=min(holders),
                remedy='Say it on the table: info={"owner": "..."}.',
            )
        return next(iter(holders))

    def owner_of(self, item: Any) -> str:
        """Return the owner of a column, index or constraint; by default its table's owner."""
        table_owner = self.owner_of_table(item.table)
        if (named := self._named(item)) is not None:
            return named
        creator = self._created_by.get(id(item), CORE)
        # The core knows no plugin's table, and what a table was made with is its owner's.
        if creator not in (CORE, self._created_by.get(id(item.table))):
            return creator
        if isinstance(item, sa.Column):
            return table_owner
        # A key or an index that came with a column is whose the column is.
        owners = {self.owner_of(column) for column in item.columns}
        return owners.pop() if len(owners) == 1 else table_owner

    def _named(self, item: Any) -> str | None:
        owner = item.info.get("owner") if item.info else None
        if owner is None:
            return None
        if (name := normalise(str(owner))) not in self._names:
            raise PluginError(
                f"{item!r} says that its owner is {owner!r}, which is not installed.",
                owner=name,
                remedy=f"Installed owners: {', '.join(sorted(self._names))}.",
            )
        return name

    @contextmanager
    def _watching(self) -> Generator[None, None, None]:
        with listening(SchemaItem, after_parent_attach=self._attached):
            yield

    def _attached(self, item: Any, _parent: Any) -> None:
        if (owner := self._at_work(inspect.currentframe())) is not None:
            self._created_by.setdefault(id(item), owner)
            self._held.append(item)  # an id is only an object's while the object lives

    def _at_work(self, frame: FrameType | None) -> str | None:
        """Return whose code runs: a function of the core works for the module that called it."""
        owner = None
        while frame is not None:
            found = self._packages.owner_of(str(frame.f_globals.get("__name__", "")))
            owner = found or owner
            if found not in (None, CORE) or (found and frame.f_code.co_name == "<module>"):
                break
            frame = frame.f_back
        return owner

    def _scan(self) -> None:
        """Look through the owners' modules, for what was imported before we could watch."""
        for module in filter(None, list(sys.modules.values())):
            owner = self._packages.owner_of(getattr(module, "__name__", "") or "")
            if owner is None:
                continue
            for value in list(vars(module).values()):
                if isinstance(value, sa.Table):
                    self._holders.setdefault(value, set()).add(owner)
                elif isinstance(value, type):
                    self._note_class(value)

    def _note_class(self, value: type) -> None:
        mapper = vars(value).get("__mapper__")
        table = getattr(mapper, "local_table", vars(value).get("__table__"))
        inherits = getattr(mapper, "inherits", None)
        if not isinstance(table, sa.Table) or getattr(inherits, "local_table", None) is table:
            return
        owner = self._packages.owner_of(value.__module__)
        if owner is not None:
            self._class_owners[table] = owner
