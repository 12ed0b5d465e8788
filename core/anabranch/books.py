"""The tables with our records: what they are called, and a digest of what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

ALEMBICS_TABLE = "alembic_version"

_IDS = "SELECT version_num FROM {}"
_REVISIONS = (
    "SELECT owner, revision, down_revision, depends_on, branch_labels, checksum, "
    "CASE WHEN projected THEN 'y' ELSE '' END FROM {} ORDER BY owner, revision"
)


class BookTables(NamedTuple):
    """Where the records of one application are.

    :ivar version_table: the name of Alembic's table; unless it is Alembic's own, those of ours
        begin with it, so that applications that share a schema tell theirs apart.
    :ivar schema: where all the tables are; None for the connection's own schema.
    """

    version_table: str = ALEMBICS_TABLE
    schema: str | None = None

    @property
    def prefix(self) -> str:
        """What the names of our tables begin with."""
        own = self.version_table == ALEMBICS_TABLE
        return "anabranch" if own else f"{self.version_table}_anabranch"

    def quoted(self, connection: sa.Connection, name: str) -> str:
        """Return the name of one of the tables as a statement says it."""
        preparer = connection.dialect.identifier_preparer
        schema = f"{preparer.quote_schema(self.schema)}." if self.schema else ""
        return f"{schema}{preparer.quote(name)}"


def digest_of(revisions: Iterable[Iterable[str]], ids: Iterable[str]) -> str:
    """Name what the applied set (its rows, in order) and Alembic's table (its *ids*) hold.

    Left out is what only tells when and by whom a revision was applied.
    """
    digest = hashlib.sha256("\0".join(sorted(ids)).encode())
    for row in revisions:
        digest.update("\0".join(("\n", *row)).encode())
    return digest.hexdigest()


def read_digest(connection: sa.Connection, tables: BookTables) -> str:
    """Read what :func:`digest_of` names, and nothing else.

    :raises sqlalchemy.exc.DBAPIError: if one of the tables is missing.
    """
    version = tables.quoted(connection, tables.version_table)
    revisions = tables.quoted(connection, f"{tables.prefix}_revision")
    ids = connection.exec_driver_sql(_IDS.format(version)).scalars().all()
    rows = connection.exec_driver_sql(_REVISIONS.format(revisions))
    return digest_of(rows, ids)
