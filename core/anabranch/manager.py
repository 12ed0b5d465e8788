"""``MigrationManager`` wires the rooms; it is the one object an application holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from anabranch.access import Access
from anabranch.books import ALEMBICS_TABLE, BookTables
from anabranch.database import Database
from anabranch.deployment import Deployment, create_deployment, read_deployment
from anabranch.discovery import Discovery, Owner, discover, distribution_of
from anabranch.errors import PendingError, UsageError
from anabranch.listening import SILENT, Listener
from anabranch.names import HEADS, normalise
from anabranch.outcomes import Upgrade
from anabranch.upgrading import UpgradeOptions, require_digest, run_upgrade
from anabranch.urls import masked, parse_url
from anabranch.wording import counted
from anabranch_plugins_api import MigrationSource

if TYPE_CHECKING:
    import click

    from anabranch.adopting import Takeover
    from anabranch.authoring import NewRevision
    from anabranch.authoring.checking import Check
    from anabranch.backup import Backup
    from anabranch.downgrading import Downgrade, Host
    from anabranch.planning import Plan
    from anabranch.purging import Departure
    from anabranch.reading import Reading, Status
    from anabranch.recorder import Event, Recorder
    from anabranch.rehearsing import Rehearsal
    from anabranch.repairing import Offer
    from anabranch.restoring import Restored
    from anabranch.sqlscript import SqlScript
    from anabranch.stamping import Stamp
    from anabranch.transactions import Mode

Target = str | os.PathLike[str] | sa.URL | sa.Engine | sa.Connection
"""A deployment's directory, a database URL, an engine, or a connection without a transaction."""


