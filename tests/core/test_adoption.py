"""What another tool wrote to ``alembic_version`` is taken over, and never guessed at."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from anabranch.adoption import UNKNOWN, Adoption, adopt
from anabranch.errors import IntegrityError
from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.reading import adopted_rows
from anabranch.recorder import AMBIGUOUS, State
from anabranch.revision import AppliedRevision, Revision
from support.graphs import applied, key, names, ran, revision

# core:  c1 -- c2 -- c3        a:  a1 -- a2 (needs c2)        b:  b1 (names nothing)
CORE_TREE = [
    revision("core@c1"),
    revision("core@c2", down="c1"),
    revision("core@c3", down="c2"),
]
TREE = [
    *CORE_TREE,
    revision("a@a1", depends="c1"),
    revision("a@a2", down="a1", depends="c2"),
    revision("b@b1"),
]


def _found(rows: str) -> State:
    """A database that anabranch meets for the first time."""
    return State(version_rows=frozenset(rows.split()))


def _ours(rows_of_ours: Iterable[AppliedRevision], *, shown: str, rows: str | None = None) -> State:
    """A database of ours that last *shown* those revisions, and now holds *rows*."""
    projected = frozenset(map(key, shown.split()))
    return State(
        {row.key: row for row in rows_of_ours},
        prepared=True,
        projected=projected,
        version_rows=frozenset(each.id for each in projected)
        if rows is None
        else frozenset(rows.split()),
    )


def _ran(tree: list[Revision], *words: str) -> list[AppliedRevision]:
    return ran(Graph.build(tree), [key(word) for word in words])


def _said(adoption: Adoption) -> tuple[str, str]:
    return names(sorted(adoption.added)), names(sorted(adoption.removed))


def _fault(graph: Graph, state: State) -> tuple[str, str, str]:
    with pytest.raises(IntegrityError) as caught:
        adopt(graph, state)
    assert caught.value.exit_code == 4
    (problem,) = caught.value.problems
    return problem.code, problem.text, problem.remedy


# -- a database of another tool


@pytest.mark.parametrize("rows", [None, frozenset[str]()])
def test_database_without_rows_has_nothing_to_adopt(rows: frozenset[str] | None) -> None:
    """No table, or an empty one: nothing ran."""
    assert not adopt(Graph.build(TREE), State(version_rows=rows))


@pytest.mark.parametrize(
    ("rows", "closure"),
    [
        ("c1", "core@c1"),
        ("c3", "core@c1 core@c2 core@c3"),
        ("a2", "a@a1 a@a2 core@c1 core@c2"),
        ("c3 a1", "a@a1 core@c1 core@c2 core@c3"),
        ("a2 b1", "a@a1 a@a2 b@b1 core@c1 core@c2"),
        ("b1", "b@b1"),
        ("c1 c3", "core@c1 core@c2 core@c3"),
    ],
)
def test_rows_stand_for_all_their_files_say_they_need(rows: str, closure: str) -> None:
    """Alembic keeps no row for what another row depends on; what nobody declares is not implied."""
    assert _said(adopt(Graph.build(TREE), _found(rows))) == (closure, "")


def test_what_was_adopted_is_not_planned_again() -> None:
    """The recorded edges are those of the files, so the rest runs in the usual order."""
    graph = Graph.build(TREE)
    state = _found("a2")
    adoption = adopt(graph, state)
    later = Graph.build(TREE, adopted_rows(graph, state, adoption))
    assert names(make_plan(later, adoption.added).keys) == "core@c3 b@b1"


def test_row_of_a_package_that_is_gone_is_kept() -> None:
    """Nobody knows whose it is; it is neither lost nor in the way, for core's own row is there."""
    adoption = adopt(Graph.build(TREE), _found("c2 zz1 zz2"))
    assert _said(adoption) == ("core@c1 core@c2 unknown@zz1 unknown@zz2", "")


