"""Compare what was applied with what is installed now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from anabranch.discovery import Discovery
from anabranch.graph import Graph
from anabranch.problems import Problem
from anabranch.revision import AppliedRevision, RevisionKey

ACCEPTED_MISSING = "missing"
"""The checksum of a revision whose file is gone, which somebody accepted."""


def check_integrity(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision], discovery: Discovery
) -> tuple[Problem, ...]:
    """Find files edited or lost after they ran, revisions put behind them, and older packages."""
    return (
        *_edited(graph, applied),
        *_missing(graph, applied, discovery),
        *_inserted(graph, applied),
    )


def edited(graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]) -> list[RevisionKey]:
    """Return the applied revisions whose files say something else than what ran.

    Sums of different kinds, the part before the colon, cannot be compared: another version of
    anabranch recorded the other.
    """
    return sorted(
        key
        for key, row in applied.items()
        if key in graph.installed
        and row.checksum not in ("", ACCEPTED_MISSING, graph.revisions[key].checksum)
        and _kind(row.checksum) == _kind(graph.revisions[key].checksum)
    )


def _kind(checksum: str) -> str:
    return checksum.partition(":")[0]


def lost(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision], owner: str
) -> list[RevisionKey]:
    """Return the applied revisions of *owner* that have no file, unless that was accepted."""
    return [
        key
        for key in graph.order
        if key.owner == owner
        and key in applied
        and key not in graph.installed
        and applied[key].checksum != ACCEPTED_MISSING
    ]


def inserted(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]
) -> list[tuple[RevisionKey, RevisionKey]]:
    """Return the applied revisions that have an unapplied one behind them, each with that one."""
    found: list[tuple[RevisionKey, RevisionKey]] = []
    for key in applied:
        if key in graph.installed:
            for id_ in graph.revisions[key].down_revisions:
                parent = RevisionKey(key.owner, id_)
                if parent not in applied and parent in graph.installed:
                    found.append((key, parent))
    return sorted(found)


def _edited(graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]) -> list[Problem]:
    return [
        Problem(
            code="AB101",
            owner=key.owner,
            text=f"{key} ({graph.revisions[key].path}) was edited after it was applied.",
            remedy="What it says now was never run here; add a new revision instead of editing. Or "
            f"accept it: db repair DIR --accept-edited {key} --reason TEXT.",
            path=graph.revisions[key].path,
            level="warning",
        )
        for key in edited(graph, applied)
    ]


def _missing(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision], discovery: Discovery
) -> list[Problem]:
    """An owner that is installed and lacks what the database has is older, or damaged."""
    missing: dict[str, list[RevisionKey]] = defaultdict(list)
    for key, row in applied.items():
        if key not in graph.installed and row.checksum != ACCEPTED_MISSING:
            missing[key.owner].append(key)
    problems: list[Problem] = []
    for owner in discovery.owners:
        if owner.name not in missing or not ((own := graph.of(owner.name)) or owner.migrations):
            continue
        behind = graph.ancestors(own)
        gone = lost(graph, applied, owner.name)
        newest = [key for key in gone if key not in behind]
        if newest:
            title, version = owner.distribution or owner.name, applied[newest[-1]].version
            fault = f"The database is newer than the installed {owner.title}: it has"
            remedy = f"Install {title} {version} or later."
            if version and version == owner.version:
                fault = f"{owner.title} lacks files of revisions that the database has:"
                remedy = f"Reinstall {title}."
            elif not version:
                remedy = f"Install a later version of {title}."
            problems.append(
                Problem(
                    code="AB109",
                    owner=owner.name,
                    text=f"{fault} {', '.join(map(str, newest))}"
                    f"{version and f', applied by {version}'}.",
                    remedy=f"{remedy} Or accept it, for each: "
                    "db repair DIR --accept-missing OWNER@ID --reason TEXT.",
                )
            )
        else:
            problems.append(
                Problem(
                    code="AB102",
                    owner=owner.name,
                    text=f"Files of applied revisions are missing from {owner.title}: "
                    f"{', '.join(map(str, gone))}.",
                    remedy=f"Reinstall {owner.distribution or owner.name}.",
                    level="warning",
                )
            )
    return problems


def _inserted(graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]) -> list[Problem]:
    return [
        Problem(
            code="AB103",
            owner=key.owner,
            text=f"{parent} ({graph.revisions[parent].path}) was put behind {key}, "
            "which is applied already.",
            remedy="It runs now, later than on other databases; check that it can.",
            path=graph.revisions[parent].path,
            level="warning",
        )
        for key, parent in inserted(graph, applied)
    ]
