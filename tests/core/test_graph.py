"""One order for all revisions of all owners, and nothing wrong in them that goes unsaid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.revision import CORE, Revision, RevisionKey
from support.graphs import applied, faults, key, names, ran, revision

OWNERS = (CORE, "a", "b", "billing", "c-d", "reviews", "x1", "zoo")
DATES = (
    None,
    datetime(2024, 1, 1),
    datetime(2024, 1, 2),
    datetime(2024, 1, 1, 23, tzinfo=timezone(timedelta(hours=-5))),
    datetime(2024, 1, 2, tzinfo=timezone.utc),
    datetime(2023, 6, 1),
)

_picks = st.lists(st.integers(0, 39), max_size=2)
_plan = st.tuples(st.sampled_from(OWNERS), _picks, _picks, st.sampled_from(DATES))
_plans = st.one_of(st.lists(_plan, max_size=8), st.lists(_plan, min_size=20, max_size=40))


def _tree(plans: list[tuple[str, list[int], list[int], datetime | None]]) -> list[Revision]:
    """Revisions that refer to earlier ones only; the ids count within an owner, so they collide."""
    made: list[Revision] = []
    for owner, down, depends, created in plans:
        own = [each.key for each in made if each.owner == owner]
        others = [each.key for each in made]
        parents = {own[pick % len(own)] for pick in down if own}
        needed = {others[pick % len(others)] for pick in depends if others}
        made.append(
            revision(
                f"{owner}@{len(own)}",
                down=" ".join(sorted(parent.id for parent in parents)),
                depends=names(sorted(needed - parents)),
                created=created,
                checksum=f"v1:{owner}{len(own)}",
            )
        )
    return made


trees = st.builds(_tree, _plans)
subsets = st.sets(st.integers(0, 39))


def _chosen(graph: Graph, picks: set[int]) -> set[RevisionKey]:
    return {graph.order[pick] for pick in picks if pick < len(graph.order)}


def _reachable(graph: Graph, start: RevisionKey, *, declared: bool = False) -> set[RevisionKey]:
    """Everything *start* needs, found one step at a time; not *start* itself."""
    step = graph.declared if declared else graph.predecessors
    found = set(step(start))
    while len(found) < len(found := found | {far for near in found for far in step(near)}):
        pass
    return found


def _effective(graph: Graph) -> Mapping[RevisionKey, tuple[float, bool, RevisionKey]]:
    """What ties are broken by: the latest date of a revision and all it needs, core first, name."""

    def date(each: RevisionKey) -> float:
        created = graph.revisions[each].created
        if created is None:
            return float("-inf")
        zone = created.tzinfo or timezone.utc
        return (created.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=timezone.utc)) / (
            timedelta(seconds=1)
        )

    return {
        each: (max(map(date, {each, *_reachable(graph, each)})), each.owner != CORE, each)
        for each in graph.order
    }


@given(trees, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_order_is_complete_valid_and_blind_to_the_order_of_the_input(
    tree: list[Revision], random: Random
) -> None:
    """Every revision once, after all it needs; shuffled input gives the same graph."""
    graph = Graph.build(tree)
    assert sorted(graph.order) == sorted(each.key for each in tree)
    place = {each: number for number, each in enumerate(graph.order)}
    for each in graph.order:
        assert all(place[parent] < place[each] for parent in graph.predecessors(each))
    shuffled = list(tree)
    random.shuffle(shuffled)
    assert Graph.build(shuffled) == graph


@given(trees)
@settings(max_examples=60)
def test_references_lead_where_they_were_meant(tree: list[Revision]) -> None:
    """Ids that every owner has too are no obstacle: own ones are own, others are written out."""
    graph = Graph.build(tree)
    for each in tree:
        assert set(graph.edges.down[each.key]) == {
            RevisionKey(each.owner, id_) for id_ in each.down_revisions
        }
        assert set(graph.edges.depends[each.key]) == set(map(key, each.depends_on))
        bases = {
            other.key
            for other in tree
            if other.owner == CORE and not other.down_revisions and not other.depends_on
        }
        base = each.owner != CORE and not each.down_revisions and not each.depends_on
        assert set(graph.edges.implied.get(each.key, ())) == (bases if base else set())


@given(trees)
@settings(max_examples=60)
def test_fresh_install_replays_history(tree: list[Revision]) -> None:
    """Where neither of two neighbours needs the other, the one that is older in effect is first."""
    graph = Graph.build(tree)
    effective = _effective(graph)
    for first, second in zip(graph.order, graph.order[1:], strict=False):
        if first not in graph.predecessors(second):
            assert effective[first] < effective[second]


@given(trees, st.integers(0, 40))
@settings(max_examples=60)
def test_any_prefix_and_then_the_rest_is_the_whole(tree: list[Revision], length: int) -> None:
    """A run that stopped goes on exactly where it would have gone on."""
    graph = Graph.build(tree)
    done = graph.order[:length]
    later = Graph.build(tree, ran(graph, done))
    assert (*done, *make_plan(later, set(done)).keys) == graph.order


@given(trees, subsets)
@settings(max_examples=60)
def test_plan_of_a_target_is_all_it_needs_in_the_one_order(
    tree: list[Revision], picks: set[int]
) -> None:
    """A target's plan is the whole plan without what the target does not need."""
    graph = Graph.build(tree)
    chosen = _chosen(graph, picks)
    plan = make_plan(graph, frozenset(), [str(each) for each in sorted(chosen)])
    needed = chosen.union(*(_reachable(graph, each) for each in chosen))
    assert plan.keys == tuple(each for each in graph.order if each in needed)
    assert [step.number for step in plan.steps] == list(range(1, len(needed) + 1))


