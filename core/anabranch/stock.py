"""Serve stock Alembic: show it all owners' revisions, and record what it does.

It runs them in the canonical order. What it applies or reverts is recorded in the same
transaction; what it stamps is taken over by the next command of ours.
"""

from __future__ import annotations

import pkgutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap
from alembic.util import CommandError

from anabranch.bookkeeping import refresh_projection
from anabranch.discovery import Owner
from anabranch.environment import use_metadata
from anabranch.errors import AnabranchError
from anabranch.graph import Graph
from anabranch.listening import Listener
from anabranch.locking import user_name
from anabranch.manager import MigrationManager
from anabranch.models import core_metadata, owner_metadata
from anabranch.reading import Reading, new_row
from anabranch.recorder import Event, now
from anabranch.references import added, broken_references, in_words
from anabranch.revision import RevisionKey
from anabranch.scripts import load_script
from anabranch.tracking import ObjectTracker


def serve(config: Config, script: ScriptDirectory, context: Any) -> None:
    """Run the Alembic command that is under way, on the deployment that *config* names.

    :param context: ``alembic.context``, which stands for Alembic's ``EnvironmentContext``.

    :raises CommandError: for every error of ours, since Alembic shows that without a traceback.
    """
    try:
        manager = _manager(config)
        home = Path(config.config_file_name or ".").parent  # not where somebody stands
        deployment = home / (config.get_alembic_option("anabranch_deployment") or ".")
        if context.is_offline_mode():
            raise CommandError("Offline mode is not supported here: the plan depends on the state.")
        access = manager.open(deployment)
        listener = Listener(
            waiting=lambda holder: config.print_stdout(
                "Waiting for the migration lock, held by %s.", holder
            )
        )
        with access.locked(listener=listener) as connection:
            refresh_projection(access.recorder, connection, access.read_locked(connection))
            reading = access.read_locked(connection)
            script.revision_map = RevisionMap(
                lambda: _scripts(reading, core_metadata(manager.metadata), context.get_context)
            )
            recording = _Recording(manager, reading, connection)
            context.configure(connection=connection)  # makes the command's own function known
            context.configure(
                connection=connection,
                fn=_in_order(context.get_context().opts["fn"], reading),
                target_metadata=core_metadata(manager.metadata),
                render_as_batch=True,
                transactional_ddl=True,
                transaction_per_migration=access.database.dialect != "sqlite",
                version_table=manager.recorder.version_table.name,
                version_table_schema=manager.recorder.schema,
                on_version_apply=recording.note,
            )
            broken_before = broken_references(connection)
            connection.rollback()
            with recording.tracker.watching(), context.begin_transaction():
                context.run_migrations()
                if broken := added(broken_references(connection), broken_before):
                    raise CommandError(f"Foreign keys are broken: {in_words(broken)}. Rolled back.")
    except AnabranchError as error:
        raise CommandError(f"{error.what} {error.remedy}".strip()) from error


def _manager(config: Config) -> MigrationManager:
    name = config.get_alembic_option("anabranch_app") or ""
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(
            f"anabranch_app = {name} cannot be imported: {error}. "
            "It names the application's MigrationManager as module:attribute."
        ) from error
    if not isinstance(found, MigrationManager):
        raise CommandError(f"anabranch_app = {name} is no MigrationManager.")
    return found


def _scripts(
    reading: Reading, metadata: sa.MetaData, context: Callable[[], MigrationContext]
) -> list[Script]:
    """Return Alembic's view of the installed revisions: references resolved, none redundant.

    Each runs with its owner's ``MetaData``, as under ``init-db``.

    :param metadata: the core's.
    :param context: returns the one that the scripts run in.
    """
    owners_of = reading.installation.discovery.get
    graph = reading.graph
    owners: dict[str, RevisionKey] = {}
    scripts: list[Script] = []
    for key in graph.order:
        if key not in graph.installed:
            continue
        if (other := owners.setdefault(key.id, key)) != key:
            raise CommandError(
                f"{other} and {key} have the same id, which Alembic cannot tell apart."
            )
        revision = graph.revisions[key]
        down = _present(graph, graph.edges.down.get(key, ()))
        kept = graph.maximal(_present(graph, graph.declared(key)))
        module: Any = load_script(revision)
        module.down_revision = tuple(parent.id for parent in down) or None
        needs = _present(graph, graph.edges.depends.get(key, ()))
        module.depends_on = tuple(parent.id for parent in needs if parent in kept)
        module.branch_labels = revision.branch_labels
        owner = owners_of(key.owner)
        for name in ("upgrade", "downgrade"):
            if owner is not None and callable(function := getattr(module, name, None)):
                setattr(module, name, _prepared(function, owner, metadata, context))
        scripts.append(Script(module, key.id, revision.path))
    return scripts


