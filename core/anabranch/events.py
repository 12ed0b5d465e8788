"""SQLAlchemy's events, listened to for as long as a block runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event


@contextmanager
def listening(
    target: Any, *, retval: bool = False, **listeners: Callable[..., Any]
) -> Generator[None, None, None]:
    """Call *listeners* at the events of *target* that they are named for, while the block runs.

    :param target: a connection, an engine, or any other that SQLAlchemy has events for.
    :param retval: whether what the listeners return takes the place of what they were given.
    """
    for name, listener in listeners.items():
        event.listen(target, name, listener, **({"retval": True} if retval else {}))
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(target, name, listener)
