"""What one owner made by the record, and others count on all the same.

A plugin's table may have become the core's since: a revision of the core creates it where it is not
there yet, or the core's models have it. The record still names who made it. As far as sources and
models tell, such a thing is in others' hands when its maker goes or is reverted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.objects import Kind, ObjectChanges, OwnedObject, TableName
from anabranch.operations import Operation, read_operations
from anabranch.revision import CORE, RevisionKey
from anabranch.spelling import Spelling
from anabranch.statements import created, folded

if TYPE_CHECKING:
    from anabranch.authoring.ownership import Models
    from anabranch.reading import Reading

_KINDS: dict[str, Kind] = {
    "table": "table",
    "column": "column",
    "index": "index",
    "unique_constraint": "constraint",
    "check_constraint": "constraint",
    "foreign_key": "constraint",
    "exclude_constraint": "constraint",
    "constraint": "constraint",
}
Thing = tuple[TableName, Kind, str]
"""A table or what is on it, spelt so that it can be compared."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A recorded object that is another owner's too.

    :ivar item: as it is recorded.
    :ivar owner: who counts on it.
    :ivar reason: what tells so, in words.
    """

    item: OwnedObject
    owner: str
    reason: str


def find_claims(
    reading: Reading,
    models: Models,
    objects: Iterable[OwnedObject],
    owners: Collection[str],
    spelling: Spelling,
) -> tuple[Claim, ...]:
    """Find what *owners* are recorded to have made, and others that are applied count on.

    An applied revision counts on what it creates and no later one of its owner drops; that it was
    there already is what the revision then found. Of the models the core's count: a plugin's may
    hold a copy of what it only refers to. Computed names are not seen.
    """
    theirs = [item for item in objects if item.owner in owners]
    names = {item.table.name for item in theirs}
    created_by = dict(_creators(reading, names, owners, spelling))
    modelled = set(_modelled(models, {spelling.table(item.table) for item in theirs}, spelling))
    is_core_applied = CORE not in owners and any(key.owner == CORE for key in reading.applied)
    taking_part = {owner.name for owner in reading.installation.discovery.owners}
    found: list[Claim] = []
    for item in theirs:
        thing = thing_of(item, spelling)
        if key := created_by.get(thing):
            found.append(Claim(item, key.owner, f"{key} creates it too"))
        # Whose a column is, the models tell for sure only where its maker's are not loaded.
        elif (
            thing in modelled
            and is_core_applied
            and (item.kind == "table" or item.owner not in taking_part)
        ):
            found.append(Claim(item, CORE, "the core's models have it"))
    return tuple(found)


def handed_over(objects: Iterable[OwnedObject], claims: Collection[Claim]) -> list[OwnedObject]:
    """Return *objects* as they are once those have them who claim them.

    What its maker put on a table goes with it. No revision made them for their new owner.
    """
    heirs = {claim.item: claim.owner for claim in claims}
    tables = {item.table: (item.owner, heirs[item]) for item in heirs if item.kind == "table"}
    after: list[OwnedObject] = []
    for item in objects:
        maker, heir = tables.get(item.table, ("", ""))
        heir = heirs.get(item) or (heir if item.owner == maker else "")
        after.append(replace(item, owner=heir, revision="") if heir else item)
    owner_of = {item.table: item.owner for item in after if item.kind == "table"}
    return [
        item
        for item in after
        if item.kind in ("table", "column") or item.owner != owner_of.get(item.table)
    ]


def handover(objects: Collection[OwnedObject], claims: Collection[Claim]) -> ObjectChanges:
    """Return what :func:`handed_over` changes in the record."""
    before, after = set(objects), set(handed_over(objects, claims))
    return ObjectChanges(tuple(before - after), tuple(after - before))


def thing_of(item: OwnedObject, spelling: Spelling) -> Thing:
    """Return what *item* is the record of."""
    table = spelling.table(item.table)
    return table, item.kind, table.name if item.kind == "table" else spelling.part(item.name)


def _creators(
    reading: Reading, names: Collection[str], owners: Collection[str], spelling: Spelling
) -> Iterator[tuple[Thing, RevisionKey]]:
    """Yield what applied revisions of others create in tables with one of *names*, and keep."""
    graph = reading.graph
    made: dict[tuple[str, Thing], RevisionKey] = {}
    for key in graph.order:
        if key.owner in owners or key not in reading.applied or key not in graph.installed:
            continue
        revision = graph.revisions[key]
        for operation in read_operations(revision) if _mentions(revision.path, names) else ():
            for verb, thing in changed_by(operation, spelling):
                if verb != "drop":
                    made[key.owner, thing] = key
                elif thing[1] == "table":
                    made = {
                        (owner, other): by
                        for (owner, other), by in made.items()
                        if (owner, other[0]) != (key.owner, thing[0])
                    }
                else:
                    made.pop((key.owner, thing), None)
    for (_, thing), key in made.items():
        yield thing, key


def _mentions(path: str, names: Collection[str]) -> bool:
    """Tell whether the file speaks of one of *names*, which is cheaper than to take it apart."""
    try:
        source = Path(path).read_bytes()
    except OSError:
        return False
    source = source.lower()
    return any(folded(name).encode() in source for name in names)


def changed_by(operation: Operation, spelling: Spelling) -> Iterator[tuple[str, Thing]]:
    """Yield what *operation* creates or drops."""
    sql = operation.sql
    verb, _, what = operation.verb.partition("_")
    table = spelling.table(TableName(operation.schema, operation.table), sql)
    if operation.verb == "rename_table":
        yield "drop", (table, "table", table.name)
    elif verb in ("create", "add", "drop") and what in _KINDS:
        kind = _KINDS[what]
        name = table.name if kind == "table" else spelling.part(operation.name, sql)
        yield verb, (table, kind, name)
    elif sql:
        kind_made, *made = created(sql)
        if kind_made == "TABLE":
            table = spelling.table(TableName(*made), sql)
            yield "create", (table, "table", table.name)


def _modelled(models: Models, tables: Collection[TableName], spelling: Spelling) -> Iterator[Thing]:
    """Yield what the core's models have of *tables*."""
    for table in models.tables():
        name = spelling.table(TableName(table.schema or "", table.name))
        if name in tables and models.told_owner(table) == CORE:
            yield name, "table", name.name
            for kind, part in models.parts(table):
                if models.owner_of(part) == CORE:
                    yield name, kind, spelling.part(str(part.name))