def _present(graph: Graph, keys: Iterable[RevisionKey]) -> list[RevisionKey]:
    """Return *keys*; for those whose files are gone, what they needed in their turn."""
    found: dict[RevisionKey, None] = {}
    for key in keys:
        there = [key] if key in graph.installed else _present(graph, graph.declared(key))
        found |= dict.fromkeys(there)
    return list(found)


def _in_order(command: Callable[..., Any], reading: Reading) -> Callable[..., Any]:
    """Let the steps of *command* run in the canonical order, where Alembic knows several.

    It does not know that a plugin's first revision may silently need the core's.
    """
    graph = reading.graph
    places = {key.id: place for place, key in enumerate(graph.order) if key in graph.installed}
    keys = {key.id: key for key in graph.installed}

    def ordered(heads: Any, context: MigrationContext) -> Iterable[Any]:
        steps = list(command(heads, context))
        if not all(isinstance(step, RevisionStep) for step in steps) or len(steps) < 1:
            return steps
        up = steps[0].is_upgrade
        steps.sort(key=lambda step: places[step.revision.revision], reverse=not up)
        if up:
            there = reading.applied | {keys[step.revision.revision] for step in steps}
            for step in steps:
                key = keys[step.revision.revision]
                for parent in graph.predecessors(key):
                    if parent not in there:
                        raise CommandError(f"{key} needs {parent}: upgrade to that one first.")
        return steps

    return ordered


def _prepared(
    function: Callable[[], object],
    owner: Owner,
    metadata: sa.MetaData,
    context: Callable[[], MigrationContext],
) -> Callable[[], None]:
    """Let *function* run with the naming convention of its owner, which is an input of it."""

    def run() -> None:
        use_metadata(context(), owner_metadata(owner, metadata))
        function()

    return run


class _Recording:
    """Notes Alembic's steps in our tables, in the transaction of each."""

    def __init__(
        self, manager: MigrationManager, reading: Reading, connection: sa.Connection
    ) -> None:
        self._recorder = manager.recorder
        self._reading = reading
        self._keys = {key.id: key for key in reading.graph.installed}
        self._projected = set(reading.projection)
        self._actor = f"{user_name()}@{socket.gethostname()}"
        self.tracker = ObjectTracker(
            connection, self._recorder.owned(connection), self._recorder.table_names
        )
        connection.rollback()

    def note(self, ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG002
        """Record one step; the signature is Alembic's ``on_version_apply``."""
        if step.is_stamp:
            return
        connection = ctx.connection
        key = self._keys[step.up_revision_id]
        owner = self._reading.installation.discovery.get(key.owner)
        event, distribution, version = "reverted", "", ""
        if owner is not None:
            distribution, version = owner.distribution, owner.version
        if step.is_upgrade:
            event = "applied"
            row = new_row(self._reading.graph, key, distribution, version, now())
            self._recorder.record_applied(connection, [row])
        else:
            self._recorder.forget(connection, [key])
        self._recorder.record_events(
            connection,
            [
                Event(
                    event,
                    now(),
                    "alembic",
                    key.owner,
                    key.id,
                    distribution,
                    version,
                    0.0,
                    self._actor,
                    self._reading.graph.revisions[key].message,
                )
            ],
        )
        self._recorder.record_objects(connection, self.tracker.finish(key))
        shown = {self._keys[id_] for id_ in heads}
        self._recorder.project(connection, shown, was=self._projected, rows=heads, ids=heads)
        self._projected = shown
