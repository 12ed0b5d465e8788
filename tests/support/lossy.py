"""A way to a PostgreSQL server that breaks at the worst moment: when a commit is answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from support.databases import Database


class Way:
    """Passes bytes on; once *armed*, the answer to the next COMMIT ends its connection instead.

    :ivar final: whether nobody gets through after that.
    """

    def __init__(self, target: str) -> None:
        self.armed = False
        self.final = False
        self.broken = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more connections, and wait for the end of those there are."""
        self._stop()
        for thread in self._threads:
            thread.join()

    def _stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _carry(self, client: socket.socket) -> None:
        committing = threading.Event()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            back = threading.Thread(target=self._pump, args=(server, client, committing, False))
            back.start()
            self._pump(client, server, committing, True)
            back.join()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        committing: threading.Event,
        is_question: bool,
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_question and self.armed and b"COMMIT" in data:
                    committing.set()
                elif not is_question and committing.is_set():
                    self.armed = False
                    self.broken += 1
                    if self.final:
                        self._stop()
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def lossy_way(database: Database) -> Iterator[tuple[Way, str]]:
    """Yield a way to *database*, and the URL that goes it."""
    url = sa.make_url(database.url)
    way = Way(f"{url.query['host']}/.s.PGSQL.5432")
    try:
        lossy = sa.URL.create(
            url.drivername, url.username, host="127.0.0.1", port=way.port, database=url.database
        )
        yield way, lossy.render_as_string(hide_password=False)
    finally:
        way.close()