class MigrationManager:
    """Finds an application's owners, and plans, runs and describes their migrations.

    Nothing is discovered, imported or connected to before a method is called.

    :param name: the application's name: the entry-point groups and the environment variables of
        its deployments begin with it.
    :param metadata: the core's ``MetaData``, its declarative base, or ``"module:attribute"``.
    :param migrations: the package or folder that holds the core's ``versions/``.
    :param models: further modules of the core to import before models are compared; classes and
        tables are taken too, since having them means that they are imported.
    :param plugins: plugin objects with hooks that no entry point declares.
    :param database_url: a function from a deployment's directory to its database URL, for
        applications that keep it elsewhere than in ``config.toml``.
    :param version_table: the name of Alembic's table; with another than ``alembic_version`` the
        names of our tables begin with it, so that two applications can share a schema.
    :param schema: the schema of that table and ours; None for the connection's own.
    """

    def __init__(
        self,
        name: str,
        *,
        metadata: Any,
        migrations: str | os.PathLike[str],
        models: Sequence[Any] = (),
        plugins: Sequence[object] = (),
        database_url: Callable[[Path], str] | None = None,
        version_table: str = ALEMBICS_TABLE,
        schema: str | None = None,
    ) -> None:
        self.name = name
        self.metadata = metadata
        self._migrations = migrations
        self._models = _modules(models)
        self._plugins = tuple(plugins)
        self._database_url = database_url
        self._tables = BookTables(version_table, schema)

    # -- what an operator does

    def create(
        self, directory: str | os.PathLike[str], *, digest: str | None = None
    ) -> tuple[Path, ...]:
        """Make *directory* a deployment if it is none yet; return the files created.

        :param digest: create nothing unless the plan for it has this digest.
        :raises RefusedError: if it has another.
        """
        if self._database_url is not None:
            return ()

        def allow(new: Deployment) -> None:
            if digest is not None:
                database = Database.of(parse_url(new.database_url, new.directory))
                reading = self._access(database, new).read()
                reading.require_sound()
                require_digest(reading.plan(), digest)

        return create_deployment(self.name, Path(directory), allow)

    def plan(self, target: Target, to: str | Sequence[str] = HEADS) -> Plan:
        """Work out which revisions would run, in order. Reads the database, writes nothing.

        :param to: ``heads``, ``owner@head``, ``owner@id``, or several of them.
        :raises IntegrityError: if a fault would stop the run.
        """
        reading = self.read(target)
        reading.require_sound()
        return reading.plan(to)

    def upgrade(
        self,
        target: Target,
        to: str | Sequence[str] = HEADS,
        *,
        lock_timeout: float | None = None,
        digest: str | None = None,
        transaction: Mode = "auto",
        strict: bool = False,
        backup: bool | None = None,
        allow_destructive: bool = False,
        rehearse: bool = False,
        keep_going: bool = False,
        take_up: bool = False,
        listener: Listener = SILENT,
    ) -> Upgrade:
        """Apply everything that is pending, in the canonical order.

        Looks without a lock first: with nothing pending and nothing wrong it is done. Else it takes
        the database's run lock, reads everything again and runs what is pending then.

        :param lock_timeout: seconds to wait for another migrator; by default the deployment's
            ``lock_timeout``, or 300.
        :param digest: run only the plan that has this digest.
        :param transaction: ``run`` for one transaction, ``revision`` for one each, or ``auto``:
            one on SQLite, one each elsewhere. A revision that cannot share one never does.
        :param strict: take warnings for faults that stop the run.
        :param backup: whether to make a backup first; by default as the deployment's configuration
            says, or yes. A SQLite database without a deployment is copied into the folder
            ``backups`` beside its file.
        :param rehearse: rehearse first, and run only if that goes well; see :meth:`rehearse`.
        :param keep_going: after a revision failed, go on with what does not need it, each in a
            transaction of its own, on SQLite too.
        :param take_up: whether a plugin that was purged, and comes back, leaves what that purge
            kept for others as it is: statements of revisions that had run before it are left out as
            far as they change that.
        :param allow_destructive: whether revisions may lose rows that exist. Without it one that
            would, and does not say so by ``destructive = "reason"``, stops the run.
        :param listener: told what is done while it is done.
        :raises DestructiveError: if a revision would lose rows, or rows are in its way.
        :raises BackupError: if no backup can be made.
        :raises IntegrityError: if a fault stops the run before it starts.
        :raises RevisionError: if a revision fails.
        :raises IncompleteError: if some failed and *keep_going* was asked for; it tells of all.
        :raises LockError: if the lock is not obtained in time.
        """
        options = UpgradeOptions(
            to=to,
            lock_timeout=lock_timeout,
            digest=digest,
            transaction=transaction,
            keep_going=keep_going,
            take_up=take_up,
            strict=strict,
            backup=backup,
            allow_destructive=allow_destructive,
            rehearse=rehearse,
            listener=listener,
        )
        return run_upgrade(self.open(target), self.metadata, self._plugins, options)

    def downgrade(
        self,
        target: Target,
        to: str,
        *,
        cascade: bool = False,
        transaction: Mode = "auto",
        lock_timeout: float | None = None,
        backup: bool | None = None,
        agree: Callable[[Downgrade], None] = lambda downgrade: None,  # noqa: ARG005
        listener: Listener = SILENT,
    ) -> Downgrade:
        """Revert what comes after a revision, and whatever needs that. Loses what it holds.

        Another owner's tables are never changed: a downgrade() that does is stopped and rolled
        back.

        :param to: ``owner@id``, ``owner@base`` for before its first, ``owner@-2`` for two back.
        :param cascade: take along other owners' revisions.
        :param transaction: as for :meth:`upgrade`.
        :param backup: as for :meth:`upgrade`.
        :param agree: told what would be reverted; an error it raises stops the downgrade.
        :raises IrreversibleError: if a revision is known to have no way back; nothing ran.
        :raises DependedOnError: if other owners' revisions would be reverted too.
        :raises RevisionError: if one fails.
        """
        from anabranch.downgrading import DowngradeOptions, run_downgrade

        options = DowngradeOptions(
            cascade=cascade,
            transaction=transaction,
            lock_timeout=lock_timeout,
            backup=backup,
            agree=agree,
            listener=listener,
        )
        return run_downgrade(self.open(target), self._host, to, options)

    def adopt(
        self,
        target: Target,
        *,
        plugin: str | None = None,
        revision: str | None = None,
        accept_differences: bool = False,
        scratch: str | None = None,
        lock_timeout: float | None = None,
        listener: Listener = SILENT,
    ) -> Takeover:
        """Take over tables that are there without a record: ``create_all()`` or another tool.

        Runs the revisions in a scratch database of the same kind, compares tables by reflection
        (columns, keys, constraints, indexes; no triggers, views or privileges), and records the
        revisions and whose each table is.

        :param plugin: whose tables; None for those of everybody who takes part.
        :param revision: what they are of, instead of the last; of the core without *plugin*.
        :param accept_differences: record it even so.
        :param scratch: the URL of an empty database to build in; else one is created and dropped.
        :raises DifferenceError: if the tables are not what the revisions make; all is named.
        """
        from anabranch.adopting import AdoptOptions, run_adopt

        options = AdoptOptions(
            plugin=plugin,
            revision=revision,
            accept_differences=accept_differences,
            scratch=parse_url(scratch, Path.cwd()) if scratch else None,
            lock_timeout=lock_timeout,
            listener=listener,
        )
        return run_adopt(self.open(target), self._host, options)

    def repairs(self, target: Target) -> tuple[Offer, ...]:
        """Say what :meth:`repair` could repair. Writes nothing."""
        from anabranch.repairing import find_offers

        return find_offers(self.open(target))

    def repair(
        self,
        target: Target,
        *,
        reason: str,
        edited: Sequence[str] = (),
        missing: Sequence[str] = (),
        inserted: Sequence[str] = (),
        leftovers: Sequence[str] = (),
        version_table: bool = False,
        lock_timeout: float | None = None,
        listener: Listener = SILENT,
    ) -> tuple[Offer, ...]:
        """Accept what a check keeps finding wrong; the journal keeps the reason.

        :param edited: applied revisions (``owner@id``) whose new text is taken for what ran.
        :param missing: applied revisions that are missed no more.
        :param inserted: revisions put behind applied ones, recorded as applied without running.
        :param leftovers: copies of tables that a cut-off rebuild left: dropped if the table has all
            their rows, or made the table where that is gone.
        :param version_table: write Alembic's table anew from our records.
        :raises UsageError: if there is nothing of the kind to repair, or no reason.
        :raises RefusedError: if rows would be lost.
        """
        from anabranch.repairing import RepairOptions, run_repair

        options = RepairOptions(
            reason=reason,
            edited=edited,
            missing=missing,
            inserted=inserted,
            leftovers=leftovers,
            version_table=version_table,
            lock_timeout=lock_timeout,
            listener=listener,
        )
        return run_repair(self.open(target), options)

    def stamp(
        self,
        target: Target,
        *to: str,
        lock_timeout: float | None = None,
        agree: Callable[[Stamp], None] = lambda stamp: None,  # noqa: ARG005
        listener: Listener = SILENT,
    ) -> Stamp:
        """Record that a database stands at a revision, without running or comparing anything.

        What the revision needs is recorded as applied too, and what follows it in its owner's line
        as not applied.

        :param to: ``owner@id``, ``owner@head``, ``owner@base``, ``heads``, or several of them.
        :param agree: told what would be recorded; an error it raises stops the stamp.
        :raises DependedOnError: if something that stays applied needs what would not.
        """
        from anabranch.stamping import StampOptions, run_stamp

        options = StampOptions(lock_timeout=lock_timeout, agree=agree, listener=listener)
        return run_stamp(self.open(target), to, options)

    def purge(
        self,
        target: Target,
        plugin: str,
        *,
        cascade: bool = False,
        downgrades: bool = True,
        lock_timeout: float | None = None,
        backup: bool | None = None,
        agree: Callable[[Departure], None] = lambda departure: None,  # noqa: ARG005
        listener: Listener = SILENT,
    ) -> Departure:
        """Take a plugin out of a database, installed or not: tables, columns, state. Rows go too.

        Everything that others own stays as it is. On SQLite and PostgreSQL it is all or nothing.

        :param cascade: take along the plugins that depend on it.
        :param downgrades: run the plugin's own downgrades first, if it is installed and all of its
            revisions have one; else what is recorded is dropped without them.
        :param backup: as for :meth:`upgrade`.
        :param agree: told what would go, before anything does; an error it raises stops the purge.
        :raises UsageError: if the plugin has nothing in the database, or is the core.
        :raises DependedOnError: if others need it.
        """
        from anabranch.purging import DepartureOptions, run_purge

        options = DepartureOptions(
            cascade=cascade,
            downgrades=downgrades,
            lock_timeout=lock_timeout,
            backup=backup,
            agree=agree,
            listener=listener,
        )
        return run_purge(self.open(target), self._host, plugin, options)

    def forget(
        self,
        target: Target,
        plugin: str,
        *,
        lock_timeout: float | None = None,
        agree: Callable[[Departure], None] = lambda departure: None,  # noqa: ARG005
        listener: Listener = SILENT,
    ) -> Departure:
        """Take a plugin out of our records only: its tables and rows stay, and are nobody's.

        :param agree: told what would be forgotten; an error it raises stops it.
        :raises DependedOnError: if others need it.
        """
        from anabranch.purging import DepartureOptions, run_forget

        options = DepartureOptions(
            cascade=False,
            downgrades=False,
            lock_timeout=lock_timeout,
            backup=False,
            agree=agree,
            listener=listener,
        )
        return run_forget(self.open(target), plugin, options)

    def rehearse(
        self,
        target: Target,
        to: str | Sequence[str] = HEADS,
        *,
        lock_timeout: float | None = None,
        digest: str | None = None,
        strict: bool = False,
        allow_destructive: bool = False,
        listener: Listener = SILENT,
    ) -> Rehearsal:
        """Run everything that is pending, and leave the database as it is.

        On SQLite all of it runs on a copy, hooks and seeds too. On PostgreSQL the revisions run in
        one transaction that is rolled back: what they lock stays locked that long, and hooks that
        follow a run and seeds are left out. What a script or a hook does elsewhere is done.

        The parameters are those of :meth:`upgrade`.

        :raises RefusedError: if it cannot be rehearsed on this database.
        :raises DestructiveError: if a revision would lose rows, or rows are in its way.
        :raises RevisionError: if a revision fails.
        """
        from anabranch.rehearsing import run_rehearsal

        options = UpgradeOptions(
            to=to,
            lock_timeout=lock_timeout,
            digest=digest,
            strict=strict,
            allow_destructive=allow_destructive,
            listener=listener,
        )
        return run_rehearsal(self.open(target), self.metadata, self._plugins, options)

    def backups(self, target: Target) -> tuple[Backup, ...]:
        """Return the backups of a SQLite database, oldest first."""
        from anabranch.restoring import list_backups

        return list_backups(self.open(target))

    def restore(
        self,
        target: Target,
        backup: str | os.PathLike[str],
        *,
        lock_timeout: float | None = None,
        listener: Listener = SILENT,
    ) -> Restored:
        """Put a backup of a SQLite database back in its place, in one transaction.

        The database as it is now is kept as a backup first. What other programs wrote since the
        backup was made goes: stop them. The journal comes back with the backup, and tells of it.

        :param backup: the name of one of :meth:`backups`, or the path of a file.
        :raises BackupError: if it is damaged, or of another database.
        :raises LockError: if the database is in use.
        :raises UsageError: if there is no such backup.
        """
        from anabranch.restoring import RestoreOptions, run_restore

        options = RestoreOptions(lock_timeout=lock_timeout, listener=listener)
        return run_restore(self.open(target), os.fspath(backup), options)

    def status(self, target: Target) -> Status:
        """Tell where a database stands, owner by owner. Writes nothing, and raises no fault."""
        from anabranch.surveying import read_status

        return read_status(self.open(target))

    def history(
        self,
        target: Target,
        *,
        owner: str | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> tuple[Event, ...]:
        """Read the journal of a database, oldest event first.

        :param owner: take only what concerns this owner, installed or not.
        :param run: take only what the run with this id did.
        :param limit: take only so many, the newest.
        """
        owner = owner and normalise(owner)
        return self.open(target).events(owner=owner, run=run, limit=limit)

    def check(self, target: Target, *, owner: str | None = None) -> Check:
        """Compare models, revisions and database, owner by owner. Changes nothing.

        An owner whose own revisions are pending is not compared; those of others do not matter.

        :param owner: look at this one only; by default at all.
        :raises PluginError: if the core's models cannot be imported.
        """
        from anabranch.authoring.checking import check_models

        return check_models(self, target, owner)

    def sql(
        self, target: Target, *, dialect: str | None = None, from_nothing: bool = False
    ) -> SqlScript:
        """Write what an upgrade would do and record as a script for the server's own client.

        Hooks, seeds, the lock and the checks of rows are not part of it. Changes nothing.

        :param dialect: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``; else the target's.
        :param from_nothing: write it for an empty database, not for the target's state.
        :raises RefusedError: if revisions read the database; all are named.
        """
        from anabranch.sqlscript import write_sql

        return write_sql(
            self.open(target), self.metadata, dialect=dialect, from_nothing=from_nothing
        )

    def plugins(self, target: Target | None = None) -> tuple[tuple[Owner, str], ...]:
        """Return every installed owner with what is wrong with it, in words, or ``disabled``.

        Imports their models and hooks, but of those that are disabled. Connects to no database.

        :param target: a deployment, whose configuration says which plugins take part.
        """
        from anabranch.models import find_broken

        if target is None:
            from anabranch.reading import read_installation

            installation = read_installation(self.discover())
        else:
            installation = self.open(target).installation
        owners, disabled = installation.discovery.owners, installation.disabled
        broken = find_broken((o for o in owners if o.name not in disabled), self.metadata)
        problems = (*installation.problems, *broken)
        return tuple(
            (
                owner,
                "disabled"
                if owner.name in disabled
                else " ".join(p.text for p in problems if p.owner == owner.name),
            )
            for owner in owners
        )

    def check_current(self, target: Target) -> None:
        """Let an application check at its start that its database is up to date.

        :raises PendingError: if revisions are pending.
        :raises IntegrityError: if something is wrong.
        """
        with self.open(target).glance() as (reading, _connection):
            if reading is None:
                return
            reading.require_sound()
            plan = reading.plan()
        if plan:
            raise PendingError(
                f"{counted(len(plan.steps), 'revision is', 'revisions are')} pending, "
                f"the first is {plan.keys[0]}.",
                pending=plan.keys,
                remedy=f"Run '{self.name} init-db' on the deployment before starting.",
            )

    # -- what a plugin author does

    def revision(
        self,
        target: Target | None = None,
        *,
        plugin: str | None = None,
        initialize: bool = False,
        message: str = "",
        report: Callable[[str], None] = lambda note: None,  # noqa: ARG005
    ) -> NewRevision | None:
        """Write the next revision of *plugin*, or of the core, from what its models say.

        Compares with the database of *target*, or without one with a scratch SQLite database built
        from the plan. Returns None, and writes nothing, where the models say nothing new.

        :param initialize: write the plugin's first revision, and its folders where missing.
        :param report: told, a sentence each, what was left out and what is to be done by hand.
        """
        from anabranch.authoring import write_revision

        with self.open(target).scrubbed() if target is not None else nullcontext():
            return write_revision(
                self, target, plugin=plugin, initialize=initialize, message=message, report=report
            )

    # -- what a host developer does

    def add_commands(self, group: click.Group) -> None:
        """Put ``init-db``, ``make-migrations`` and the group ``db`` on a click group.

        For a Typer application, put them on ``typer.main.get_command(app)`` and call that.
        """
        from anabranch.cli import add_commands

        add_commands(self, group)

    # -- what the rooms above share

    def read(self, target: Target) -> Reading:
        """Read the installation and the database of *target* together."""
        return self.open(target).read()

    def open(self, target: Target) -> Access:
        """Find out what *target* leads to, without connecting to it.

        :raises ConfigurationError: if it leads nowhere.
        """
        return self._access(*self._open(target))

    def discover(self) -> Discovery:
        """Find the installed owners. Imports no plugin."""
        distribution, version = distribution_of([self.name, *self._packages()])
        core = MigrationSource(self.name, self._migrations, self._models, distribution, version)
        return discover(self.name, core, self._sources())

    def _sources(self) -> tuple[MigrationSource, ...]:
        if not self._plugins:
            return ()
        from anabranch.hooks import Hooks

        return Hooks(self._plugins).sources()

    @property
    def core_modules(self) -> tuple[str, ...]:
        """Modules that are the core's: what they create in models is the core's too."""
        metadata = self.metadata
        named = metadata.split(":")[0] if isinstance(metadata, str) else ""
        home = metadata.__module__ if isinstance(metadata, type) else ""
        return tuple(name for name in (named, home, *self._models, *self._packages()) if name)

    @cached_property
    def recorder(self) -> Recorder:
        """The reader and writer of the bookkeeping tables."""
        from anabranch.recorder import Recorder

        return Recorder(*self._tables)

    @property
    def _host(self) -> Host:
        from anabranch.downgrading import Host

        return Host(self.metadata, self.core_modules)

    def _packages(self) -> list[str]:
        migrations = self._migrations
        return [migrations.split(".")[0]] if isinstance(migrations, str) else []

    def _access(self, database: Database, deployment: Deployment | None) -> Access:
        return Access(self.name, database, deployment, self._tables, self.discover)

    def _open(self, target: object) -> tuple[Database, Deployment | None]:
        if isinstance(target, (sa.URL, sa.Engine, sa.Connection)):
            return Database.of(target), None
        if not isinstance(target, (str, os.PathLike)):
            kind = type(target).__name__
            raise UsageError(
                f"A target is a directory, a database URL, an engine or a connection, not {kind}.",
                remedy="Migrations run synchronously: hand over the URL of a synchronous driver."
                if kind.startswith("Async")
                else "",
            )
        text = os.fspath(target)
        if "://" in text:
            return Database.of(parse_url(text, Path.cwd())), None
        directory = Path(text)
        if self._database_url is not None:
            url = parse_url(
                self._database_url(directory), directory.resolve(), "the application's own"
            )
            return Database.of(url), Deployment(directory.resolve(), masked(url))
        deployment = read_deployment(self.name, directory)
        url = parse_url(deployment.database_url, deployment.directory, deployment.url_origin)
        return Database.of(url), deployment


def _modules(models: Sequence[Any]) -> tuple[str, ...]:
    """Return the modules that *models* names or lives in; a table's is not known."""
    names: list[str] = []
    for model in models:
        if isinstance(model, str):
            names.append(model)
        elif isinstance(model, ModuleType):
            names.append(model.__name__)
        elif isinstance(model, type):
            names.append(model.__module__)
    return tuple(dict.fromkeys(names))
