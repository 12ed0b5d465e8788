"""References become edges, and one that leads nowhere, or to two places, becomes a problem."""

from __future__ import annotations

import pytest

from anabranch.graph import Graph
from anabranch.problems import Problem
from anabranch.revision import CORE, Revision
from support.graphs import applied, faults, key, names, revision


def _only(graph: Graph) -> Problem:
    (problem,) = graph.problems
    return problem


def _needs(graph: Graph, name: str) -> str:
    return names(graph.edges.depends[key(name)])


# -- what a reference means


def test_own_revision_comes_first() -> None:
    """Where every owner numbers its revisions, a number is the owner's own."""
    graph = Graph.build(
        [
            revision("core@0001"),
            revision("core@0002", down="0001"),
            revision("a@0001"),
            revision("a@0002", down="0001", depends="0001"),
            revision("b@1", depends="a@0002"),
        ]
    )
    assert graph.problems == ()
    assert names(graph.edges.down[key("a@0002")]) == "a@0001"
    assert _needs(graph, "a@0002") == "a@0001"
    assert _needs(graph, "b@1") == "a@0002"


def test_id_or_label_that_only_one_other_owner_has_is_found() -> None:
    """What Alembic finds in one environment is found here."""
    graph = Graph.build(
        [
            revision("core@c1", labels="shop"),
            revision("a@a1", depends="c1"),
            revision("b@b1", depends="shop"),
            revision("c@c1x", depends="core@shop"),
        ]
    )
    assert graph.problems == ()
    assert [_needs(graph, name) for name in ("a@a1", "b@b1", "c@c1x")] == ["core@c1"] * 3


def test_label_means_the_revision_that_carries_it() -> None:
    """Alembic's meaning: not the head of that branch.

    lib:  l1 (label lib) -- l2
    """
    graph = Graph.build(
        [
            revision("lib@l1", labels="lib"),
            revision("lib@l2", down="l1"),
            revision("a@a1", depends="lib"),
        ]
    )
    assert _needs(graph, "a@a1") == "lib@l1"


@pytest.mark.parametrize("reference", ["kilo", "expand"])
def test_reference_with_several_meanings_is_an_error_until_it_is_written_out(
    reference: str,
) -> None:
    """Ids and labels may collide between owners; only a reference that stays open is a fault."""
    tree = [revision("x@kilo", labels="expand"), revision("y@kilo", labels="expand")]
    problem = _only(Graph.build([*tree, revision("a@a1", depends=reference)]))
    assert (problem.code, problem.owner, problem.path) == ("AB117", "a", "a/a1.py")
    assert problem.text == (
        f"a@a1 (a/a1.py) names {reference!r} in depends_on, and several owners have that."
    )
    assert problem.remedy == "Write out which one is meant: 'x@kilo', 'y@kilo'."
    graph = Graph.build([*tree, revision("a@a1", depends=f"y@{reference}")])
    assert graph.problems == ()
    assert _needs(graph, "a@a1") == "y@kilo"


def test_installed_owner_is_meant_rather_than_one_that_is_gone() -> None:
    """A package that was replaced by another with the same ids does not make them ambiguous."""
    tree = [revision("new@kilo"), revision("a@a1", depends="kilo")]
    graph = Graph.build(tree, [applied("old@kilo")])
    assert graph.problems == ()
    assert _needs(graph, "a@a1") == "new@kilo"


@pytest.mark.parametrize("reference", ["g1", "gone@g1", "tool", "gone@tool"])
def test_revision_of_an_uninstalled_package_is_still_found(reference: str) -> None:
    """The database knows its id and its labels; it is applied, so what needs it can run."""
    tree = [revision("a@a1", depends=reference)]
    graph = Graph.build(tree, [applied("gone@g1", labels="tool other")])
    assert graph.problems == ()
    assert _needs(graph, "a@a1") == "gone@g1"
    assert graph.order.index(key("gone@g1")) < graph.order.index(key("a@a1"))


# -- what nobody says