@given(trees, subsets)
@settings(max_examples=60)
def test_reduced_set_means_the_same_without_redundancy(
    tree: list[Revision], picks: set[int]
) -> None:
    """What is left needs all that was left out, and nothing left needs another."""
    graph = Graph.build(tree)
    chosen = _chosen(graph, picks)
    reduced = graph.reduce(chosen)
    assert graph.ancestors(reduced) == graph.ancestors(chosen)
    assert all(_reachable(graph, each).isdisjoint(reduced) for each in reduced)
    assert [each for each in graph.order if each in reduced] == list(reduced)
    assert graph.reduce(reversed(reduced)) == reduced


@given(trees, subsets)
@settings(max_examples=60)
def test_maximal_set_means_the_same_to_stock_alembic(tree: list[Revision], picks: set[int]) -> None:
    """By what files declare, the maximal revisions stand for all, and none for another."""
    graph = Graph.build(tree)
    chosen = _chosen(graph, picks)
    maximal = graph.maximal(chosen)
    assert maximal <= chosen
    assert graph.declared_ancestors(maximal) == graph.declared_ancestors(chosen)
    for each in maximal:
        assert _reachable(graph, each, declared=True).isdisjoint(maximal)


SEEDED = """
from datetime import datetime
from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.revision import Revision, RevisionKey

owners = ["core", "a", "b", "c"]
revisions = {
    Revision(
        RevisionKey(owner, str(number)),
        (str(number - 1),) if number else (),
        (f"{owners[place - 1]}@{number}",) if place and number % 3 == 0 else ("nowhere",)
        if number == 9 else (),
        created=datetime(2024, 1, 1 + number // 4),
        path=f"{owner}/{number}.py",
        checksum=owner,
    )
    for place, owner in enumerate(owners) for number in range(10)
}
graph = Graph.build(revisions)
plan = make_plan(graph, set())
print(*plan.keys, plan.digest, graph.problems)
"""


def test_order_and_digest_are_the_same_in_every_process() -> None:
    """Hash randomisation changes the order of every set, the input's too, and nothing else."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SEEDED],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for seed in range(10)
    ]
    outputs = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 10
    (output,) = outputs
    assert output.startswith("core@0 core@1 core@2 core@3 a@0 a@1 a@2 a@3 b@0")
    assert "names 'nowhere' in depends_on" in output


# -- ties and dates


def test_equal_dates_put_core_first_then_the_name() -> None:
    """Nothing but names is left to decide: core, then owners and ids by their letters."""
    graph = Graph.build(
        revision(name, depends="core@0" if name != "core@0" else "", created="2024-01-01")
        for name in ("b@1", "a@2", "core@z", "a@10", "core@0")
    )
    assert names(graph.order) == "core@0 core@z a@10 a@2 b@1"


def test_zoneless_dates_are_read_as_utc() -> None:
    """The machine's own zone decides nothing; a zone that is written counts."""
    graph = Graph.build(
        [
            revision("core@0"),
            revision("a@late", created="2024-01-01T12:00:00"),
            revision("b@early", created="2024-01-01T13:00:00+02:00"),
        ]
    )
    assert names(graph.order) == "core@0 b@early a@late"


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_dates_at_the_edge_of_the_calendar_are_sorted_too(edge: datetime, hours: int) -> None:
    """An absurd date in one file of one plugin stops nobody."""
    created = edge.replace(tzinfo=timezone(timedelta(hours=hours)))
    graph = Graph.build(
        [revision("core@0", created="2024-01-01"), revision("a@1", created=created)]
    )
    assert names(graph.order) == "core@0 a@1"


