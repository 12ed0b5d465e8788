"""What was applied is compared with what is installed now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from anabranch.discovery import Discovery, Owner
from anabranch.graph import Graph
from anabranch.integrity import check_integrity
from anabranch.problems import Problem
from anabranch.revision import CORE, AppliedRevision, Revision
from support.graphs import applied, revision

CHAIN = [
    revision("a@1", checksum="v1:1"),
    revision("a@2", down="1", checksum="v1:2"),
    revision("a@3", down="2", checksum="v1:3"),
    revision("a@4", down="3", checksum="v1:4"),
]
ROWS = [
    applied("a@1", checksum="v1:1", version="1.0"),
    applied("a@2", down="a@1", checksum="v1:2", version="1.1"),
    applied("a@3", down="a@2", checksum="v1:3", version="1.2"),
    applied("a@4", down="a@3", checksum="v1:4", version="1.3"),
]
OWNERS = Discovery(
    (
        Owner(CORE, "shop.migrations", Path("shop")),
        Owner("a", "shop_a.migrations", Path("a"), distribution="shop-a", version="1.0"),
    ),
    (),
)


def _check(
    tree: Iterable[Revision], rows: Iterable[AppliedRevision], owners: Discovery = OWNERS
) -> list[Problem]:
    graph = Graph.build(tree, rows)
    assert graph.problems == ()
    return list(check_integrity(graph, {row.key: row for row in rows}, owners))


def test_unchanged_installation_has_no_fault() -> None:
    """All applied, some pending, or nothing applied at all."""
    for count in range(5):
        assert _check(CHAIN, ROWS[:count]) == []


# -- AB101


def test_edited_file_is_a_warning_with_its_name() -> None:
    """What it says now was never run here."""
    (problem,) = _check([CHAIN[0], revision("a@2", down="1", checksum="v1:x")], ROWS[:2])
    assert (problem.code, problem.owner, problem.level) == ("AB101", "a", "warning")
    assert problem.text == "a@2 (a/2.py) was edited after it was applied."
    assert problem.remedy.endswith("db repair DIR --accept-edited a@2 --reason TEXT.")
    assert problem.path == "a/2.py"


def test_sum_of_another_kind_tells_nothing() -> None:
    """A later version of anabranch recorded it, and was rolled back."""
    assert _check(CHAIN[:1], [applied("a@1", checksum="v2:1", version="1.0")]) == []


def test_file_that_was_never_summed_is_not_called_edited() -> None:
    """What stock Alembic ran has no checksum; a pending file may change as it likes."""
    tree = [revision("a@1", checksum="v1:x"), revision("a@2", down="1", checksum="v1:y")]
    assert _check(tree, [applied("a@1")]) == []


# -- AB102 and AB109


@pytest.mark.parametrize("lost", [["1"], ["2"], ["2", "3"], ["1", "2", "3"]])
@pytest.mark.parametrize("pending", [False, True])
def test_lost_file_behind_others_is_a_warning(lost: list[str], pending: bool) -> None:
    """One or several in a row, before what is applied or before what is pending: what follows
    them is installed, so the package is damaged and not older.

        1 -- (2) -- (3) -- 4
    """
    tree = [each for each in CHAIN if each.id not in lost]
    (problem,) = _check(tree, ROWS[:3] if pending else ROWS)
    assert (problem.code, problem.owner, problem.level) == ("AB102", "a", "warning")
    listed = ", ".join(f"a@{id_}" for id_ in lost)
    assert problem.text == f"Files of applied revisions are missing from a (shop-a 1.0): {listed}."
    assert problem.remedy == "Reinstall shop-a."


def test_database_newer_than_the_package_is_an_error() -> None:
    """A release that was rolled back: which revisions are too much, and which version has them.

    1 -- 2 -- (3) -- (4)
    """
    (problem,) = _check(CHAIN[:2], ROWS)
    assert (problem.code, problem.owner, problem.level) == ("AB109", "a", "error")
    assert problem.text == (
        "The database is newer than the installed a (shop-a 1.0): it has a@3, a@4, applied by 1.3."
    )
    assert problem.remedy.startswith("Install shop-a 1.3 or later.")


def test_lost_and_newer_at_once_is_newer() -> None:
    """The newer package brings the lost file, too.

    1 -- (2) -- 3 -- (4)
    """
    (problem,) = _check([CHAIN[0], CHAIN[2]], ROWS)
    assert problem.code == "AB109"
    assert "it has a@4, applied by 1.3" in problem.text


def test_newer_database_of_which_no_version_is_known() -> None:
    """Adopted rows say no version; the sentences still read."""
    (problem,) = _check(CHAIN[:1], [applied("a@1"), applied("a@2", down="a@1")])
    assert problem.text.endswith("it has a@2.")
    assert problem.remedy.startswith("Install a later version of shop-a.")


def test_newest_version_is_the_one_to_install() -> None:
    """Ids are no order: the last revision of the line says which version has them all."""
    rows = [ROWS[0], applied("a@f", down="a@1", version="1.1")]
    rows.append(applied("a@b", down="a@f", version="1.2"))
    (problem,) = _check(CHAIN[:1], rows)
    assert "it has a@f, a@b, applied by 1.2." in problem.text
    assert problem.remedy.startswith("Install shop-a 1.2 or later.")


def test_package_that_lost_all_its_revisions_is_older() -> None:
    """Its migrations are declared and empty, as in the release before the first revision."""
    (problem,) = _check([], ROWS[:1])
    assert (problem.code, problem.level) == ("AB109", "error")


def test_uninstalled_package_is_no_fault() -> None:
    """Its rows are orphans; uninstalling is not damage. Nor is a plugin that gave up migrations."""
    assert _check([revision("core@c1")], ROWS, Discovery(OWNERS.owners[:1], ())) == []
    assert _check([], ROWS, Discovery((Owner(CORE), Owner("a")), ())) == []


# -- AB103


def test_revision_put_behind_an_applied_one_is_a_warning() -> None:
    """It runs now, later than elsewhere.

    recorded:  1 -- 4            today:  1 -- 2 -- 3 -- 4
    """
    rows = [ROWS[0], applied("a@4", down="a@1", checksum="v1:4")]
    (problem,) = _check(CHAIN, rows)
    assert (problem.code, problem.owner, problem.level) == ("AB103", "a", "warning")
    assert problem.text == "a@3 (a/3.py) was put behind a@4, which is applied already."
    assert problem.remedy == "It runs now, later than on other databases; check that it can."
    done = [applied("a@2", down="a@1"), applied("a@3", down="a@2")]
    assert _check(CHAIN, [*rows, *done]) == []


def test_late_dependency_on_another_owner_is_no_insertion() -> None:
    """A package that arrives later is pending, and that is all."""
    tree = [revision("core@c1"), revision("a@1", depends="b1"), revision("b@b1")]
    assert _check(tree, [applied("core@c1"), applied("a@1")]) == []
