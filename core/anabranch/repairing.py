"""The verb ``repair``: accept, with a reason, what a check keeps finding wrong."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.bookkeeping import actor, record_position
from anabranch.errors import RefusedError, UsageError
from anabranch.integrity import ACCEPTED_MISSING, edited, inserted, lost
from anabranch.leftovers import PREFIX
from anabranch.listening import Listener
from anabranch.reading import Reading, read_database
from anabranch.recorder import Event, now
from anabranch.revision import CORE, RevisionKey
from anabranch.wording import counted


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be repaired.

    :ivar option: of ``db repair``.
    :ivar value: what the option is given; empty if nothing.
    :ivar text: what is wrong and what the repair does, in sentences.
    """

    option: str
    value: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOptions:
    """What is asked to be repaired; see :meth:`MigrationManager.repair`."""

    reason: str
    edited: Sequence[str]
    missing: Sequence[str]
    inserted: Sequence[str]
    leftovers: Sequence[str]
    version_table: bool
    lock_timeout: float | None
    listener: Listener


def find_offers(access: Access) -> tuple[Offer, ...]:
    """Say what can be repaired in the database of *access*. Writes nothing."""
    with access.look() as (reading, connection):
        return () if connection is None else _offers(reading, connection)


def run_repair(access: Access, options: RepairOptions) -> tuple[Offer, ...]:
    """Repair what is asked for, in one transaction, and say what that was.

    :raises UsageError: if there is no reason, or there is nothing of the kind to repair.
    :raises RefusedError: if rows would be lost.
    """
    wanted = (
        *(("--accept-edited", value) for value in options.edited),
        *(("--accept-missing", value) for value in options.missing),
        *(("--accept-inserted", value) for value in options.inserted),
        *(("--leftover", value) for value in options.leftovers),
        *((("--version-table", ""),) if options.version_table else ()),
    )
    if not options.reason.strip():
        raise UsageError(
            "A repair needs a reason.", remedy="Say why with --reason; the journal keeps it."
        )
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = read_database(access.installation, access.recorder, connection)
        offers = _offers(reading, connection)
        connection.rollback()
        chosen = tuple(dict.fromkeys(_chosen(offers, *each) for each in wanted))
        with connection.begin():
            for offer in chosen:
                if offer.option == "--leftover":
                    _settle(connection, offer.value)
            _record(access, connection, reading, chosen, options.reason)
    return chosen


def _chosen(offers: Sequence[Offer], option: str, value: str) -> Offer:
    """Return what an option means: a revision may be cut short, its owner left out.

    :raises UsageError: if that is nothing on offer, or more than one thing.
    """
    given = f"{option} {value}".strip()
    found = [offer for offer in offers if (offer.option, offer.value) == (option, value)]
    if not found and option.startswith("--accept") and value:
        found = [
            offer
            for offer in offers
            if offer.option == option
            and any(part.startswith(value) for part in (offer.value, offer.value.partition("@")[2]))
        ]
    if not found:
        raise UsageError(
            f"There is nothing to repair with {given}.",
            remedy="'db repair' without options says what there is.",
        )
    if len(found) > 1:
        raise UsageError(
            f"{given} may mean {', '.join(offer.value for offer in found)}.",
            remedy="Say more of the revision.",
        )
    return found[0]


def _offers(reading: Reading, connection: sa.Connection) -> tuple[Offer, ...]:
    graph, applied = reading.graph, reading.state.applied
    offers = [
        Offer(
            "--accept-edited",
            str(key),
            f"{key} was edited after it was applied. Its new text is taken for what ran.",
        )
        for key in edited(graph, applied)
    ]
    offers += [
        Offer(
            "--accept-missing",
            str(key),
            f"{key} is applied, and {key.owner} as installed does not have it. It stays applied, "
            "and is missed no more.",
        )
        for owner in reading.installation.discovery.owners
        for key in lost(graph, applied, owner.name)
    ]
    offers += [
        Offer(
            "--accept-inserted",
            str(parent),
            f"{parent} was put behind {key}, which is applied. It is recorded as applied and does "
            "not run.",
        )
        for key, parent in inserted(graph, applied)
    ]
    there = set(sa.inspect(connection).get_table_names())
    for name in sorted(there):
        table = name.removeprefix(PREFIX)
        if table != name:
            offers.append(
                Offer(
                    "--leftover",
                    name,
                    f"A rebuild of {table} was cut off. The copy is dropped, once every row of it "
                    f"was found in {table}."
                    if table in there
                    else f"A rebuild of {table} was cut off after the old table was dropped. The "
                    f"copy becomes {table}; its indexes are to be made again.",
                )
            )
    if any(problem.code == "AB113" for problem in reading.problems) and reading.state.prepared:
        offers.append(
            Offer(
                "--version-table",
                "",
                "Alembic's table says what cannot be. It is written anew from our records.",
            )
        )
    return tuple(offers)


def _settle(connection: sa.Connection, copy: str) -> None:
    """Drop a rebuild's *copy* where its table has all of its rows; else let it be the table.

    :raises RefusedError: if the copy has rows that the table does not.
    """
    inspector = sa.inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    table = copy.removeprefix(PREFIX)
    if not inspector.has_table(table):
        connection.exec_driver_sql(f"ALTER TABLE {quote(copy)} RENAME TO {quote(table)}")
        return
    names = {column["name"] for column in inspector.get_columns(table)}
    shared = [c["name"] for c in inspector.get_columns(copy) if c["name"] in names]
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in shared]
    only = sa.except_(
        sa.select(*columns).select_from(sa.table(copy)),
        sa.select(*columns).select_from(sa.table(table)),
    ).subquery()
    rows = connection.scalar(sa.select(sa.func.count()).select_from(only)) if shared else 1
    if rows:
        raise RefusedError(
            f"{copy} has {counted(rows, 'row', 'rows')} that {table} does not have.",
            remedy="Look at them, and drop the copy yourself when nothing in it is needed.",
        )
    connection.exec_driver_sql(f"DROP TABLE {quote(copy)}")


def _record(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    chosen: Collection[Offer],
    reason: str,
) -> None:
    recorder, at, run = access.recorder, now(), uuid.uuid4().hex[:12]
    applied = set(reading.state.applied)
    events: list[Event] = []
    for offer in chosen:
        is_revision = offer.option.startswith("--accept")
        key = RevisionKey.parse(offer.value) if is_revision else RevisionKey(CORE, "")
        if offer.option == "--accept-inserted":
            applied.add(key)
        elif is_revision:
            known = reading.graph.revisions[key].checksum
            missing = offer.option == "--accept-missing"
            recorder.record_checksum(connection, key, ACCEPTED_MISSING if missing else known)
        detail = f"{f'{offer.option} {offer.value}'.strip()}: {reason}"
        events.append(Event("repaired", at, run, key.owner, key.id, actor=actor(), detail=detail))
    record_position(recorder, connection, reading, frozenset(applied), events)
