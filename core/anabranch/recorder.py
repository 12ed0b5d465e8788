"""What a database says of itself: the applied set, the journal, the owned objects, Alembic's table.

The applied set is the truth. ``alembic_version`` is a projection of it for stock Alembic: the
applied revisions of installed owners that no other of them declares to need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from anabranch.books import ALEMBICS_TABLE, BookTables, digest_of
from anabranch.objects import STANDING, ObjectChanges, OwnedObject, TableName
from anabranch.revision import AppliedRevision, RevisionKey
from anabranch.rows import changed_flags, event_row, object_key, object_row, revision_row
from anabranch.statementlog import StatementLog

if TYPE_CHECKING:
    from anabranch.inscribing import Inscription

# Not an id: stock Alembic stops at it, where ids of two owners would mislead it.
AMBIGUOUS = "see: db status"

_ID_LENGTH = 32
# Where TEXT holds 64 KiB only.
_LONG = sa.Text().with_variant(sa.Text(2**24 - 1), "mysql", "mariadb")
# Names differ if they differ in case, whatever the database's own collation says of that.
_OPTIONS = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the journal.

    :ivar event: ``run``, ``applied``, ``reverted``, ``failed``, ``interrupted``, ``building``,
        ``adopted``, ``seeded``, ``finished``, ``purged``, ``forgotten``, ``stamped``,
        ``repaired`` or ``restored``.
    :ivar duration: seconds.
    """

    event: str
    at: str
    run: str
    owner: str = ""
    revision: str = ""
    distribution: str = ""
    version: str = ""
    duration: float = 0.0
    actor: str = ""
    detail: str = ""


@dataclass(frozen=True)
class State:
    """One reading of a database.

    :ivar prepared: whether our tables exist.
    :ivar projected: the revisions we last showed in ``alembic_version``.
    :ivar version_rows: the ids that stand there now; None where the table does not exist.
    :ivar digest: what :func:`~anabranch.books.digest_of` says of them; empty if not prepared.
    """

    applied: Mapping[RevisionKey, AppliedRevision] = field(default_factory=dict)
    prepared: bool = False
    projected: frozenset[RevisionKey] = frozenset()
    version_rows: frozenset[str] | None = None
    digest: str = ""


EMPTY = State()