def test_base_of_a_plugin_that_names_nothing_needs_the_base_of_the_core() -> None:
    """Whole families of plugins declare nothing and mean that; it is no edge of their file.

    core:  c1 -- c2       a:  a1 -- a2      b: b1 needs a1
    """
    graph = Graph.build(
        [
            revision("core@c1", created="2030-01-01"),
            revision("core@c2", down="c1"),
            revision("a@a1"),
            revision("a@a2", down="a1"),
            revision("b@b1", depends="a1"),
        ]
    )
    assert names(graph.predecessors(key("a@a1"))) == "core@c1"
    assert graph.declared(key("a@a1")) == ()
    assert names(graph.predecessors(key("a@a2"))) == "a@a1"
    assert names(graph.predecessors(key("b@b1"))) == "a@a1"
    assert graph.order[0] == key("core@c1")


def test_every_base_of_the_core_is_implied() -> None:
    """A core of two lines begins with both; one that itself needs a plugin is no base."""
    graph = Graph.build(
        [
            revision("core@x1", labels="x"),
            revision("core@y1", labels="y"),
            revision("core@z1", labels="z", depends="a1"),
            revision("a@a1"),
        ]
    )
    assert graph.problems == ()
    assert names(graph.predecessors(key("a@a1"))) == "core@x1 core@y1"


# -- faults


def test_missing_parent_names_file_and_closest_own_revision() -> None:
    """A broken wheel and a typo look alike; both remedies are said."""
    tree = [revision("core@c1"), revision("a@3f2c1a"), revision("a@b2", down="3f2c1b")]
    problem = _only(Graph.build(tree))
    assert (problem.code, problem.owner, problem.level) == ("AB106", "a", "error")
    assert problem.text == (
        "a@b2 (a/b2.py) names '3f2c1b' in down_revision, which no installed owner provides. "
        "Did you mean '3f2c1a'? Installed owners: a, core."
    )
    assert problem.remedy == (
        "The file of 3f2c1b is missing from the package of a: reinstall it, "
        "or correct down_revision."
    )


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("acounts", "accounts"), ("acounts@3f2c", "accounts@3f2c"), ("zzzz", None)],
)
def test_missing_dependency_suggests_label_or_full_name(reference: str, meant: str | None) -> None:
    """A typo in depends_on is answered with what was meant, and nothing far-fetched otherwise."""
    tree = [revision("accounts@3f2c", labels="accounts"), revision("a@a1", depends=reference)]
    problem = _only(Graph.build(tree))
    assert problem.code == "AB106"
    expected = "which no installed owner provides."
    expected += f" Did you mean '{meant}'?" if meant else ""
    assert f"{expected} Installed owners: a, accounts." in problem.text
    assert problem.remedy == "Install the plugin that provides it, or correct depends_on."


def test_every_missing_reference_is_said_at_once() -> None:
    """Two faults of one file and one of another are three problems, not the first of them."""
    tree = [revision("a@a1", depends="x y"), revision("b@b1", down="z")]
    assert faults(Graph.build(tree)) == [("AB106", "a"), ("AB106", "a"), ("AB106", "b")]


def test_two_files_of_one_owner_with_one_id() -> None:
    """Stock Alembic warns and runs one of them; here both files are named, whatever came first."""
    one = revision("a@0001", path="a/0001_one.py")
    two = revision("a@0001", path="a/0001_two.py")
    for tree in ([one, two], [two, one]):
        problem = _only(Graph.build(tree))
        assert (problem.code, problem.path) == ("AB104", "a/0001_two.py")
        assert problem.text == "a@0001 (a/0001_two.py) has the same id as a/0001_one.py."
        assert problem.remedy == "Give one of the two files another id."


def test_label_on_two_revisions_of_one_owner() -> None:
    """The label would mean either; both files are named. Other owners may have it, too."""
    tree = [
        revision("a@a1", labels="expand"),
        revision("a@a2", down="a1", labels="expand"),
        revision("b@b1", labels="expand"),
    ]
    problem = _only(Graph.build(tree))
    assert (problem.code, problem.owner) == ("AB105", "a")
    assert problem.text == ("a@a2 (a/a2.py) carries the branch label 'expand', as a/a1.py does.")