def test_plugin_meets_the_core_it_was_written_for() -> None:
    """A plugin's revision runs between the core revisions of its time, though it needs only c1.

    core:  c1 (Jan) -- c2 (Mar) -- c3 (May)
    a:     a1 (Feb) -- a2 (Apr)
    """
    graph = Graph.build(
        [
            revision("core@c1", created="2024-01-01"),
            revision("core@c2", down="c1", created="2024-03-01"),
            revision("core@c3", down="c2", created="2024-05-01"),
            revision("a@a1", created="2024-02-01"),
            revision("a@a2", down="a1", created="2024-04-01"),
        ]
    )
    assert names(graph.order) == "core@c1 a@a1 core@c2 a@a2 core@c3"


def test_revision_is_never_older_than_what_it_needs() -> None:
    """A merge written on a slow clock counts as new as its parents, so what is older goes first.

    core:  c1 (Jan) -- c2 (Jun) -- c3 (says Feb)
    a:     a1 (Mar)
    """
    graph = Graph.build(
        [
            revision("core@c1", created="2024-01-01"),
            revision("core@c2", down="c1", created="2024-06-01"),
            revision("core@c3", down="c2", created="2024-02-01"),
            revision("a@a1", created="2024-03-01"),
        ]
    )
    assert names(graph.order) == "core@c1 a@a1 core@c2 core@c3"


def test_owners_interleave_where_their_dependencies_go_round() -> None:
    """Owners may need each other; only revisions must not.

    a:  a1 <- a2       a2 needs b1
    b:  b1 <- b2       b2 needs a2
    """
    graph = Graph.build(
        [
            revision("a@a1"),
            revision("a@a2", down="a1", depends="b1"),
            revision("b@b1"),
            revision("b@b2", down="b1", depends="a2"),
        ]
    )
    assert names(graph.order) == "a@a1 b@b1 a@a2 b@b2"
    assert graph.problems == ()


# -- cycles


def test_cycle_across_owners_is_shown_with_its_files() -> None:
    """The shortest cycle is the error, not the longer one beside it, nor what waits for them.

    a1 -> b1 -> a1            core: c1 -> c2 -> c3 -> c1
    """
    graph = Graph.build(
        [
            revision("core@c1", depends="c3"),
            revision("core@c2", depends="c1"),
            revision("core@c3", depends="c2"),
            revision("a@a1", depends="b1"),
            revision("b@b1", depends="a1"),
            revision("b@b2", down="b1"),
            revision("d@d1"),
        ]
    )
    (problem,) = graph.problems
    assert problem.code == "AB107"
    assert problem.text == (
        "Revisions need each other in a circle:\n"
        "  a@a1 (a/a1.py) needs b@b1\n"
        "  b@b1 (b/b1.py) needs a@a1"
    )
    assert problem.remedy == "Remove one of these depends_on or down_revision references."
    assert names(graph.order) == "d@d1"


def test_revision_that_needs_itself_is_a_cycle_of_one() -> None:
    """A self-reference is one line, not a crash."""
    graph = Graph.build([revision("core@c1"), revision("core@c2", down="c2")])
    (problem,) = graph.problems
    assert problem.text.endswith("circle:\n  core@c2 (core/c2.py) needs core@c2")
    assert names(graph.order) == "core@c1"


def test_missing_parent_of_a_long_history_is_told_at_once() -> None:
    """Ten thousand revisions that wait for a lost one are no cycle, nor searched as one."""
    tree = [revision(f"core@{n}", down=str(n - 1) if n else "lost") for n in range(10_000)]
    graph = Graph.build(tree)
    assert faults(graph) == [("AB106", CORE)]
    assert graph.order == ()


# -- heads


def test_second_head_without_a_label_is_an_error() -> None:
    """Both heads are named with their files, and the merge that mends it.

    c1 +-- c2
       +-- c3
    """
    tree = [revision("core@c1"), revision("core@c2", down="c1"), revision("core@c3", down="c1")]
    graph = Graph.build(tree)
    (problem,) = graph.problems
    assert (problem.code, problem.owner, problem.level) == ("AB108", CORE, "error")
    assert "core has 2 heads and no label tells them apart" in problem.text
    assert "core@c2 (core/c2.py)" in problem.text and "core@c3 (core/c3.py)" in problem.text
    assert problem.remedy == "Add a revision with down_revision = ('c2', 'c3') that merges them."
    assert graph.heads(CORE) == (key("core@c2"), key("core@c3"))
    merged = Graph.build([*tree, revision("core@c4", down="c2 c3")])
    assert merged.problems == ()
    assert names(merged.heads(CORE)) == "core@c4"


