"""One database: how to reach it, what to call it without a secret, how to set it up for a run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.connections import lender, transactions
from anabranch.errors import (
    UNTOUCHED,
    AnabranchError,
    ConfigurationError,
    LockError,
    UnreachableError,
    UsageError,
)
from anabranch.readonly import can_read, reading
from anabranch.urls import URI_DRIVERS, driver_remedy, is_file, masked, scrubbed

SUPPORTED = ("sqlite", "postgresql", "mysql", "mariadb")


@dataclass(frozen=True)
class Database:
    """One database to look at or to migrate, reached by a URL, an engine or a connection.

    A URL gets an engine of our own. An engine lends us connections its pool never sees again. A
    connection is used as it is and handed back as it was.
    """

    url: sa.URL
    source: sa.Engine | sa.Connection | None = None

    @classmethod
    def of(cls, target: sa.URL | sa.Engine | sa.Connection) -> Database:
        """Wrap *target*.

        :raises UsageError: if it is a connection with an open transaction, or of a dialect that
            anabranch does not know how to keep safe.
        """
        if isinstance(target, sa.URL):
            database = cls(target)
        elif isinstance(target, sa.Engine):
            database = cls(target.url, target)
        else:
            if target.in_transaction():
                raise UsageError(
                    "The connection has an open transaction.",
                    remedy="Commit or roll back before you hand it over.",
                )
            database = cls(target.engine.url, target)
        backend = database.url.get_backend_name()
        if backend not in SUPPORTED:
            raise UsageError(
                f"anabranch does not migrate {backend} databases.",
                remedy=f"Use one of: {', '.join(SUPPORTED)}.",
            )
        return database

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql``, or ``mysql`` for both MariaDB and MySQL."""
        backend = self.url.get_backend_name()
        return "mysql" if backend == "mariadb" else backend

    @property
    def title(self) -> str:
        """The URL without its secrets."""
        return masked(self.url)

    @property
    def file(self) -> Path | None:
        """The SQLite file, or None for any other database and for one in memory."""
        if self.dialect != "sqlite" or not is_file(self.url):
            return None
        return Path(str(self.url.database))

    def scrub(self, text: str) -> str:
        """Return *text* without this database's password, in any spelling."""
        return scrubbed(text, self.url)

    @contextmanager
    def look(self) -> Generator[sa.Connection | None, None, None]:
        """Connect to read; None where there is no database yet, which looking does not create.

        A connection of our own cannot write, and leaves no trace.

        :raises LockError: if another program began to write to a SQLite file that was read.
        """
        connected = isinstance(self.source, sa.Connection)
        if not connected and self.file is not None and not self.file.exists():
            yield None
            return
        with self._reader() as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def _reader(self) -> Generator[sa.Connection, None, None]:
        if self.source is None and self.dialect == "postgresql":
            with self._connect() as connection:
                yield connection.execution_options(postgresql_readonly=True)
            return
        if self.source is None and self.dialect == "mysql":
            with self._connect() as connection:
                connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
                yield connection
            return
        if (
            self.source is None
            and self.file is not None
            and self.url.get_driver_name() in URI_DRIVERS
        ):
            with reading(self.url, self.file) as url, self._connect(url) as connection:
                if can_read(connection):
                    yield connection
                    return
        with self._connect() as connection:
            yield connection

    @contextmanager
    def migrate(
        self, statement_lock_timeout: float | None = None
    ) -> Generator[sa.Connection, None, None]:
        """Connect with the settings a migration needs, whatever the application's are.

        :param statement_lock_timeout: how many seconds a statement waits for another session's
            lock on a server; 0 for as long as it takes, None for what suits the server.
        """
        from anabranch import mysql, postgresql, sqlite  # not needed to look

        wait = statement_lock_timeout
        if self.source is None and self.file is not None:
            sqlite.create_private(self.file)
        with self._connect() as connection:
            if self.dialect == "mysql":
                with (
                    transactions(connection),
                    mysql.ended_with(connection, self.second),
                    mysql.session_settings(connection, wait),
                ):
                    yield connection
            elif self.dialect == "postgresql":
                with transactions(connection):
                    postgresql.refuse_pooler(connection, self.second)
                    with postgresql.session_settings(connection, wait):
                        yield connection
            elif self.source in (connection, connection.engine):
                with sqlite.unheard(connection) as own, sqlite.session_settings(own):
                    yield own
            else:
                with sqlite.session_settings(connection):
                    yield connection

    @contextmanager
    def _connect(self, url: sa.URL | None = None) -> Generator[sa.Connection, None, None]:
        if isinstance(self.source, sa.Connection):
            yield self.source
            return
        if self.source is not None and self.dialect == "sqlite" and self.file is None:
            with self.source.connect() as connection:  # the pool holds the only copy of the data
                yield connection
            return
        try:
            engine = self._engine(url or self.url)
            connection = engine.connect()
        except exc.DBAPIError as error:
            raise self.unreachable(error) from error
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"The database's driver cannot send a password that is not {error.encoding}.",
                remedy="Give the database's user another password.",
            ) from None  # the cause holds the password
        except (AttributeError, TypeError, ValueError) as error:
            if self.source is not None or not self.url.query:
                raise
            raise ConfigurationError(
                "The database's driver does not take what the URL says after the question mark: "
                f"{self.scrub(str(error))}.",
                remedy="Correct it, or take it out.",
            ) from error
        except ImportError as error:
            raise ConfigurationError(
                f"The driver of the database is not installed: {error.name}.",
                remedy=driver_remedy(error),
            ) from error
        try:
            with connection:
                yield connection
        finally:
            engine.dispose()

    def second(self) -> sa.Connection:
        """Open one more connection, which leaves nothing behind when it is closed."""
        if isinstance(self.source, sa.Connection):
            return self.source.engine.connect()
        return self._engine(self.url).connect()

    def _engine(self, url: sa.URL) -> sa.Engine:
        if isinstance(self.source, sa.Engine):
            # Its own creator and connect listeners still apply, its begin listeners do not.
            options: dict[str, Any] = {"creator": lender(self.source)}
        elif self.dialect == "postgresql":
            options = {"connect_args": {"application_name": "anabranch"}}
        else:
            options = {}
        return sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True, **options)

    def is_locked(self, error: exc.DBAPIError) -> bool:
        """Tell whether *error* says that another program holds one of the database's own locks."""
        if self.dialect == "mysql":
            from anabranch.mysql import is_in_use

            return is_in_use(error.orig)
        return self.dialect == "sqlite" and "database is locked" in str(error.orig)

    def in_use(self, error: exc.DBAPIError, state: str = UNTOUCHED) -> LockError:
        """Say that another program writes to the database and did not end in time."""
        return LockError(
            f"{self.title} is in use by another program: {error.orig}.",
            remedy="Stop what uses it, then run the same command again.",
            state=state,
        )

    def unreachable(self, error: exc.DBAPIError) -> AnabranchError:
        """Say that the database cannot be used, in the server's own words but without secrets."""
        if self.is_locked(error):
            return self.in_use(error)
        cause = self.scrub(" ".join(str(error.orig).split()))
        if self.file is not None and self.file.is_dir():
            cause = "it is a directory."
        remedy = "Check that it runs, and the database URL in config.toml or the environment."
        if self.dialect == "sqlite":
            remedy = "Check the file, the right to write it and its directory, and the room left."
        return UnreachableError(
            f"The database {self.title} cannot be opened: {cause}", remedy=remedy
        )
