"""What a session of PostgreSQL needs to migrate: its settings, its lock, a server behind it."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.errors import LockLostError, PoolerError

# An ALTER that waits for a long reader holds up every other reader of the table.
LOCK_TIMEOUT = 2.0  # seconds
_NAME_LENGTH = 63  # bytes of an application name that the server keeps
_ATTEMPTS = 3
# One of the two that a session holds is given back and taken again: to look for it in pg_locks
# would cost more with every table that the transaction has created.
_OWNED = "CASE WHEN pg_advisory_unlock({key}) THEN pg_try_advisory_lock({key}) ELSE false END"
_NAMING = sa.func.set_config("application_name", sa.bindparam("name", type_=sa.Text), False)
_HOLDER = sa.text(
    "SELECT a.pid, a.usename, coalesce(host(a.client_addr), 'local'), a.application_name, "
    "extract(epoch FROM clock_timestamp() - a.backend_start)::int "
    "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.classid = :high AND l.objid = :low AND a.datname = current_database()"
)


@contextmanager
def session_settings(
    connection: sa.Connection, lock_timeout: float | None = None
) -> Generator[None, None, None]:
    """Name the session, limit how long it waits for a lock, and set both back after the block.

    A server that can ends a statement soon after its client is gone, and with it the locks.

    :param lock_timeout: seconds; 0 to wait as long as it takes, None for our own limit.
    """
    lock_timeout = LOCK_TIMEOUT if lock_timeout is None else lock_timeout
    settings = {
        "application_name": session_name(),
        "lock_timeout": f"{round(lock_timeout * 1000)}ms",
        "client_connection_check_interval": "1s",
    }
    before: dict[str, str] = {}
    for name, value in settings.items():
        old = connection.scalar(sa.text("SELECT current_setting(:name, true)"), {"name": name})
        # PostgreSQL 13 does not have the last one, and some systems cannot do it.
        with suppress(exc.DBAPIError):
            _set(connection, name, value)
            before[name] = str(old)
        connection.rollback()
    try:
        yield
    finally:
        if not (connection.invalidated or connection.closed):
            with suppress(exc.DBAPIError):  # a session that was lost has no settings
                connection.rollback()
                for name, value in before.items():
                    _set(connection, name, value)


def session_name(doing: str = "") -> str:
    """Return what others see of this session: host, process and what it is *doing*."""
    process, host = f":{os.getpid()} {doing}".rstrip(), socket.gethostname()
    room = _NAME_LENGTH - len("anabranch ") - len(process.encode())
    name = f"anabranch {host.encode()[: max(room, 0)].decode(errors='ignore')}{process}"
    return name.encode()[:_NAME_LENGTH].decode(errors="ignore")


def refuse_pooler(connection: sa.Connection, connect: Callable[[], sa.Connection]) -> None:
    """Refuse a pooler that gives each transaction another session of the server.

    A lock of the session would be another client's a moment later.

    :param connect: opens a second connection, to see whether it gets the session of the first.
    :raises PoolerError: if there is one between us and the server.
    """
    raw: Any = connection.connection.dbapi_connection
    announced = getattr(getattr(raw, "info", None), "backend_pid", None)
    if announced is None or announced == _backend(connection):
        return
    with connect() as other:
        for _ in range(_ATTEMPTS):
            # Each is idle while the other asks, so that its session can be lent.
            if _backend(connection) == _backend(other):
                raise PoolerError(
                    "The database is reached through a pooler in transaction mode, such as "
                    "pgbouncer: a lock of the session would not hold.",
                    remedy="Connect to the server itself (its own port), or to a pool in session "
                    "mode; the application may go on through this one.",
                )


def _backend(connection: sa.Connection) -> int:
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.rollback()
    return int(pid)


def _set(connection: sa.Connection, name: str, value: str) -> None:
    connection.execute(
        sa.text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value}
    )
    connection.commit()


class AdvisoryLock:
    """A lock of the server that belongs to the session of *connection*, which takes it twice.

    :param name: what is locked in the connection's database.
    :ivar owned: asks the server whether that session holds it still.
    """

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        self._key = {"key": key}
        # pg_locks shows the key's two halves.
        self._halves = {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
        self.owned: sa.ColumnElement[bool] = sa.literal_column(
            _OWNED.format(key=f"CAST('{key}' AS bigint)")
        )

    def acquire(self) -> bool:
        """Take the lock if it is free."""
        # Blocking in pg_advisory_lock() would deadlock with CREATE INDEX CONCURRENTLY, which waits
        # for every transaction that is open, and so would a transaction left open here.
        got = self._connection.scalar(
            sa.text("SELECT pg_try_advisory_lock(:key) AND pg_try_advisory_lock(:key)"), self._key
        )
        self._connection.commit()
        return bool(got)

    def is_owned(self) -> bool:
        """Tell whether the session that the open transaction is of holds the lock still."""
        return bool(self._connection.scalar(sa.select(self.owned)))

    def say(self, doing: str) -> None:
        """Let whoever waits see what is done under the lock; until the transaction rolls back."""
        self._connection.execute(sa.select(_NAMING), {"name": session_name(doing)})

    def release(self) -> None:
        """Let go of the lock."""
        connection = self._connection
        if not (connection.invalidated or connection.closed):
            with suppress(exc.DBAPIError):  # a session that was lost has let go of its lock
                connection.rollback()
                if self.is_owned():
                    connection.execute(
                        sa.text("SELECT pg_advisory_unlock(:key), pg_advisory_unlock(:key)"),
                        self._key,
                    )
                connection.commit()

    def is_free(self) -> bool:
        """Tell whether no session holds the lock."""
        row = self._connection.execute(_HOLDER, self._halves).first()
        self._connection.rollback()
        return row is None

    def holder(self) -> str:
        """Name the session that holds the lock, and what it says of itself."""
        row = self._connection.execute(_HOLDER, self._halves).first()
        self._connection.commit()
        if row is None:
            return "another session"
        pid, user, address, name, seconds = row
        return f"server process {pid} (user {user}, {address}, {name}) for {seconds} s"


class Tenure:
    """The transaction that is open in a run, and whether the run lock is held still.

    Both are asked for together, and along with what is sent anyway: a statement for each would
    cost a run as much as its revisions.

    :param lock: None where there is none.
    :ivar questions: what :meth:`learn` is to be told the answers to.
    """

    def __init__(self, connection: sa.Connection, lock: AdvisoryLock | None) -> None:
        self._connection = connection
        owned = sa.true() if lock is None else lock.owned
        self.questions = (sa.func.txid_current(), owned)
        self._opening = sa.select(*self.questions, _NAMING)

    def begin(self, doing: str) -> int:
        """Let whoever waits see what is done, and return the transaction that does it.

        :raises LockLostError: without the lock.
        """
        answers = self._connection.execute(self._opening, {"name": session_name(doing)}).one()
        return self.learn(answers)

    @staticmethod
    def learn(answers: Sequence[Any]) -> int:
        """Return which transaction is open.

        :raises LockLostError: without the lock.
        """
        transaction, is_owned, *_ = answers
        if not is_owned:
            raise LockLostError
        return int(transaction)

    def holds(self, transaction: int) -> bool:
        """Tell whether *transaction* is the one that is open."""
        return bool(self._answer("SELECT txid_current_if_assigned()") == transaction)

    def status(self, transaction: int) -> str:
        """Return what PostgreSQL says of a *transaction*: ``committed`` or ``aborted``."""
        return str(self._answer(f"SELECT txid_status({transaction})"))

    def _answer(self, question: str) -> Any:
        """Ask past whoever listens to the connection."""
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(question)
            (answer,) = cursor.fetchone() or (None,)
            return answer
        finally:
            cursor.close()