def test_row_that_another_owner_has_too_is_ambiguous() -> None:
    """Which of two revisions ran cannot be read from an id; both are named."""
    tree = [revision("core@0001"), revision("a@0001"), revision("b@b1", depends="core@0001")]
    code, text, remedy = _fault(Graph.build(tree), _found("0001"))
    assert code == "AB113"
    assert text == "alembic_version holds '0001', an id of several owners: a@0001, core@0001."
    assert "'db history' shows what ran" in remedy
    assert _said(adopt(Graph.build(tree[:1]), _found("0001"))) == ("core@0001", "")


@pytest.mark.parametrize("rows", ["zz1", "zz1 b1"])
def test_position_of_the_core_that_nothing_tells_is_not_guessed(rows: str) -> None:
    """The only row that implied the core's is of a package that is gone: stop, with advice."""
    code, text, remedy = _fault(Graph.build(TREE), _found(rows))
    assert code == "AB110"
    assert text == (
        "alembic_version holds zz1, which no installed owner has, "
        "and nothing that tells how far the core is."
    )
    assert remedy.startswith("Install the plugin that has it, once")


def test_older_dependency_does_not_tell_the_position_of_the_core() -> None:
    """Row a1 tells that c1 ran; c2 and c3 may hide behind the row of the package that is gone.

    core:  c1 -- c2 -- c3
           |           |
    a:     a1     zz:  zz1 (gone)           rows: a1, zz1
    """
    assert _fault(Graph.build(TREE), _found("a1 zz1"))[0] == "AB110"


@pytest.mark.parametrize("rows", ["c3 zz1", "c1 zz1", "a3 zz1"])
def test_position_of_the_core_is_known_by_its_row_or_its_end(rows: str) -> None:
    """What follows a row did not run, or that row would be gone; after the end nothing hides."""
    tree = [*TREE, revision("a@a3", down="a2", depends="c3")]
    added, _ = _said(adopt(Graph.build(tree), _found(rows)))
    assert added.endswith("unknown@zz1")


def test_core_without_revisions_has_no_position() -> None:
    """An application whose tables are all its plugins' has nothing that could run twice."""
    graph = Graph.build([revision("b@b1")])
    assert _said(adopt(graph, _found("zz1"))) == ("unknown@zz1", "")


def test_second_line_of_the_core_may_be_hidden() -> None:
    """A row of one line of the core says nothing of the other.

    core:  x1 -- x2  (label x)        y1  (label y)        rows: x1, zz1 (gone)
    """
    tree = [
        revision("core@x1", labels="x"),
        revision("core@x2", down="x1"),
        revision("core@y1", labels="y"),
    ]
    assert _fault(Graph.build(tree), _found("x1 zz1"))[0] == "AB110"
    added, _ = _said(adopt(Graph.build(tree), _found("x1 y1 zz1")))
    assert added == "core@x1 core@y1 unknown@zz1"


# -- a package that comes back


def test_row_goes_back_to_its_package_with_what_it_stood_for() -> None:
    """Once the package is installed again, its revisions are its own and not pending.

    a:  a1 -- a2, of which only a2 was a row
    """
    rows = [*_ran(TREE, "core@c1", "core@c2"), applied(f"{UNKNOWN}@a2")]
    state = _ours(rows, shown="core@c2")
    adoption = adopt(Graph.build(TREE, rows), state)
    assert _said(adoption) == ("a@a1 a@a2", "unknown@a2")


def test_row_stays_unknown_while_nobody_or_several_have_it() -> None:
    """It is given to one package or to none."""
    rows = [*_ran(TREE, "core@c1"), applied(f"{UNKNOWN}@zz1")]
    state = _ours(rows, shown="core@c1")
    assert not adopt(Graph.build(TREE, rows), state)
    both = [*TREE, revision("x@zz1"), revision("y@zz1")]
    assert not adopt(Graph.build(both, rows), state)


