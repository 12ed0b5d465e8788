"""One database: how to reach it, what to call it without a secret, how to set it up for a run."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from anabranch.errors import (
    UNTOUCHED,
    AnabranchError,
    ConfigurationError,
    LockError,
    UnreachableError,
    UsageError,
)
from anabranch.readonly import can_read, reading

SUPPORTED = ("sqlite", "postgresql", "mysql", "mariadb")

_SECRET_KEYS = re.compile(r"pass|secret|token|key", re.IGNORECASE)
# A user, a password and an "@" that stands before no more than a host, a database and a query. What
# stands after a user with an "@" may be a port.
_AUTHORITY = re.compile(
    r"([\w+]+://)(?![^:/?@]*@[^:@/?]*:\d+(?:[/?]|$))([^:/?]+):(.*?)"
    r"(@(?:[^@/?]+|(?=/[^/?]))(?:/[^/?]*)?(?:\?.*)?)",
    re.DOTALL,
)
_SYNCHRONOUS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_URIS = ("pysqlite",)  # drivers that open a file by a URI
_SQLITE_OPTIONS = (
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "isolation_level",
    "timeout",
    "uri",
)
_BUSY_TIMEOUT = 30_000  # ms


def parse_url(text: str, directory: Path, origin: str = "") -> sa.URL:
    """Read a database URL; a relative SQLite path is relative to *directory*.

    A password need not be percent-encoded, whatever characters it holds. Where that leaves several
    readings, it is the shortest.

    :param origin: where the URL was found, for messages.
    :raises ConfigurationError: if it cannot be read, or its driver is missing or asynchronous. The
        message does not repeat the URL.
    """
    where = f"The database URL ({origin})" if origin else "The database URL"
    if match := _AUTHORITY.fullmatch(text):
        scheme, user, password, rest = match.groups()
        quoted = urllib.parse.quote(password, safe="%")
        text = scheme + user.replace("@", "%40") + ":" + quoted + rest
    try:
        url = sa.make_url(text)
        dialect = url.get_dialect()
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
        raise ConfigurationError(
            f"{where} cannot be read.",
            remedy="It reads dialect://user:password@host/database, "
            "or sqlite:///./file.sqlite for a file in the deployment.",
        ) from None  # the cause may quote the password
    except ImportError as error:
        raise ConfigurationError(
            f"{where} needs a driver that is not installed: {error.name}.",
            remedy=_driver_remedy(error),
        ) from error
    if dialect.is_async:
        name = _SYNCHRONOUS.get(dialect.name, dialect.name)
        raise ConfigurationError(
            f"{where} names an asynchronous driver, {url.drivername}.",
            remedy=f"Migrations run synchronously: write {name}:// for them.",
        )
    if dialect.name == "sqlite" and (url.host or url.username or url.password):
        raise ConfigurationError(
            f"{where} names a server or a user, which SQLite does not have.",
            remedy="Write sqlite:///./file.sqlite for a file in the deployment.",
        )
    if dialect.name == "sqlite":
        _check_query(url, where)
    if dialect.name == "sqlite" and _is_file(url):
        url = url.set(database=os.path.normpath(directory / (url.database or "")))
    return url


def _check_query(url: sa.URL, where: str) -> None:
    """Refuse what would be passed over, or become a part of the file's name.

    :raises ConfigurationError: if the query of a SQLite URL cannot be meant.
    """
    is_uri = (url.database or "").startswith("file:")
    unknown = [key for key in url.query if key not in _SQLITE_OPTIONS]
    if unknown and not is_uri and url.get_driver_name() in _URIS:
        raise ConfigurationError(
            f"{where} has {', '.join(unknown)} after the question mark, which SQLite's driver does "
            "not know.",
            remedy=f"It knows {', '.join(_SQLITE_OPTIONS)}.",
        )
    try:
        url.get_dialect()().create_connect_args(url)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{where} has a wrong value after the question mark: {error}.",
            remedy="Correct it, or take it out.",
        ) from error


def _driver_remedy(error: ImportError) -> str:
    if error.name == "psycopg":
        return "Install it: pip install 'anabranch[postgresql]'."
    if error.name == "pymysql":
        return "Install it: pip install 'anabranch[mysql]'."
    if error.name == "MySQLdb":
        return "Install it, or take PyMySQL: mysql+pymysql:// and pip install 'anabranch[mysql]'."
    return f"Install it: pip install {error.name}."


def masked(url: sa.URL) -> str:
    """Return *url* as text without a password, wherever in it that stands."""
    query = {key: "***" if _SECRET_KEYS.search(key) else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


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
        if self.dialect != "sqlite" or not _is_file(self.url):
            return None
        return Path(str(self.url.database))

    def scrub(self, text: str) -> str:
        """Return *text* without this database's password, in any spelling."""
        query = [value for key, value in self.url.query.items() if _SECRET_KEYS.search(key)]
        for secret in filter(None, (self.url.password, *map(str, query))):
            rendered = sa.URL.create("x", "x", secret).render_as_string(hide_password=False)
            spellings = {
                secret,
                urllib.parse.quote(secret),
                urllib.parse.quote_plus(secret),
                rendered.removeprefix("x://x:").removesuffix("@"),
            }
            for spelling in sorted(spellings, key=len, reverse=True):
                text = text.replace(spelling, "***")
        return text

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
        if self.source is None and self.file is not None and self.url.get_driver_name() in _URIS:
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
        from anabranch import mysql, postgresql  # not needed to look

        wait = statement_lock_timeout
        if self.source is None and self.file is not None:
            _create_private(self.file)
        with self._connect() as connection:
            if self.dialect == "mysql":
                with (
                    _transactions(connection),
                    mysql.ended_with(connection, self.second),
                    mysql.session_settings(connection, wait),
                ):
                    yield connection
            elif self.dialect == "postgresql":
                with _transactions(connection):
                    postgresql.refuse_pooler(connection, self.second)
                    with postgresql.session_settings(connection, wait):
                        yield connection
            elif self.source in (connection, connection.engine):
                with _unheard(connection) as own, _sqlite_settings(own):
                    yield own
            else:
                with _sqlite_settings(connection):
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
                remedy=_driver_remedy(error),
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
            options: dict[str, Any] = {"creator": _lender(self.source)}
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
            remedy="Stop what writes to it, then run the same command again.",
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


