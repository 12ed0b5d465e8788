"""A plan is the canonical order without what is applied."""

from __future__ import annotations

import dataclasses

import pytest

from anabranch.errors import UsageError
from anabranch.graph import Graph
from anabranch.planning import make_plan
from anabranch.revision import RevisionKey
from support.graphs import applied, key, names, revision

# core:  c1 -- c2 -- c3            b1 needs a1, c2 stands in nobody's way
# a:     a1 (implied: c1) -- a2
# b:     b1 -- b2
TREE = [
    revision("core@c1", created="2024-01-01", checksum="v1:c1"),
    revision("core@c2", down="c1", created="2024-02-01", checksum="v1:c2"),
    revision("core@c3", down="c2", created="2024-03-01", checksum="v1:c3"),
    revision("a@a1", created="2024-01-15", checksum="v1:a1"),
    revision("a@a2", down="a1", created="2024-02-15", checksum="v1:a2"),
    revision("b@b1", depends="a1", created="2024-02-20", checksum="v1:b1"),
    revision("b@b2", down="b1", created="2024-02-21", checksum="v1:b2"),
]
GRAPH = Graph.build(TREE)
NOTHING: frozenset[RevisionKey] = frozenset()


def _keys(*words: str) -> set[RevisionKey]:
    return set(map(key, words))


def test_fresh_database_gets_everything_in_the_canonical_order() -> None:
    """Each step says its number, what it follows and what it waited for."""
    plan = make_plan(GRAPH, NOTHING)
    assert plan and plan.applied == 0
    assert [(step.number, str(step.key), step.reason) for step in plan.steps] == [
        (1, "core@c1", "first of core"),
        (2, "a@a1", "needs core@c1"),
        (3, "core@c2", "follows c1"),
        (4, "a@a2", "follows a1"),
        (5, "b@b1", "needs a@a1"),
        (6, "b@b2", "follows b1"),
        (7, "core@c3", "follows c2"),
    ]


def test_nothing_pending_is_an_empty_plan() -> None:
    """It is false, it counts what is in place, and orphans count too."""
    tree = [revision("core@c1")]
    graph = Graph.build(tree, [applied("core@c1"), applied("gone@g1")])
    plan = make_plan(graph, _keys("core@c1", "gone@g1"))
    assert not plan
    assert (plan.steps, plan.applied) == ((), 2)


@pytest.mark.parametrize(
    ("target", "planned"),
    [
        ("heads", "core@c1 a@a1 core@c2 a@a2 b@b1 b@b2 core@c3"),
        ("core@head", "core@c1 core@c2 core@c3"),
        ("core", "core@c1 core@c2 core@c3"),
        ("core@c2", "core@c1 core@c2"),
        ("b@heads", "core@c1 a@a1 b@b1 b@b2"),
        (["a@a1", "core@c2"], "core@c1 a@a1 core@c2"),
        (["a@a1", "heads"], "core@c1 a@a1 core@c2 a@a2 b@b1 b@b2 core@c3"),
        ([], ""),
    ],
)
def test_target_takes_along_what_it_needs(target: str | list[str], planned: str) -> None:
    """And nothing else; the order stays the one order."""
    assert names(make_plan(GRAPH, NOTHING, target).keys) == planned


@pytest.mark.parametrize(
    ("target", "what", "remedy"),
    [
        (
            "core@c33",
            "core has no revision 'c33'. Did you mean 'c3'?",
            "Name one of its revisions, or core@head.",
        ),
        (
            "croe@head",
            "No installed owner is called 'croe'. Did you mean 'core'?",
            "A target reads owner@revision; owners with revisions: a, b, core.",
        ),
        (
            "3f2c",
            "No installed owner is called '3f2c'.",
            "A target reads owner@revision; owners with revisions: a, b, core.",
        ),
    ],
)
def test_target_that_does_not_exist_is_answered_with_what_does(
    target: str, what: str, remedy: str
) -> None:
    """A usage error, with the closest name and the form a target has."""
    with pytest.raises(UsageError) as caught:
        make_plan(GRAPH, NOTHING, ["a@head", target])
    assert (str(caught.value), caught.value.remedy) == (what, remedy)
    assert caught.value.exit_code == 2


def test_disabled_owner_is_left_out_with_all_that_needs_it() -> None:
    """b needs a1, so without a there is no b; what is applied of either stays applied."""
    assert names(make_plan(GRAPH, NOTHING, disabled={"a"}).keys) == "core@c1 core@c2 core@c3"
    done = _keys("core@c1", "a@a1")
    plan = make_plan(GRAPH, done, disabled={"a"})
    assert names(plan.keys) == "core@c2 b@b1 b@b2 core@c3"


def test_revision_that_needs_an_uninstalled_pending_one_waits() -> None:
    """What the database recorded and then lost again cannot run, nor can what follows it."""
    tree = [revision("core@c1"), revision("a@a1", depends="gone@g1"), revision("a@a2", down="a1")]
    graph = Graph.build(tree, [applied("gone@g1")])
    assert names(make_plan(graph, NOTHING).keys) == "core@c1"
    assert names(make_plan(graph, _keys("gone@g1")).keys) == "core@c1 a@a1 a@a2"


def test_digest_names_scripts_and_order() -> None:
    """Other files, another order, other content: another digest. Where files lie says nothing."""
    digest = make_plan(GRAPH, NOTHING).digest
    assert len(digest) == 16
    moved = [dataclasses.replace(each, path=f"/elsewhere/{each.path}") for each in TREE]
    assert make_plan(Graph.build(moved), NOTHING).digest == digest
    edited = [dataclasses.replace(TREE[0], checksum="v1:other"), *TREE[1:]]
    reordered = [dataclasses.replace(TREE[0], created=TREE[2].created), *TREE[1:]]
    others = [
        make_plan(Graph.build(edited), NOTHING).digest,
        make_plan(Graph.build(reordered), NOTHING).digest,
        make_plan(GRAPH, NOTHING, "core@head").digest,
        make_plan(GRAPH, _keys("core@c1")).digest,
        make_plan(GRAPH, set(GRAPH.order)).digest,
    ]
    assert len({digest, *others}) == 6


def test_owner_of_a_target_is_found_in_any_spelling() -> None:
    """As a plugin's name is everywhere else."""
    assert names(make_plan(GRAPH, NOTHING, "A@a1").keys) == names(
        make_plan(GRAPH, NOTHING, "a@a1").keys
    )
