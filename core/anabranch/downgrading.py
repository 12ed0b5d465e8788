"""The verb ``downgrade``: look, ask, lock, look again, and revert."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.backup import backed_up
from anabranch.claims import find_claims, handed_over
from anabranch.errors import DependedOnError, IrreversibleError, RefusedError
from anabranch.estate import count_rows
from anabranch.listening import Listener
from anabranch.objects import OwnedObject, TableName
from anabranch.planning import Plan
from anabranch.reading import Reading
from anabranch.reversal import Reversal, make_reversal
from anabranch.revision import CORE, RevisionKey
from anabranch.spelling import Spelling
from anabranch.structure import all_tables
from anabranch.transactions import Mode

if TYPE_CHECKING:
    from anabranch.authoring.ownership import Models
    from anabranch.executor import Executor
    from anabranch.guards import Guard
    from anabranch.trespass import TrespassGuard


@dataclass(frozen=True, slots=True)
class Downgrade:
    """What a downgrade takes back, or took back.

    :ivar rows: the tables that the reverted revisions made, each with its number of rows.
    :ivar left: what they made and their downgrade() left there; known when it is over.
    """

    reversal: Reversal
    rows: tuple[tuple[TableName, int], ...]
    duration: float = 0.0
    left: tuple[OwnedObject, ...] = ()

    @property
    def keys(self) -> tuple[RevisionKey, ...]:
        return self.reversal.plan.keys


@dataclass(frozen=True, slots=True, kw_only=True)
class DowngradeOptions:
    """How a downgrade is asked to run; see :meth:`MigrationManager.downgrade`."""

    cascade: bool
    transaction: Mode
    lock_timeout: float | None
    backup: bool | None
    agree: Callable[[Downgrade], None]
    listener: Listener


@dataclass(frozen=True, slots=True)
class Host:
    """What is known of the core beside its revisions, as ``MigrationManager`` was given it."""

    metadata: Any
    modules: tuple[str, ...]


def run_downgrade(access: Access, host: Host, target: str, options: DowngradeOptions) -> Downgrade:
    """Revert in the database of *access* what *target* says."""
    started = time.monotonic()
    with access.look() as (reading, connection):
        reading.require_sound(())
        seen = _downgrade(access, reading, connection, target)
    _allow(reading, seen.reversal, cascade=options.cascade)
    options.agree(seen)
    with access.locked(timeout=options.lock_timeout, listener=options.listener) as connection:
        reading = access.read_locked(connection, {key.owner for key in seen.keys})
        reversal = make_reversal(reading.graph, reading.applied, target)
        if reversal.plan.keys != seen.keys:
            raise RefusedError(
                "What would be reverted changed while it was looked at.",
                remedy="Run the same command again, and look again.",
            )
        if seen.keys:
            guard = guard_of(access, connection, reading, host, reversal.plan)
            executor = executor_of(access, connection, reading, host, options.listener, guard)
            with backed_up(
                access,
                connection,
                asked=options.backup,
                run=executor.run_id,
                notice=options.listener.notice,
            ):
                executor.run(reversal.plan, options.transaction)
        left = [item for item in access.recorder.objects(connection) if item.key in seen.keys]
        connection.rollback()
    return Downgrade(reversal, seen.rows, time.monotonic() - started, tuple(left))


def guard_of(
    access: Access, connection: sa.Connection, reading: Reading, host: Host, plan: Plan
) -> TrespassGuard:
    """Make the guard of a run that reverts *plan*.

    Who owns what the record tells, and of tables that another tool's run left unrecorded the
    models; what others count on is not the owners' who are reverted.
    """
    from anabranch.trespass import TrespassGuard

    objects = list(access.recorder.objects(connection))
    models = models_of(access, connection, host)
    recorded = {item.table for item in objects if item.kind == "table"}
    schemas = {table.schema for table in recorded}
    unknown = all_tables(connection, schemas, access.recorder.table_names) - recorded
    for name, table in models.by_name().items() if unknown else ():
        if name in unknown:
            owner = models.owner_of_table(table)
            objects.append(OwnedObject("table", name, name.name, owner, ""))
            objects += [
                OwnedObject(kind, name, str(part.name), models.owner_of(part), "")
                for kind, part in models.parts(table)
                if models.owner_of(part) != owner
            ]
    owners = {key.owner for key in plan.keys}
    claims = find_claims(reading, models, objects, owners, Spelling.of(connection))
    connection.rollback()
    return TrespassGuard(connection, handed_over(objects, claims), access.recorder.table_names)


def models_of(access: Access, connection: sa.Connection, host: Host) -> Models:
    """Load the models of the core and of the plugins that there are.

    :raises PluginError: if the core's cannot be imported.
    """
    from anabranch.authoring.ownership import Models

    models = Models.load(
        access.installation.discovery, host.metadata, wanted=CORE, core_modules=host.modules
    )
    models.default_schema = connection.dialect.default_schema_name or ""
    return models


def executor_of(
    access: Access,
    connection: sa.Connection,
    reading: Reading,
    host: Host,
    listener: Listener,
    guard: Guard,
    closing: Callable[[], None] | None = None,
) -> Executor:
    """Make the executor of a run that reverts: plugins' hooks have no part in it."""
    from anabranch.executor import Executor
    from anabranch.models import core_metadata

    return Executor(
        database=access.database,
        connection=connection,
        recorder=access.recorder,
        reading=reading,
        metadata=core_metadata(host.metadata),
        listener=listener,
        lock=access.lock,
        guards=[guard],
        closing=closing,
    )


def _downgrade(
    access: Access, reading: Reading, connection: sa.Connection | None, target: str
) -> Downgrade:
    reversal = make_reversal(reading.graph, reading.applied, target)
    if connection is None:
        return Downgrade(reversal, ())
    keys = set(reversal.plan.keys)
    objects = access.recorder.objects(connection)
    made = {item.table for item in objects if item.kind == "table" and item.key in keys}
    there = all_tables(connection, {table.schema for table in made}, access.recorder.table_names)
    return Downgrade(
        reversal, tuple((table, count_rows(connection, table)) for table in sorted(made & there))
    )


def _allow(reading: Reading, reversal: Reversal, *, cascade: bool) -> None:
    """Refuse what cannot be reverted, or would take others along unasked.

    :raises IrreversibleError: which names every such revision.
    :raises DependedOnError: which names what would be taken along.
    """
    if reversal.irreversible:
        lines = [f"{key}: {reason}" for key, reason in reversal.irreversible]
        raise IrreversibleError(
            f"This cannot be reverted: {'; '.join(lines)}.",
            remedy="Install the packages whose files are gone, or restore a backup; 'db purge' "
            "removes a whole plugin without its downgrades.",
        )
    if reversal.others and not cascade:
        needed = ", ".join(map(str, reversal.others))
        raise DependedOnError(
            f"Others need what would be reverted, and would be reverted first: {needed}.",
            remedy="Revert those first, or all of them with --cascade.",
        )
    reading.require_sound({key.owner for key in reversal.plan.keys})
