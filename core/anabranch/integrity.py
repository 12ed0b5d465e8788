"""Compare what was applied with what is installed now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from anabranch.discovery import Discovery
from anabranch.graph import Graph
from anabranch.problems import Problem
from anabranch.revision import AppliedRevision, RevisionKey


def check_integrity(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision], discovery: Discovery
) -> tuple[Problem, ...]:
    """Find files edited or lost after they ran, revisions put behind them, and older packages."""
    return (
        *_edited(graph, applied),
        *_missing(graph, applied, discovery),
        *_inserted(graph, applied),
    )


def _edited(graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]) -> list[Problem]:
    edited = [
        key
        for key, row in applied.items()
        if key in graph.installed and row.checksum not in ("", graph.revisions[key].checksum)
    ]
    return [
        Problem(
            code="AB101",
            owner=key.owner,
            text=f"{key} ({graph.revisions[key].path}) was edited after it was applied.",
            remedy="What it says now was never run here; add a new revision instead of editing.",
            path=graph.revisions[key].path,
            level="warning",
        )
        for key in sorted(edited)
    ]


def _missing(
    graph: Graph, applied: Mapping[RevisionKey, AppliedRevision], discovery: Discovery
) -> list[Problem]:
    """An owner that is installed and lacks what the database has is older, or damaged."""
    missing: dict[str, list[RevisionKey]] = defaultdict(list)
    for key in graph.order:
        if key in applied and key not in graph.installed:
            missing[key.owner].append(key)
    problems: list[Problem] = []
    for owner in discovery.owners:
        lost = missing.get(owner.name, [])
        if not lost or not ((own := graph.of(owner.name)) or owner.migrations):
            continue
        behind = graph.ancestors(own)
        newest = [key for key in lost if key not in behind]
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
                    remedy=remedy,
                )
            )
        else:
            problems.append(
                Problem(
                    code="AB102",
                    owner=owner.name,
                    text=f"Files of applied revisions are missing from {owner.title}: "
                    f"{', '.join(map(str, lost))}.",
                    remedy=f"Reinstall {owner.distribution or owner.name}.",
                    level="warning",
                )
            )
    return problems


def _inserted(graph: Graph, applied: Mapping[RevisionKey, AppliedRevision]) -> list[Problem]:
    found: list[tuple[RevisionKey, RevisionKey]] = []
    for key in applied:
        if key in graph.installed:
            for id_ in graph.revisions[key].down_revisions:
                parent = RevisionKey(key.owner, id_)
                if parent not in applied and parent in graph.installed:
                    found.append((key, parent))
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
        for key, parent in sorted(found)
    ]
