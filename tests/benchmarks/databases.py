"""Fresh databases to measure on: a SQLite file on disk, or a database of a real PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from support.postgres import running_server

Dialect = Literal["sqlite", "postgresql"]


@contextmanager
def fresh_urls(dialect: Dialect) -> Iterator[Callable[[], str]]:
    """Yield a function that gives the URL of another empty database each time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        if dialect == "sqlite":
            count = iter(range(10**9))
            yield lambda: f"sqlite:///{folder / f'{next(count)}.sqlite'}"
        else:
            server = stack.enter_context(running_server())
            yield lambda: server.create().url