class Recorder:
    """Reads and writes the bookkeeping tables; commits nothing.

    :param version_table: the name of Alembic's table; unless it is Alembic's own, those of ours
        begin with it.
    :param schema: where all the tables are; None for the connection's own schema.

    :ivar statements: what is done of half-done revisions.
    """

    def __init__(self, version_table: str = ALEMBICS_TABLE, schema: str | None = None) -> None:
        self.schema = schema
        prefix = BookTables(version_table, schema).prefix
        self.statements = StatementLog(f"{prefix}_statement", schema)
        metadata = sa.MetaData(schema=schema)
        self.version_table = sa.Table(
            version_table,
            metadata,
            sa.Column("version_num", sa.String(_ID_LENGTH), nullable=False),
            sa.PrimaryKeyConstraint("version_num", name=f"{version_table}_pkc"),
        )
        self._revisions = sa.Table(
            f"{prefix}_revision",
            metadata,
            sa.Column("owner", sa.String(100), primary_key=True),
            sa.Column("revision", sa.String(_ID_LENGTH), primary_key=True),
            sa.Column("down_revision", sa.Text, nullable=False),
            sa.Column("depends_on", sa.Text, nullable=False),
            sa.Column("branch_labels", sa.Text, nullable=False),
            sa.Column("checksum", sa.String(80), nullable=False),
            sa.Column("distribution", sa.String(255), nullable=False),
            sa.Column("version", sa.String(255), nullable=False),
            sa.Column("applied_at", sa.String(32), nullable=False),
            sa.Column("duration", sa.Float, nullable=False),
            sa.Column("run", sa.String(32), nullable=False),
            sa.Column("projected", sa.Boolean(create_constraint=False), nullable=False),
        )
        self._journal = sa.Table(
            f"{prefix}_journal",
            metadata,
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("event", sa.String(20), nullable=False),
            sa.Column("at", sa.String(32), nullable=False),
            sa.Column("run", sa.String(32), nullable=False),
            sa.Column("owner", sa.String(100), nullable=False),
            sa.Column("revision", sa.String(_ID_LENGTH), nullable=False),
            sa.Column("distribution", sa.String(255), nullable=False),
            sa.Column("version", sa.String(255), nullable=False),
            sa.Column("duration", sa.Float, nullable=False),
            sa.Column("actor", sa.String(255), nullable=False),
            sa.Column("detail", _LONG, nullable=False),
        )
        self._objects = sa.Table(
            f"{prefix}_object",
            metadata,
            sa.Column("kind", sa.String(10), primary_key=True),
            sa.Column("table_schema", sa.String(64), primary_key=True),
            sa.Column("table_name", sa.String(128), primary_key=True),
            sa.Column("name", sa.String(128), primary_key=True),
            sa.Column("owner", sa.String(100), nullable=False),
            sa.Column("revision", sa.String(_ID_LENGTH), nullable=False),
        )

        # Built once: a statement that is built again costs more than it takes to send it.
        place, number = self._objects.primary_key, self.version_table.c.version_num
        revision = self._revisions.c
        self._insert_revisions = sa.insert(self._revisions)
        self._insert_events = sa.insert(self._journal)
        self._insert_objects = sa.insert(self._objects)
        self._delete_objects = sa.delete(self._objects).where(
            *(column == sa.bindparam(f"at_{column.name}") for column in place)
        )
        self._flag_revision = (
            sa.update(self._revisions)
            .where(
                revision.owner == sa.bindparam("at_owner"),
                revision.revision == sa.bindparam("at_revision"),
            )
            .values(projected=sa.bindparam("shown"))
        )
        self._move_id = (
            sa.update(self.version_table)
            .where(number == sa.bindparam("was"))
            .values(version_num=sa.bindparam("is"))
        )
        self._delete_id = sa.delete(self.version_table).where(number == sa.bindparam("was"))
        self._insert_id = sa.insert(self.version_table).values(version_num=sa.bindparam("is"))

    @property
    def table_names(self) -> frozenset[str]:
        """The names of the bookkeeping tables, which belong to no owner."""
        tables = self.version_table.metadata.tables.values()
        return frozenset({self.statements.name, *(table.name for table in tables)})

    def read(self, connection: sa.Connection) -> State:
        """Read the applied set and Alembic's table; missing tables read as empty."""
        inspector = sa.inspect(connection)
        version_rows = None
        if inspector.has_table(self.version_table.name, self.schema):
            version_rows = frozenset(connection.scalars(sa.select(self.version_table)))
        if not inspector.has_table(self._revisions.name, self.schema):
            return State(version_rows=version_rows)
        applied: dict[RevisionKey, AppliedRevision] = {}
        projected: set[RevisionKey] = set()
        texts: list[tuple[str, ...]] = []
        table = self._revisions
        columns = [column for column in table.columns if column.name != "projected"]
        query = sa.select(table.c.projected, *columns).order_by(*table.primary_key)
        for row in connection.execute(query):
            shown, owner, id_, down, depends, labels, checksum, *rest = tuple(row)
            key = RevisionKey(owner, id_)
            applied[key] = AppliedRevision(
                key, _keys(down), _keys(depends), tuple(labels.split()), checksum, *rest
            )
            if shown:
                projected.add(key)
            texts.append((owner, id_, down, depends, labels, checksum, "y" if shown else ""))
        digest = digest_of(texts, version_rows or ())
        return State(applied, True, frozenset(projected), version_rows, digest)

    @property
    def revision_table(self) -> str:
        """The name of the table with the applied set."""
        return self._revisions.name

    def count(self, connection: sa.Connection) -> int:
        """Count the applied revisions."""
        counted = sa.select(sa.func.count()).select_from(self._revisions)
        return connection.execute(counted).scalar_one()

    def prepare(self, connection: sa.Connection) -> None:
        """Create the tables that are missing, Alembic's among them."""
        dialect = connection.dialect.name
        if dialect in ("mysql", "mariadb"):
            # Only here: where tables are defined, options of a dialect import that dialect.
            options = {f"{dialect}_{name}": value for name, value in _OPTIONS.items()}
            for table in self.version_table.metadata.tables.values():
                table.dialect_kwargs.update(options)
            self.statements.prepare(connection, options)
        self.version_table.metadata.create_all(connection)

    def record_applied(
        self,
        connection: sa.Connection,
        revisions: Sequence[AppliedRevision],
        projected: Collection[RevisionKey] = (),
    ) -> None:
        """Add *revisions* to the applied set; those in *projected* are shown by Alembic's table."""
        if revisions:
            connection.execute(
                self._insert_revisions, [revision_row(row, projected) for row in revisions]
            )
            self.statements.clear(connection, [revision.key for revision in revisions])

    def forget(self, connection: sa.Connection, keys: Collection[RevisionKey]) -> None:
        """Take *keys* out of the applied set."""
        table = self._revisions
        self.statements.clear(connection, keys)
        for key in sorted(keys):
            connection.execute(
                sa.delete(table).where(table.c.owner == key.owner, table.c.revision == key.id)
            )

    def record_checksum(self, connection: sa.Connection, key: RevisionKey, checksum: str) -> None:
        """Let *checksum* be that of what ran as *key*."""
        table = self._revisions
        connection.execute(
            sa.update(table)
            .where(table.c.owner == key.owner, table.c.revision == key.id)
            .values(checksum=checksum)
        )

    def record_events(self, connection: sa.Connection, events: Sequence[Event]) -> None:
        """Append *events* to the journal."""
        if events:
            connection.execute(self._insert_events, [event_row(event) for event in events])

    def last_event(self, connection: sa.Connection) -> int:
        """Return the number of the journal's last line, 0 for an empty one."""
        return connection.scalar(sa.select(sa.func.max(self._journal.c.seq))) or 0

    def events(
        self,
        connection: sa.Connection,
        *,
        owner: str | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> tuple[Event, ...]:
        """Read the journal, oldest first: of one *owner* or *run*, and the last *limit* of it."""
        if not sa.inspect(connection).has_table(self._journal.name, self.schema):
            return ()
        journal = self._journal
        columns = [column for column in journal.columns if column.name != "seq"]
        query = sa.select(*columns).order_by(journal.c.seq.desc()).limit(limit)
        if owner is not None:
            query = query.where(journal.c.owner == owner)
        if run is not None:
            query = query.where(journal.c.run == run)
        return tuple(Event(*row) for row in reversed(connection.execute(query).all()))

    def finished(self, connection: sa.Connection) -> str | None:
        """Read what the last run noted at its end.

        Empty if it did not come to its end or noted nothing, None if there was no run.
        """
        if not sa.inspect(connection).has_table(self._journal.name, self.schema):
            return None
        event = self._journal.c.event
        last = connection.execute(
            sa.select(event, self._journal.c.detail)
            .where(event.in_(("run", "finished")))
            .order_by(self._journal.c.seq.desc())
            .limit(1)
        ).first()
        return None if last is None else last.detail if last.event == "finished" else ""

    def was_complete(self, connection: sa.Connection, left: int) -> bool:
        """Tell whether the database ever was at the end of a plan, or is another tool's work.

        Until then an application cannot have used it, unless a run kept going without what failed,
        or revisions came since: whoever installed earlier ones may have left out what failed.

        :param left: how many revisions are pending.
        """
        event, run, detail = self._journal.c.event, self._journal.c.run, self._journal.c.detail
        rows = connection.execute(
            sa.select(event, run, detail)
            .where(event.not_in(("applied", "failed")))
            .order_by(self._journal.c.seq)
        ).all()
        applied = connection.execute(
            sa.select(run, sa.func.count()).where(event == "applied").group_by(run)
        )
        done: dict[str, int] = {row[0]: row[1] for row in applied}
        if any(row.event in ("adopted", "stamped", "finished", "incomplete") for row in rows):
            return True
        totals = {sum(done.values()) + left}
        before = 0
        for row in rows:
            if row.event == "run":
                planned = row.detail.rpartition(" of ")[2]
                if not planned.isdigit() or done.get(row.run, 0) >= int(planned):
                    return True
                totals.add(before + int(planned))
                before += done.get(row.run, 0)
        return len(totals) > 1

    def objects(self, connection: sa.Connection) -> tuple[OwnedObject, ...]:
        """Read who owns which table, and which column, index and constraint on it."""
        return tuple(item for item in self.owned(connection) if item.kind not in STANDING)

    def standing(self, connection: sa.Connection) -> tuple[OwnedObject, ...]:
        """Read who owns which view, type, trigger, function, procedure and sequence."""
        return tuple(item for item in self.owned(connection) if item.kind in STANDING)

    def owned(self, connection: sa.Connection) -> tuple[OwnedObject, ...]:
        """Read who owns what, on tables and beside them."""
        if not sa.inspect(connection).has_table(self._objects.name, self.schema):
            return ()
        rows = connection.execute(sa.select(self._objects))
        return tuple(
            OwnedObject(
                row.kind,
                TableName(row.table_schema, row.table_name),
                row.name,
                row.owner,
                row.revision,
            )
            for row in rows
        )

    def record_objects(self, connection: sa.Connection, changes: ObjectChanges) -> None:
        """Bring the record of owned objects up to date."""
        if changes.removed:
            keys = map(object_key, changes.removed)
            parameters = [{f"at_{name}": value for name, value in key.items()} for key in keys]
            connection.execute(self._delete_objects, parameters)
        if changes.added:
            connection.execute(self._insert_objects, [object_row(item) for item in changes.added])

    def project(
        self,
        connection: sa.Connection,
        projected: Iterable[RevisionKey],
        *,
        was: Iterable[RevisionKey],
        rows: Iterable[str],
        ids: Iterable[str],
    ) -> None:
        """Show *projected* as *ids* in Alembic's table, which showed *was* and holds *rows*."""
        flags = changed_flags(projected, was)
        if flags:
            connection.execute(
                self._flag_revision,
                [
                    {"at_owner": key.owner, "at_revision": key.id, "shown": shown}
                    for key, shown in flags
                ],
            )
        gone, come = sorted(set(rows) - set(ids)), sorted(set(ids) - set(rows))
        moved = [{"was": one, "is": other} for one, other in zip(gone, come, strict=False)]
        if moved:
            connection.execute(self._move_id, moved)
        if gone[len(moved) :]:
            connection.execute(self._delete_id, [{"was": id_} for id_ in gone[len(moved) :]])
        if come[len(moved) :]:
            connection.execute(self._insert_id, [{"is": id_} for id_ in come[len(moved) :]])

    def inscription(self, questions: Sequence[sa.ColumnElement[Any]]) -> Inscription:
        """Return what writes all of this in one statement of PostgreSQL, and asks *questions*."""
        from anabranch.inscribing import Inscription  # not needed to read

        tables = (self._revisions, self._journal, self._objects, self.version_table)
        return Inscription(*tables, questions)


def shown_ids(projected: Iterable[RevisionKey], applied: Iterable[RevisionKey]) -> frozenset[str]:
    """Return what Alembic's table holds to show *projected*.

    Where two applied owners share an id, an id alone says nothing: the table then holds
    :data:`AMBIGUOUS`, at which stock Alembic stops.
    """
    owners: dict[str, str] = {}
    for key in applied:
        if owners.setdefault(key.id, key.owner) != key.owner:
            return frozenset({AMBIGUOUS})
    return frozenset(key.id for key in projected)


def now() -> str:
    """Return the time as it is recorded: UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _keys(text: str) -> tuple[RevisionKey, ...]:
    return tuple(RevisionKey.parse(item) for item in text.split()) if text else ()
