"""All records of a commit in one statement of PostgreSQL, where each statement is a journey.

New rows travel as one JSON document, and parts of the statement put them into their tables. A row
that changes or goes is named by a part of its own: the server takes a document for a hundred rows,
and would read a table of thousands from end to end to find the one.
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
        self._revisions, self._ids, self._questions = revisions, ids, tuple(questions)
        self._inserts = (
            _insert(ids, "come"),
            _insert(revisions, "revisions"),
            _insert(journal, "events"),
            _insert(objects, "objects"),
        )
        self._statements: dict[tuple[int, int], sa.Select[Any]] = {}

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
        gone = sorted(shift.ids_gone)
        rows = {
            "revisions": [revision_row(revision, shift.shown) for revision in revisions],
            "events": [event_row(event) for event in events],
            "objects": [object_row(item) for item in objects],
            "come": [{"version_num": id_} for id_ in sorted(shift.ids_new)],
        }
        values: dict[str, Any] = {f"gone_{n}": id_ for n, id_ in enumerate(gone)}
        for n, (key, is_shown) in enumerate(flags):
            values |= {f"owner_{n}": key.owner, f"revision_{n}": key.id, f"shown_{n}": is_shown}
        values["document"] = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        return connection.execute(self._statement(len(flags), len(gone)), values).one()

    def _statement(self, flags: int, gone: int) -> sa.Select[Any]:
        """Return what changes so many *flags* and takes so many ids away; there are few of them."""
        found = self._statements.get((flags, gone))
        if found is None:
            changes = (*map(self._flag, range(flags)), *map(self._remove, range(gone)))
            found = sa.select(*self._questions).add_cte(*changes, *self._inserts)
            self._statements[flags, gone] = found
        return found

    def _flag(self, number: int) -> sa.CTE:
        columns = self._revisions.c
        update = sa.update(self._revisions).where(
            columns.owner == sa.bindparam(f"owner_{number}"),
            columns.revision == sa.bindparam(f"revision_{number}"),
        )
        return update.values(projected=sa.bindparam(f"shown_{number}")).cte(f"flag_{number}")

    def _remove(self, number: int) -> sa.CTE:
        at = self._ids.c.version_num == sa.bindparam(f"gone_{number}")
        return sa.delete(self._ids).where(at).cte(f"went_{number}")


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
