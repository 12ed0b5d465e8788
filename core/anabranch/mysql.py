"""What a session of MariaDB or MySQL needs to migrate: its settings, its lock, its end."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.names import CORE
from anabranch.problems import Problem
from anabranch.wording import counted

# An ALTER that waits for a long reader holds up every other reader of the table; the servers' own
# limit is a day, or a year.
LOCK_WAIT = 5  # seconds
_IDLE = 28_800  # seconds that a script may work without asking the database
_END = 5.0  # seconds that a killed session has to go

_LONGEST_WAIT = 31_536_000  # seconds

_QUOTE = re.compile("['\"]")
_OPEN = sa.text(
    "SELECT p.id, p.user, p.host, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) "
    "FROM information_schema.innodb_trx t "
    "JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
    "WHERE p.id NOT IN (:waited, CONNECTION_ID()) ORDER BY t.trx_started LIMIT 2"
)

LOCK_ERRORS = frozenset({1205, 1213})
"""Errors after a wait for another session's lock: for too long, or in a circle."""
# Another session changed a table that was looked at.
_IN_USE = LOCK_ERRORS | {1412, 1684}


def number_of(error: BaseException | None) -> int | None:
    """Return the server's number of a driver's error; None for any other error."""
    found = error.args[0] if error is not None and error.args else None
    return found if isinstance(found, int) else None


def is_in_use(error: BaseException | None) -> bool:
    """Tell whether a driver's error says that another session was in the way."""
    return number_of(error) in _IN_USE


@contextmanager
def session_settings(
    connection: sa.Connection, lock_wait: float | None = None
) -> Generator[None, None, None]:
    """Set how long the session waits, and set it back after the block.

    :param lock_wait: seconds for another session's lock; 0 for as long as it takes, None for our
        own limit.
    """
    wait = LOCK_WAIT if lock_wait is None else max(1, round(lock_wait or _LONGEST_WAIT))
    settings = {
        "lock_wait_timeout": wait,
        "innodb_lock_wait_timeout": wait,
        "wait_timeout": _IDLE,
    }
    names = ", ".join(f"@@SESSION.{name}" for name in settings)
    before = connection.exec_driver_sql(f"SELECT {names}").one()
    connection.exec_driver_sql(_assignments(settings))
    connection.rollback()
    try:
        yield
    finally:
        if not connection.invalidated:
            with suppress(exc.DBAPIError):  # a session that was lost has no settings
                connection.rollback()
                connection.exec_driver_sql(_assignments(dict(zip(settings, before, strict=True))))
                connection.rollback()


def _assignments(values: dict[str, int]) -> str:
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items())


def suspects(connection: sa.Connection, waited: int) -> str:
    """Name the sessions with the oldest open transactions, in words; empty if there is none.

    The servers do not say whose lock it was that the session *waited* for. Who may not see other
    users' sessions sees only its own user's.

    :raises DBAPIError: where nobody may ask.
    """
    rows = connection.execute(_OPEN, {"waited": waited}).all()
    named = [
        f"server session {row[0]} (user {row[1]}, {row[2]}, open for {row[3]} s)" for row in rows
    ]
    return f"another session, perhaps {' or '.join(named)}," if named else ""


@contextmanager
def ended_with(
    connection: sa.Connection, connect: Callable[[], sa.Connection]
) -> Generator[None, None, None]:
    """End the session of *connection* on the server too, if the block loses the connection.

    A signal takes the client out of its statement; the server would go on with it to the end, and
    keep its locks.

    :param connect: opens a second connection, to say so.
    """
    session = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
    connection.rollback()
    try:
        yield
    except BaseException:
        if connection.invalidated:
            with suppress(Exception):  # what happened is what must be told
                _end(int(session), connect)
        raise


def _end(session: int, connect: Callable[[], sa.Connection]) -> None:
    alive = sa.text("SELECT count(*) FROM information_schema.processlist WHERE id = :session")
    with connect() as other:
        if other.scalar(alive, {"session": session}):
            other.exec_driver_sql(f"KILL {session}")
        deadline = time.monotonic() + _END
        while other.scalar(alive, {"session": session}) and time.monotonic() < deadline:
            time.sleep(0.02)


def cluster_problem(connection: sa.Connection) -> Problem | None:
    """Say what a node of a Galera cluster does not do; None for any other server."""
    found = connection.exec_driver_sql("SHOW STATUS LIKE 'wsrep_cluster_size'").first()
    connection.rollback()
    nodes = int(found[1]) if found else 0
    if nodes < 1:
        return None
    return Problem(
        code="AB126",
        owner=CORE,
        text="The server is a node of a Galera cluster, and the migration lock holds on this node "
        f"only, which sees {counted(nodes, 'node', 'nodes')}.",
        remedy="Let every migrator connect to the same node.",
        level="warning",
    )


class NamedLock:
    """A lock of the server that belongs to the session of *connection*.

    :param name: what is locked in the connection's database.
    """

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        database = connection.scalar(sa.text("SELECT DATABASE()"))
        connection.rollback()
        # The server's locks know no databases, and their names have 64 characters at most.
        digest = hashlib.sha256(f"{database}\0{name}".encode()).hexdigest()
        self._name = {"name": f"anabranch:{digest[:48]}"}

    def acquire(self) -> bool:
        """Take the lock if it is free."""
        got = self._connection.scalar(sa.text("SELECT GET_LOCK(:name, 0)"), self._name)
        self._connection.rollback()
        return bool(got)

    def is_owned(self) -> bool:
        """Tell whether the session holds the lock still."""
        held = sa.text("SELECT IS_USED_LOCK(:name) = CONNECTION_ID()")
        return bool(self._connection.scalar(held, self._name))

    def say(self, doing: str) -> None:
        """Do nothing: the server shows the statement that runs."""

    def release(self) -> None:
        """Let go of the lock."""
        if not self._connection.invalidated:
            with suppress(exc.DBAPIError):  # a session that was lost has let go of its lock
                self._connection.rollback()
                self._connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), self._name)
                self._connection.rollback()

    def is_free(self) -> bool:
        """Tell whether no session holds the lock."""
        free = self._connection.scalar(sa.text("SELECT IS_FREE_LOCK(:name)"), self._name)
        self._connection.rollback()
        return bool(free)

    def holder(self) -> str:
        """Name the session that holds the lock, as far as this user may see it."""
        row = self._connection.execute(
            sa.text(
                "SELECT id, user, host, command, time, info FROM information_schema.processlist "
                "WHERE id = IS_USED_LOCK(:name)"
            ),
            self._name,
        ).first()
        self._connection.rollback()
        if row is None:
            return "another session"
        session, user, host, command, seconds, statement = row
        told = f"server session {session} (user {user}, {host}, "
        # What stands between quotes is somebody's data, or a secret.
        shown = " ".join(_QUOTE.split(str(statement or ""), maxsplit=1)[0].split())[:60]
        if command == "Sleep" or not shown:
            return f"{told}idle for {seconds} s)"
        return f"{told}running {shown} for {seconds} s)"
