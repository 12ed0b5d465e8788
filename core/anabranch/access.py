"""One target, opened: its database, its configuration, what is installed, our records there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.books import BookTables
from anabranch.cache import HeaderCache
from anabranch.database import Database
from anabranch.deployment import DEFAULT_LOCK_TIMEOUT, Deployment
from anabranch.discovery import Discovery, Owner
from anabranch.errors import HookError, PluginError, UnreachableError
from anabranch.listening import SILENT, Listener
from anabranch.names import CORE
from anabranch.verdict import Verdict

if TYPE_CHECKING:
    from anabranch.locking import Lock
    from anabranch.reading import Installation, Reading
    from anabranch.recorder import Event, Recorder


class Access:
    """What every verb needs of a target: to look at it, and to hold its lock while it changes it.

    What is only needed where there is something to do is imported only there.

    :ivar application: the name of the application whose database it is.
    :ivar deployment: None for a target that is no directory with a configuration.
    :ivar lock: the run lock while it is held; None too for a database in memory, which has none.
    """

    def __init__(
        self,
        application: str,
        database: Database,
        deployment: Deployment | None,
        tables: BookTables,
        discover: Callable[[], Discovery],
    ) -> None:
        self.application = application
        self.database = database
        self.deployment = deployment
        self.tables = tables
        self.lock: Lock | None = None
        self._discover = discover
        self._last: Reading | None = None

    @cached_property
    def recorder(self) -> Recorder:
        """The reader and writer of our records."""
        from anabranch.recorder import Recorder

        return Recorder(*self.tables)

    @cached_property
    def discovery(self) -> Discovery:
        """Who is installed; found once."""
        return self._discover()

    @cached_property
    def disabled(self) -> frozenset[str]:
        """The plugins that the configuration leaves out."""
        if self.deployment is None:
            return frozenset()
        leaves_out = self.deployment.leaves_out
        names = (owner.name for owner in self.discovery.owners)
        return frozenset(name for name in names if name != CORE and leaves_out(name))

    @cached_property
    def _cache(self) -> HeaderCache:
        return HeaderCache.beside(self.deployment.directory if self.deployment else None)

    @cached_property
    def installation(self) -> Installation:
        """What is installed, narrowed by the configuration; read once."""
        from anabranch.reading import read_installation

        named = self.deployment.named if self.deployment else ()
        found = read_installation(self.discovery, self.disabled, named, self._cache)
        problems = (
            # A script may quote, in what it raises, what the application was configured with.
            replace(item, text=self.database.scrub(item.text)) if item.code == "AB118" else item
            for item in found.problems
        )
        return replace(found, problems=tuple(problems))

    @property
    def hooking(self) -> tuple[Owner, ...]:
        """The owners that have hooks and take part."""
        owners = self.discovery.owners
        return tuple(owner for owner in owners if owner.hooks and owner.name not in self.disabled)

    @property
    def hooks_digest(self) -> str:
        """Name the packages whose hooks take part: equal digests mean the same versions."""
        lines = (f"{o.name} {o.hooks} {o.distribution} {o.version}\n" for o in self.hooking)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    @property
    def lock_timeout(self) -> float:
        """How many seconds to wait for another migrator."""
        return self.deployment.lock_timeout if self.deployment else DEFAULT_LOCK_TIMEOUT

    def wants_backup(self, asked: bool | None) -> bool:
        """Tell whether a backup is to be made: what was *asked* for wins over the configuration."""
        if asked is not None:
            return asked
        return self.deployment is None or self.deployment.backup

    def read(self) -> Reading:
        """Read the database without a lock; raises no fault that is found in it.

        :raises UnreachableError: if it cannot be read.
        """
        with self.look() as (reading, _connection):
            return reading

    @contextmanager
    def look(self) -> Generator[tuple[Reading, sa.Connection | None], None, None]:
        """Read the database without a lock, and look further at what it holds.

        Yields no connection where there is no database yet.

        :raises UnreachableError: if it cannot be read.
        """
        with self.reach() as connection:
            yield self.read_from(connection), connection

    @contextmanager
    def glance(self) -> Generator[tuple[Reading | None, sa.Connection | None], None, None]:
        """Look as :meth:`look` does, but yield no reading where nothing is pending and nothing
        wrong, and nothing has changed since the last glance found that.

        :raises UnreachableError: if it cannot be read.
        """
        named = self.deployment.named if self.deployment else ()
        verdict = Verdict(
            self._cache, self.discovery, (self.disabled, named), self.tables, self.database.title
        )
        with self.reach() as connection:
            if connection is not None and verdict.holds(connection):
                yield None, connection
                return
            reading = self.read_from(connection)
            if reading.state.prepared and not (reading.problems or reading.stale or reading.plan()):
                verdict.keep(reading.state.digest)
            yield reading, connection

    @contextmanager
    def reach(self) -> Generator[sa.Connection | None, None, None]:
        """Connect to read; None where there is no database yet.

        :raises UnreachableError: if it cannot be read.
        """
        with self._reachable(), self.database.look() as connection:
            yield connection

    def read_from(self, connection: sa.Connection | None) -> Reading:
        """Read the database that *connection* leads to; None leads to an empty one."""
        from anabranch.reading import read_database

        installation, recorder = self.installation, self.recorder
        self._last = read_database(installation, recorder, connection, self._last)
        return self._last

    def events(
        self, *, owner: str | None = None, run: str | None = None, limit: int | None = None
    ) -> tuple[Event, ...]:
        """Read the journal, oldest event first; see :meth:`MigrationManager.history`."""
        with self.reach() as connection:
            if connection is None:
                return ()
            return self.recorder.events(connection, owner=owner, run=run, limit=limit)

    @contextmanager
    def locked(
        self, *, timeout: float | None = None, listener: Listener = SILENT
    ) -> Generator[sa.Connection, None, None]:
        """Connect as a migration needs it, and hold the run lock while the block runs.

        :param timeout: seconds to wait for another holder; else :attr:`lock_timeout`.
        :param listener: told who holds the lock, if somebody does.
        :raises LockError: if it is not obtained in time.
        :raises UnreachableError: for an error of the database that nobody inside took for its own.
        """
        from anabranch.locking import run_lock

        timeout = self.lock_timeout if timeout is None else timeout
        wait = self.deployment.statement_lock_timeout if self.deployment else None
        with self._reachable(), self.database.migrate(wait) as connection:
            name = self._lock_name(connection)
            with run_lock(
                self.database, connection, name=name, timeout=timeout, waiting=listener.waiting
            ) as self.lock:
                try:
                    if self.database.dialect == "mysql":
                        from anabranch.mysql import cluster_problem

                        if found := cluster_problem(connection):
                            told = f"Warning {found.code}: {found.text} {found.remedy}"
                            listener.notice(told)
                    yield connection
                finally:
                    self.lock = None

    def lock_holder(self, connection: sa.Connection) -> str:
        """Say who holds the run lock, as seen from *connection*; empty if nobody does."""
        from anabranch.locking import lock_holder

        return lock_holder(self.database, connection, self._lock_name(connection))

    def _lock_name(self, connection: sa.Connection) -> str:
        # Our tables are what is guarded, so whoever shares them shares the lock.
        schema = self.tables.schema or connection.dialect.default_schema_name or ""
        return f"anabranch\0{schema}"

    def read_locked(
        self, connection: sa.Connection, owners: Collection[str] | None = None
    ) -> Reading:
        """Read again under the lock, with what another tool did made part of our records.

        :param owners: whose faults matter; None for everybody's.
        :raises IntegrityError: if something is wrong that must stop a run.
        """
        reading = self._sound(connection, owners)
        if not reading.adoption:
            return reading
        from anabranch.bookkeeping import record_adoption

        record_adoption(self.recorder, connection, reading)
        return self._sound(connection, owners)

    def _sound(self, connection: sa.Connection, owners: Collection[str] | None) -> Reading:
        reading = self.read_from(connection)
        connection.rollback()
        reading.require_sound(owners)
        return reading

    @contextmanager
    def scrubbed(self) -> Generator[None, None, None]:
        """Take the database's password out of what plugins' modules raise in the block."""
        try:
            yield
        except (HookError, PluginError) as error:
            error.scrub(self.database.scrub)
            raise

    @contextmanager
    def _reachable(self) -> Generator[None, None, None]:
        try:
            with self.scrubbed():
                yield
        except exc.DBAPIError as error:
            raise self.database.unreachable(error) from error
        except exc.ResourceClosedError as error:
            raise UnreachableError(
                "The connection was closed by a plugin or a script.",
                remedy="Hooks and scripts must leave the connection that they are given open.",
                state="What was not committed is gone; run the same command again.",
            ) from error
