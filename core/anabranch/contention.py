"""Locks that other sessions of a server hold: whose they are, and how often to try again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch import mysql
from anabranch.mysql import LOCK_ERRORS, number_of

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds before each further try of a unit; there are as many as numbers here."""

_CONTENDED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected
_SAMPLE, _ANNOUNCEMENTS = 0.25, 10.0  # seconds
_BLOCKERS = sa.text(
    "SELECT a.pid, a.usename, a.application_name, coalesce(a.state, 'state not shown'), "
    "extract(epoch FROM clock_timestamp() - coalesce(a.query_start, a.backend_start))::int "
    "FROM unnest(pg_blocking_pids(:pid)) AS b(pid) JOIN pg_stat_activity a USING (pid)"
)


def is_contended(error: BaseException | None) -> bool:
    """Tell whether *error* came of a lock that another session held, however it was wrapped."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        cause: Any = error.orig if isinstance(error, exc.DBAPIError) else error
        if (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) in _CONTENDED:
            return True
        if number_of(cause) in LOCK_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


class Blockers:
    """Sees who keeps a session waiting, from a connection of its own that looks now and then.

    :param connect: opens that connection, once the session has been at work for a moment.
    :param tell: told whom the session waits for, every 10 s that it does, from another thread.
    """

    def __init__(self, connect: Callable[[], sa.Connection], tell: Callable[[str], None]) -> None:
        self._connect = connect
        self._tell = tell
        self._stop = threading.Event()
        self._seen = ""
        self._session: int | None = None

    def take(self) -> str:
        """Return whom the session waited for last, in words, and forget it."""
        seen, self._seen = self._seen, ""
        if self._session is not None:
            with suppress(Exception), self._connect() as other:
                seen = mysql.suspects(other, self._session)
        return seen or "another session"

    @contextmanager
    def watching(self, connection: sa.Connection) -> Generator[None, None, None]:
        """Watch the session of *connection* while the block runs.

        MariaDB and MySQL cannot tell whom it waits for; who may be it is asked after the wait.
        """
        if connection.dialect.name in ("mysql", "mariadb"):
            self._session = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
            connection.rollback()
        if connection.dialect.name != "postgresql":
            yield
            return
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        connection.rollback()
        thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self, pid: int) -> None:
        if self._stop.wait(_SAMPLE):
            return
        # No connection to spare, or a lost one: then nobody is named, and the run goes on.
        with suppress(Exception), self._connect() as other:
            told = time.monotonic()
            while not self._stop.wait(_SAMPLE):
                rows = other.execute(_BLOCKERS, {"pid": pid}).all()
                other.rollback()
                if not rows:
                    told = time.monotonic()
                    continue
                self._seen = " and ".join(_in_words(*row) for row in rows)
                if time.monotonic() - told >= _ANNOUNCEMENTS:
                    told = time.monotonic()
                    self._tell(self._seen)


def _in_words(pid: int, user: str, application: str, state: str, seconds: int) -> str:
    named = f", {application}" if application else ""
    return f"server process {pid} (user {user}{named}, {state}, its query {seconds} s old)"