@pytest.mark.parametrize("carrier", ["a1", "a2"])
def test_label_that_is_an_id_of_its_owner(carrier: str) -> None:
    """A reference could not tell the two apart; its own id is no exception."""
    tree = [
        revision("a@a1", labels="a1" if carrier == "a1" else ""),
        revision("a@a2", down="a1", labels="a1" if carrier == "a2" else ""),
        revision("b@a1"),
    ]
    problem = _only(Graph.build(tree))
    assert (problem.code, problem.path) == ("AB105", f"a/{carrier}.py")
    assert "carries the branch label 'a1', which is also an id of a." in problem.text


@pytest.mark.parametrize("id_", ["", "x" * 33, "a b", "a@b", "a-b", "a+b", "a:b", "ä", "a\n"])
def test_id_that_does_not_fit_is_refused(id_: str) -> None:
    """PostgreSQL would cut it at run time, Alembic take it apart; it is refused before."""
    misfit = Revision(revision("a@x").key._replace(id=id_), path="a/x.py")
    problem = _only(Graph.build([misfit, revision("core@c1")]))
    assert (problem.code, problem.owner, problem.path) == ("AB111", "a", "a/x.py")
    assert f"has the id {id_!r}, which does not fit." in problem.text
    assert "1 to 32 letters, digits, underscores or dots" in problem.remedy


@pytest.mark.parametrize("id_", ["x", "0001", "3f2c1a", "v1.2_b", "X" * 32])
def test_usual_ids_fit(id_: str) -> None:
    """Hashes, numbers and versions are all in use."""
    graph = Graph.build([revision(f"core@{id_}")])
    assert graph.problems == ()
    assert names(graph.order) == f"core@{id_}"


def test_fork_from_the_line_of_the_core_is_a_base_that_depends_on_it() -> None:
    """Plugins do chain onto the core with down_revision; it works, with a warning that mends it.

        core:  c1 -- c2
                 \\
        a:        a1 -- a2
    """
    graph = Graph.build(
        [
            revision("core@c1"),
            revision("core@c2", down="c1"),
            revision("a@a1", down="c1"),
            revision("a@a2", down="a1"),
        ]
    )
    problem = _only(graph)
    assert (problem.code, problem.owner, problem.level) == ("AB120", "a", "warning")
    assert "a@a1 (a/a1.py) has core@c1 of another owner as its down_revision" in problem.text
    assert problem.remedy == "Write down_revision = None and depends_on = 'c1'."
    assert graph.edges.down[key("a@a1")] == ()
    assert _needs(graph, "a@a1") == "core@c1"
    assert names(graph.heads(CORE)) == "core@c2"
    assert names(graph.heads("a")) == "a@a2"


def test_dependency_said_twice_is_one_edge() -> None:
    """By id, by label and by full name: the same revision."""
    tree = [revision("core@c1", labels="shop"), revision("a@a1", depends="c1 shop core@c1")]
    assert _needs(Graph.build(tree), "a@a1") == "core@c1"


def test_a_revision_that_names_its_own_id_means_the_other_one() -> None:
    """Where every owner numbers its revisions, the first of a plugin may need the core's first."""
    graph = Graph.build([revision("core@0001"), revision("a@0001", depends="0001")])
    assert graph.problems == ()
    assert _needs(graph, "a@0001") == "core@0001"


@pytest.mark.parametrize("label", ["two words", "a@b", ""])
def test_a_branch_label_that_cannot_be_named_is_a_fault(label: str) -> None:
    labelled = Revision(key("a@a1"), branch_labels=(label,), path="a/a1.py")
    problem = _only(Graph.build([labelled]))
    assert (problem.code, problem.owner, problem.path) == ("AB111", "a", "a/a1.py")
    assert repr(label) in problem.text