@pytest.mark.parametrize(
    ("labels", "sound"),
    [
        (("", "", ""), False),
        (("", "expand", ""), True),
        (("", "expand", "contract"), True),
        (("main", "", ""), False),
        (("main", "", "contract"), True),
    ],
)
def test_label_that_only_one_head_carries_tells_it_apart(
    labels: tuple[str, str, str], sound: bool
) -> None:
    """A label before the fork belongs to both heads and tells nothing; one line may have none."""
    graph = Graph.build(
        revision(f"core@{n}", down="0" if n else "", labels=label) for n, label in enumerate(labels)
    )
    assert faults(graph) == ([] if sound else [("AB108", CORE)])


def test_merge_that_cannot_be_ordered_is_not_asked_for_again() -> None:
    """Two lines whose merge needs a missing package are one fault, not two."""
    graph = Graph.build(
        [
            revision("a@1"),
            revision("a@2", down="1"),
            revision("a@3", down="1"),
            revision("a@4", down="2 3", depends="elsewhere"),
        ]
    )
    assert faults(graph) == [("AB106", "a")]
    assert names(graph.order) == "a@1 a@2 a@3"


def test_merge_whose_file_is_gone_is_not_asked_for_again() -> None:
    """An older package without the merge it had is told so elsewhere: not to merge again."""
    tree = [revision("a@1"), revision("a@2", down="1"), revision("a@3", down="1")]
    rows = [applied("a@1"), applied("a@2", down="a@1"), applied("a@3", down="a@1")]
    rows.append(applied("a@4", down="a@2 a@3"))
    assert Graph.build(tree, rows).problems == ()


def test_revision_put_behind_an_applied_one_is_no_second_head() -> None:
    """c2 arrived after c3 had run on c1; the files still have one head, before and after c2 runs.

    recorded:  c1 -- c3            today:  c1 -- c2 -- c3
    """
    tree = [revision("core@c1"), revision("core@c2", down="c1"), revision("core@c3", down="c2")]
    rows = [applied("core@c1"), applied("core@c3", down="core@c1")]
    for more in ([], [applied("core@c2", down="core@c1")]):
        graph = Graph.build(tree, [*rows, *more])
        assert graph.problems == ()
        assert names(graph.heads(CORE)) == "core@c3"
        assert names(graph.order) == "core@c1 core@c2 core@c3"


# -- what a database adds


def test_applied_revision_keeps_what_it_needed_when_it_ran() -> None:
    """A header that says more today does not move the past: the newcomer is simply pending.

    Recorded: a1 needed nothing. Today it names b1, whose package has just arrived.
    """
    tree = [revision("core@c1"), revision("a@a1", depends="b1"), revision("b@b1")]
    rows = [applied("core@c1"), applied("a@a1")]
    graph = Graph.build(tree, rows)
    assert graph.declared(key("a@a1")) == ()
    assert names(make_plan(graph, {row.key for row in rows}).keys) == "b@b1"


def test_applied_revision_may_name_what_nobody_has() -> None:
    """A reference that broke after the revision ran is nobody's trouble now."""
    graph = Graph.build([revision("a@a1", depends="gone")], [applied("a@a1")])
    assert graph.problems == ()


def test_uninstalled_part_of_the_graph_stays_known() -> None:
    """What the database recorded of a package that is gone still stands between its neighbours.

    core: c1 -- c2      gone: g1 (needs c1), g2 follows g1      a: a1 needs g2
    """
    tree = [
        revision("core@c1"),
        revision("core@c2", down="c1"),
        revision("a@a1", depends="gone@g2"),
    ]
    rows = [
        applied("core@c1"),
        applied("gone@g1", depends="core@c1"),
        applied("gone@g2", down="gone@g1", labels="tool"),
    ]
    graph = Graph.build(tree, rows)
    assert graph.problems == ()
    assert names(graph.order).startswith("core@c1")
    assert names(sorted(graph.ancestors([key("a@a1")]))) == "a@a1 core@c1 gone@g1 gone@g2"
    assert graph.of("gone") == ()
    assert key("gone@g2") in graph.revisions and key("gone@g2") not in graph.installed


def test_faulty_plugin_leaves_the_rest_orderable() -> None:
    """Only the faulty revision and what needs it are left out."""
    graph = Graph.build(
        [
            revision("core@c1"),
            revision("bad@b1", depends="missing"),
            revision("bad@b2", down="b1"),
            revision("needy@n1", depends="b2"),
            revision("good@g1"),
        ]
    )
    assert names(graph.order) == "core@c1 good@g1"
    assert faults(graph) == [("AB106", "bad")]
    assert names(make_plan(graph, set()).keys) == "core@c1 good@g1"