def _create_private(file: Path) -> None:
    """Create a SQLite file that only its owner can read; an existing one keeps its mode.

    One that is there is not opened: closing it would let go of every lock that other connections of
    this process hold on it.
    """
    try:
        if not file.exists():
            with suppress(FileExistsError):  # another process was faster
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600))
        elif not os.access(file, os.W_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(file).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number))
    except OSError as error:
        raise UnreachableError(
            f"{file} cannot be written: {error.strerror}.",
            remedy="Migrating needs to write the database and the directory it is in.",
        ) from error


def is_usable(connection: sa.Connection) -> bool:
    """Tell whether *connection* can still be asked: it was not lost, nor closed by a script."""
    return not (connection.invalidated or connection.closed)


def _is_file(url: sa.URL) -> bool:
    database = url.database or ""
    return database not in ("", ":memory:") and not database.startswith("file:")


def _lender(engine: sa.Engine) -> Any:
    def lend() -> Any:
        borrowed = engine.raw_connection()
        connection = borrowed.dbapi_connection
        borrowed.detach()
        return connection

    return lend


@contextmanager
def _transactions(connection: sa.Connection) -> Generator[None, None, None]:
    """Take a connection out of autocommit mode, in which a failed revision could not roll back."""
    autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    if not autocommit and not _commits_by_itself(connection):
        yield
        return
    connection.execution_options(isolation_level=connection.default_isolation_level)
    try:
        yield
    finally:
        if is_usable(connection):
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")


def _commits_by_itself(connection: sa.Connection) -> bool:
    """Tell whether the driver's connection was opened in autocommit mode."""
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql":
        return bool(raw.autocommit)
    # MySQL's drivers disagree on how to ask them.
    asked = bool(connection.scalar(sa.text("SELECT @@SESSION.autocommit")))
    connection.rollback()
    return asked


@contextmanager
def _unheard(connection: sa.Connection) -> Generator[sa.Connection, None, None]:
    """Use what *connection* is connected to without its engine's listeners, which may BEGIN."""
    raw = connection.connection.dbapi_connection
    options = {**connection.get_execution_options()}
    options.pop("isolation_level", None)
    # Never disposed of, which would close what is not ours.
    engine = sa.create_engine(
        connection.engine.url,
        creator=lambda: raw,
        poolclass=sa.pool.StaticPool,
        hide_parameters=True,
    )
    with engine.connect().execution_options(**options) as own:
        yield own


@contextmanager
def _sqlite_settings(connection: sa.Connection) -> Generator[None, None, None]:
    """Make transactions cover DDL, and a table rebuild spare the rows that refer to it.

    The driver's own transactions begin late and end at DDL: they are switched off and BEGIN
    IMMEDIATE is sent instead. Foreign keys are off, since with them a rebuild deletes the rows that
    refer to the table; SQLite ignores that pragma inside a transaction, so it comes first.
    """
    raw: Any = connection.connection.dbapi_connection
    # Python 3.12 has a second way to say who begins transactions.
    autocommit = getattr(raw, "autocommit", None)
    if autocommit is not None:
        raw.autocommit = sqlite3.LEGACY_TRANSACTION_CONTROL  # type: ignore[attr-defined,unused-ignore]
        raw.rollback()
    isolation_level, raw.isolation_level = raw.isolation_level, None
    foreign_keys = raw.execute("PRAGMA foreign_keys").fetchone()[0]
    busy_timeout = raw.execute("PRAGMA busy_timeout").fetchone()[0]
    raw.execute("PRAGMA foreign_keys=OFF")
    raw.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
    # Without this, a long statement notices Ctrl-C only when it is done.
    raw.set_progress_handler(lambda: 0, 100_000)
    event.listen(connection, "begin", _begin_immediate)
    try:
        yield
    finally:
        event.remove(connection, "begin", _begin_immediate)
        if is_usable(connection):
            connection.rollback()
            raw.rollback()
            raw.set_progress_handler(None, 0)
            raw.execute(f"PRAGMA busy_timeout={busy_timeout}")
            raw.execute(f"PRAGMA foreign_keys={foreign_keys}")
            raw.isolation_level = isolation_level
            if autocommit is not None:
                raw.autocommit = autocommit


def begin_without_foreign_keys(raw: Any) -> None:
    """Switch SQLite's foreign keys off before a BEGIN: a script may have switched them on."""
    if not raw.in_transaction:
        raw.execute("PRAGMA foreign_keys=OFF")


def _begin_immediate(connection: sa.Connection) -> None:
    raw: Any = connection.connection.dbapi_connection
    raw.isolation_level = None  # autocommit_block() leaves the driver's own default behind
    begin_without_foreign_keys(raw)
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
