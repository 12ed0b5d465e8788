"""Rows a plugin wants in place once its schema is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Seed:
    """A function that writes rows, run once and again only when *version* grows.

    It runs in a transaction of its own, in which it is also recorded.

    :param name: unique within the plugin.
    :param run: called with the connection; it must not commit.
    """

    name: str
    run: Callable[[Connection], None]
    version: int = 1
