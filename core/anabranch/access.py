"""One target, opened: its database, its configuration, what is installed, our records there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.bookkeeping import record_adoption
from anabranch.cache import HeaderCache
from anabranch.database import Database
from anabranch.deployment import DEFAULT_LOCK_TIMEOUT, Deployment
from anabranch.discovery import Discovery
from anabranch.errors import HookError, PluginError, UnreachableError
from anabranch.locking import Lock, lock_holder, run_lock
from anabranch.reading import Installation, Reading, read_database, read_installation
from anabranch.recorder import Event, Recorder


def unheard(_holder: str) -> None:
    """Take no notice of who holds the lock."""


class Access:
    """What every verb needs of a target: to look at it, and to hold its lock while it changes it.

    :ivar application: the name of the application whose database it is.
    :ivar deployment: None for a target that is no directory with a configuration.
    :ivar lock: the run lock while it is held; None too for a database in memory, which has none.
    """

    def __init__(
        self,
        application: str,
        database: Database,
        deployment: Deployment | None,
        recorder: Recorder,
        discover: Callable[[], Discovery],
    ) -> None:
        self.application = application
        self.database = database
        self.deployment = deployment
        self.recorder = recorder
        self.lock: Lock | None = None
        self._discover = discover

    @cached_property
    def installation(self) -> Installation:
        """What is installed, narrowed by the configuration; read once."""
        if self.deployment is None:
            found = read_installation(self._discover(), _nobody)
        else:
            deployment = self.deployment
            cache = HeaderCache.beside(deployment.directory)
            found = read_installation(
                self._discover(), deployment.leaves_out, deployment.named, cache
            )
        problems = (
            # A script may quote, in what it raises, what the application was configured with.
            replace(item, text=self.database.scrub(item.text)) if item.code == "AB118" else item
            for item in found.problems
        )
        return replace(found, problems=tuple(problems))

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
        with self._reachable(), self.database.look() as connection:
            return read_database(self.installation, self.recorder, connection)

    @contextmanager
    def look(self) -> Generator[tuple[Reading, sa.Connection | None], None, None]:
        """Read the database without a lock, and look further at what it holds.

        Yields no connection where there is no database yet.

        :raises UnreachableError: if it cannot be read.
        """
        with self._reachable(), self.database.look() as connection:
            yield read_database(self.installation, self.recorder, connection), connection

    def events(
        self, *, owner: str | None = None, run: str | None = None, limit: int | None = None
    ) -> tuple[Event, ...]:
        """Read the journal, oldest event first; see :meth:`MigrationManager.history`."""
        with self._reachable(), self.database.look() as connection:
            if connection is None:
                return ()
            return self.recorder.events(connection, owner=owner, run=run, limit=limit)

    @contextmanager
    def locked(
        self, *, timeout: float | None = None, waiting: Callable[[str], None] = unheard
    ) -> Generator[sa.Connection, None, None]:
        """Connect as a migration needs it, and hold the run lock while the block runs.

        :param timeout: seconds to wait for another holder; else :attr:`lock_timeout`.
        :param waiting: told who holds the lock, if somebody does.
        :raises LockError: if it is not obtained in time.
        :raises UnreachableError: for an error of the database that nobody inside took for its own.
        """
        timeout = self.lock_timeout if timeout is None else timeout
        wait = self.deployment.statement_lock_timeout if self.deployment else None
        with self._reachable(), self.database.migrate(wait) as connection:
            name = self._lock_name(connection)
            with run_lock(
                self.database, connection, name=name, timeout=timeout, waiting=waiting
            ) as self.lock:
                try:
                    yield connection
                finally:
                    self.lock = None

    def lock_holder(self, connection: sa.Connection) -> str:
        """Say who holds the run lock, as seen from *connection*; empty if nobody does."""
        return lock_holder(self.database, connection, self._lock_name(connection))

    def _lock_name(self, connection: sa.Connection) -> str:
        # Our tables are what is guarded, so whoever shares them shares the lock.
        schema = self.recorder.schema or connection.dialect.default_schema_name or ""
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
        record_adoption(self.recorder, connection, reading)
        return self._sound(connection, owners)

    def _sound(self, connection: sa.Connection, owners: Collection[str] | None) -> Reading:
        reading = read_database(self.installation, self.recorder, connection)
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


def _nobody(_owner: str) -> bool:
    return False
