"""What Alembic's table shows is followed step by step, and is what a look at all would say."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from anabranch.graph import Graph
from anabranch.projection import Projection, Shift
from anabranch.recorder import AMBIGUOUS, shown_ids
from anabranch.revision import RevisionKey
from support.graphs import key, revision


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Three owners, some of whose ids are the same, with references to earlier revisions."""
    made: list[RevisionKey] = []
    revisions = []
    for number in range(draw(st.integers(1, 12))):
        owner = draw(st.sampled_from(["core", "a", "b"]))
        id_ = draw(st.sampled_from([f"r{number}", f"x{number % 3}"]))
        name = f"{owner}@{id_}"
        if key(name) in made:
            continue
        parents = draw(st.lists(st.sampled_from(made), max_size=2, unique=True)) if made else []
        down = " ".join(parent.id for parent in parents if parent.owner == owner)
        depends = " ".join(str(parent) for parent in parents if parent.owner != owner)
        revisions.append(revision(name, down=down, depends=depends, labels=name.replace("@", "-")))
        made.append(key(name))
    return Graph.build(revisions)


@dataclass
class Table:
    """What a database would show, if every shift were written to it."""

    shown: set[RevisionKey] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)

    def take(self, shift: Shift) -> None:
        assert not shift.shown & self.shown
        assert shift.hidden <= self.shown
        assert shift.ids_gone <= self.ids
        assert not shift.ids_new & self.ids
        self.shown = (self.shown - shift.hidden) | shift.shown
        self.ids = (self.ids - shift.ids_gone) | shift.ids_new

    def copy(self) -> Table:
        return Table(set(self.shown), set(self.ids))


@given(graphs(), st.data())
def test_any_way_through_a_run_shows_what_is_applied(graph: Graph, data: st.DataObject) -> None:
    """Applied, reverted, written now and then, committed, rolled back, a commit refused."""
    applied: list[RevisionKey] = []
    table = Table()
    projection = Projection(graph, applied, table.shown, table.ids)
    committed, kept = list(applied), table.copy()
    before = committed, kept
    for _ in range(data.draw(st.integers(1, 30))):
        move = data.draw(st.sampled_from(["add", "add", "add", "remove", "write", "end"]))
        ready = [k for k in graph.order if k not in applied]
        if move == "add" and ready:
            applied.append(ready[0])
            projection.add(ready[0])
        elif move == "remove" and applied:
            last = applied.pop()
            projection.remove(last)
        elif move == "write":
            table.take(projection.shift())
            assert table.shown == graph.maximal(applied)
            assert table.ids == shown_ids(table.shown, applied)
        elif move == "end":
            end = data.draw(st.sampled_from(["commit", "rollback", "refused"]))
            if end != "rollback":
                table.take(projection.shift())
                projection.commit()
                before, committed, kept = (committed, kept), list(applied), table.copy()
            if end == "refused":
                projection.undo_commit()
                committed, kept = before
            if end != "commit":
                applied, table = list(committed), kept.copy()
                projection.reset(applied)
    table.take(projection.shift())
    assert table.shown == graph.maximal(applied)
    assert table.ids == shown_ids(table.shown, applied)


def test_an_id_that_two_owners_apply_hides_all_until_one_is_reverted() -> None:
    graph = Graph.build([revision("core@1"), revision("a@1"), revision("b@2")])
    projection = Projection(graph, [], [], [])
    for name in ("core@1", "b@2", "a@1"):
        projection.add(key(name))
    assert projection.shift().ids_new == {AMBIGUOUS}
    projection.remove(key("a@1"))
    assert projection.shift() == Shift(
        frozenset({key("a@1")}), frozenset(), frozenset({AMBIGUOUS}), frozenset("12")
    )


def test_what_stood_in_the_table_before_is_put_right_at_once() -> None:
    graph = Graph.build([revision("core@1"), revision("core@2", down="1")])
    projection = Projection(graph, [key("core@1")], [], ["old"])
    projection.add(key("core@2"))
    assert projection.shift() == Shift(
        frozenset(), frozenset({key("core@2")}), frozenset({"old"}), frozenset("2")
    )
    assert not projection.shift()