# -- a database of ours that stock Alembic moved


def test_untouched_table_is_nothing_new() -> None:
    """Neither while a package is gone, nor where two owners share an id and the table says so."""
    rows = [*_ran(TREE, "core@c1"), applied("gone@g1")]
    assert not adopt(Graph.build(TREE, rows), _ours(rows, shown="core@c1"))
    same = [*_ran(TREE, "core@c1"), applied("gone@c1")]
    state = _ours(same, shown="core@c1", rows=AMBIGUOUS.replace(" ", "_"))
    state = State(state.applied, True, state.projected, frozenset({AMBIGUOUS}))
    assert not adopt(Graph.build(TREE, same), state)


def test_dropped_table_takes_nothing_back() -> None:
    """Alembic's table is a projection; without it our set is still the truth."""
    state = State({row.key: row for row in _ran(TREE, "core@c1")}, prepared=True)
    assert not adopt(Graph.build(TREE), state)


@pytest.mark.parametrize(
    ("rows", "added", "removed"),
    [
        ("c3", "core@c3", ""),
        ("a2", "a@a1 a@a2", ""),
        ("c1", "", "core@c2"),
        ("a1", "a@a1", "core@c2"),
        ("", "", "core@c1 core@c2"),
    ],
    ids=["up", "up by a plugin", "down", "over", "to base"],
)
def test_move_by_stock_alembic_is_taken_over_and_orphans_stay(
    rows: str, added: str, removed: str
) -> None:
    """Up and down; what the database keeps of a package that is gone is not touched by either."""
    ours = [*_ran(TREE, "core@c1", "core@c2"), applied("gone@g1", depends="core@c2")]
    ours.append(applied(f"{UNKNOWN}@zz1"))
    state = _ours(ours, shown="core@c2", rows=rows)
    assert _said(adopt(Graph.build(TREE, ours), state)) == (added, removed)


def test_move_and_return_are_taken_over_together() -> None:
    """A package came back, and stock Alembic moved the core meanwhile."""
    ours = [*_ran(TREE, "core@c1", "core@c2"), applied(f"{UNKNOWN}@a2")]
    state = _ours(ours, shown="core@c2", rows="c3")
    assert _said(adopt(Graph.build(TREE, ours), state)) == ("a@a1 a@a2 core@c3", "unknown@a2")


def test_foreign_row_in_a_table_of_ours_is_a_disagreement() -> None:
    """Somebody wrote what nobody has; that is not adopted."""
    rows = _ran(TREE, "core@c1", "core@c2")
    graph = Graph.build(TREE, rows)
    code, text, remedy = _fault(graph, _ours(rows, shown="core@c2", rows="c2 zz1"))
    assert code == "AB113"
    assert text == (
        "alembic_version was changed by another tool and holds zz1, which no installed owner has."
    )
    assert remedy.startswith("Install the package that has it, or say with 'db stamp")


def test_move_to_an_id_of_two_owners_is_a_disagreement() -> None:
    """The same question as at the first adoption gets the same answer."""
    tree = [revision("core@1"), revision("core@2", down="1"), revision("a@2", depends="core@1")]
    rows = _ran(tree, "core@1")
    code, text, _ = _fault(Graph.build(tree, rows), _ours(rows, shown="core@1", rows="2"))
    assert (code, "a@2, core@2" in text) == ("AB113", True)


def test_late_dependency_is_not_taken_as_applied() -> None:
    """c1 ran before its header named a1; stock Alembic takes a1 for granted, our set does not.

    core:  c1 (today: needs a1) -- c2           stock Alembic ran c2
    """
    tree = [revision("core@c1", depends="a1"), revision("core@c2", down="c1"), revision("a@a1")]
    rows = [applied("core@c1")]
    state = _ours(rows, shown="core@c1", rows="c2")
    assert _said(adopt(Graph.build(tree, rows), state)) == ("core@c2", "")
