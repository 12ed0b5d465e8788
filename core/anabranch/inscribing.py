"""All records of a commit in one statement of PostgreSQL, where each statement is a journey.

The rows travel as one JSON document, and parts of the statement put them into their tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from anabranch.objects import OwnedObject
from anabranch.projection import Shift
from anabranch.recorder import Event
from anabranch.revision import AppliedRevision
from anabranch.rows import changed_flags, event_row, object_row, revision_row

_DOCUMENT = sa.cast(sa.bindparam("document", type_=sa.Text), sa.JSON)


class Inscription:
    """Writes what :class:`~anabranch.recorder.Recorder` would with a statement per table.

    :param revisions: our table of the applied set, then the journal and the owned objects'.
    :param ids: Alembic's table.
    :param questions: what is asked in the same statement.
    """

    def __init__(
        self,
        revisions: sa.Table,
        journal: sa.Table,
        objects: sa.Table,
        ids: sa.Table,
        questions: Sequence[sa.ColumnElement[Any]],
    ) -> None:
        keys = tuple(revisions.primary_key)
        flags = _rows("flags", [*keys, revisions.c.projected])
        gone = _rows("gone", [ids.c.version_num])
        flag = sa.update(revisions).where(*(key == flags.c[key.name] for key in keys))
        parts = (
            flag.values(projected=flags.c.projected).cte("flagged"),
            sa.delete(ids).where(ids.c.version_num == gone.c.version_num).cte("went"),
            _insert(ids, "come"),
            _insert(revisions, "revisions"),
            _insert(journal, "events"),
            _insert(objects, "objects"),
        )
        self._statement = sa.select(*questions).add_cte(*parts)

    def write(
        self,
        connection: sa.Connection,
        *,
        revisions: Sequence[AppliedRevision],
        events: Iterable[Event],
        objects: Iterable[OwnedObject],
        shift: Shift,
    ) -> sa.Row[Any]:
        """Add *revisions*, *events* and *objects*, and bring Alembic's table up to date.

        :returns: the answers to what is asked along with it.
        """
        shown = shift.shown.difference(revision.key for revision in revisions)
        flags = changed_flags(shown, shift.hidden)
        rows = {
            "revisions": [revision_row(revision, shift.shown) for revision in revisions],
            "events": [event_row(event) for event in events],
            "objects": [object_row(item) for item in objects],
            "flags": [{"owner": k.owner, "revision": k.id, "projected": on} for k, on in flags],
            "gone": [{"version_num": id_} for id_ in sorted(shift.ids_gone)],
            "come": [{"version_num": id_} for id_ in sorted(shift.ids_new)],
        }
        document = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        return connection.execute(self._statement, {"document": document}).one()


def _insert(table: sa.Table, name: str) -> sa.CTE:
    columns = [column for column in table.columns if column.name != "seq"]
    found = _rows(name, columns)
    names = [column.name for column in columns]
    insert = sa.insert(table).from_select(names, sa.select(*(found.c[each] for each in names)))
    return insert.cte(f"put_{name}")


def _rows(name: str, columns: Sequence[sa.Column[Any]]) -> sa.TableValuedAlias:
    """Return the rows of the document that go by *name*, as a table with *columns*."""
    part = _DOCUMENT.op("->")(sa.literal_column(f"'{name}'"))
    typed = [sa.column(column.name, column.type) for column in columns]
    return sa.func.json_to_recordset(part).table_valued(*typed).render_derived(with_types=True)
