"""Take over what another tool wrote to ``alembic_version``: a site before us, or stock Alembic.

Pure: it compares rows with the graph and says which revisions to add to and take from the applied
set. It never guesses; what has two meanings is an error that names the ways out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from anabranch.errors import IntegrityError
from anabranch.graph import Graph
from anabranch.problems import Problem
from anabranch.recorder import State, shown_ids
from anabranch.revision import CORE, RevisionKey

_OUT_OF_DISAGREEMENT = (
    "Install the package that has it, or say with 'db stamp DIR OWNER@ID' where the database "
    "stands: our own records then hold, and the table is written anew. 'db history' shows what ran."
)

UNKNOWN_POSITION = ("AB110", "AB113")
"""The faults with which nobody can say what is applied."""

UNKNOWN = "unknown"
"""The owner under which rows are kept whose package is not installed."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """The difference between our applied set and what Alembic's table now says."""

    added: frozenset[RevisionKey] = frozenset()
    removed: frozenset[RevisionKey] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def adopt(graph: Graph, state: State) -> Adoption:
    """Work out what was applied or reverted behind our back.

    The applied revisions of installed owners become the closure of the rows, by the dependencies
    the files declare. Revisions of owners that are not installed stay as recorded.

    :raises IntegrityError: AB110 if the rows leave the core's position open, AB113 if a row could
        mean several revisions or none.
    """
    returned = _returned(graph, state)
    rows = state.version_rows
    if rows is None or rows == shown_ids(state.projected, state.applied):
        return returned
    known = {id_: _keys(graph, id_) for id_ in rows}
    missing = sorted(id_ for id_, keys in known.items() if not keys)
    for id_, keys in sorted(known.items()):
        if len(keys) > 1:
            raise _disagreement(
                f"alembic_version holds {id_!r}, an id of several owners: "
                f"{', '.join(map(str, keys))}."
            )
    tops = [keys[0] for keys in known.values() if keys]
    closure = graph.declared_ancestors(tops)
    if state.prepared:
        if missing:
            raise _disagreement(
                f"alembic_version was changed by another tool and holds {', '.join(missing)}, "
                "which no installed owner has."
            )
        ours = {key for key in state.applied if key in graph.installed}
        return Adoption(
            returned.added | (closure - set(state.applied)), returned.removed | (ours - closure)
        )
    if missing and not _core_is_known(graph, closure, tops):
        raise _position_unknown(missing)
    orphans = {RevisionKey(UNKNOWN, id_) for id_ in missing}
    return Adoption(frozenset(closure | orphans))


def taken_for_granted(graph: Graph, state: State) -> frozenset[RevisionKey]:
    """Return what is applied beyond doubt where :func:`adopt` cannot say it all.

    Our own records, or else the closure of the rows that have one meaning, and those of packages
    that are gone.
    """
    if state.prepared:
        return frozenset(state.applied)
    known = {id_: _keys(graph, id_) for id_ in state.version_rows or ()}
    closure = graph.declared_ancestors(keys[0] for keys in known.values() if len(keys) == 1)
    return frozenset(
        closure | {RevisionKey(UNKNOWN, id_) for id_, keys in known.items() if not keys}
    )


def _returned(graph: Graph, state: State) -> Adoption:
    """Give rows that were kept without an owner to the package that has come back."""
    found = {
        key: _keys(graph, key.id)
        for key in state.applied
        if key.owner == UNKNOWN and key not in graph.installed
    }
    back = {key: keys[0] for key, keys in found.items() if len(keys) == 1}
    closure = graph.declared_ancestors(back.values())
    return Adoption(frozenset(closure - set(state.applied)), frozenset(back))


def _core_is_known(
    graph: Graph, closure: Collection[RevisionKey], tops: Collection[RevisionKey]
) -> bool:
    """Tell whether *closure*, of the rows *tops*, holds all of the core that was applied.

    Alembic keeps no row for what another row depends on, so the rows of packages that are gone may
    stand for core revisions. What follows a row that is there cannot be among them.
    """
    later = set(tops)
    for key in graph.order:
        if key in closure or key not in graph.installed:
            continue
        if later.intersection(graph.declared(key)):
            later.add(key)
        elif key.owner == CORE:
            return False
    return True


def _keys(graph: Graph, id_: str) -> list[RevisionKey]:
    return sorted(key for key in graph.installed if key.id == id_)


def _disagreement(text: str) -> IntegrityError:
    return IntegrityError(
        [
            Problem(
                code="AB113",
                owner=CORE,
                text=text,
                remedy=_OUT_OF_DISAGREEMENT,
            )
        ]
    )


def _position_unknown(missing: Collection[str]) -> IntegrityError:
    return IntegrityError(
        [
            Problem(
                code="AB110",
                owner=CORE,
                text=f"alembic_version holds {', '.join(missing)}, which no installed owner has, "
                "and nothing that tells how far the core is.",
                remedy="Install the plugin that has it, once, and run the command again: from then "
                "on the core's position is recorded. Or, if you know it, say 'db stamp DIR "
                "core@ID'; or 'db adopt DIR --revision ID', which compares the tables first.",
            )
        ]
    )
