"""Whether a database still stands where the last look left it: nothing pending, nothing wrong.

Such a look leaves a digest of all that it depended on: who is installed, what the configuration
says, each revision file as the file system tells its versions apart, our own code, and what the
database says of itself. Where the next look comes to the same digest there is nothing to find: it
reads no header and makes no plan, nor does it import the code that would.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.books import BookTables, read_digest
from anabranch.cache import HeaderCache, Stamp, revision_files
from anabranch.discovery import Discovery
from anabranch.leftovers import has_leftovers


class Verdict:
    """What the last look at a database said, if it said that nothing is pending and nothing wrong.

    :param configured: the plugins that are left out, and those that the configuration names.
    :param database: what tells the database from others of the same user.
    """

    def __init__(
        self,
        cache: HeaderCache,
        discovery: Discovery,
        configured: Iterable[Collection[str]],
        tables: BookTables,
        database: str,
    ) -> None:
        self._cache = cache
        self._tables = tables
        self._name = hashlib.sha256(repr((tables, database)).encode()).hexdigest()[:32]
        own = (owner.location for owner in discovery.owners if owner.location is not None)
        self._locations = tuple(own)
        self._told = ""
        with suppress(OSError):  # our files are members of an archive
            code = sorted(revision_files(Path(__file__).parent))
            names = [sorted(names) for names in configured]
            self._told = repr((sys.version, code, discovery, names))

    def _digest(self, files_of: Callable[[Path], list[tuple[str, Stamp | None]]]) -> str:
        """Name what is installed; empty if that cannot be read.

        :param files_of: returns the files of a version location.
        """
        digest = hashlib.sha256(self._told.encode())
        try:
            for location in self._locations:
                digest.update(repr(files_of(location)).encode())
        except (OSError, LookupError):  # whoever reads the headers will say it
            return ""
        return digest.hexdigest() if self._told else ""

    def holds(self, connection: sa.Connection) -> bool:
        """Tell whether all is as it was when nothing was pending and nothing wrong."""
        if connection.get_execution_options().get("schema_translate_map"):
            return False  # the tables are not where their names say
        known = self._cache.read(f"{self._name}.verdict")
        if known is None:
            return False
        installed = self._digest(lambda location: sorted(revision_files(location)))
        if not installed or not known.startswith(installed):
            return False
        try:
            books = read_digest(connection, self._tables)
            return known == f"{installed} {books}" and not has_leftovers(connection, self._tables)
        except exc.DBAPIError:  # whoever looks closer will say it
            connection.rollback()
            return False

    def keep(self, books: str) -> None:
        """Remember that nothing is pending and nothing wrong in a database with these *books*.

        :param books: what :func:`~anabranch.books.digest_of` says of them.
        """
        read = self._digest(self._cache.seen.__getitem__)
        if read and self._cache.is_whole:
            self._cache.write(f"{self._name}.verdict", f"{read} {books}")
