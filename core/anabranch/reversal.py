"""From a target to what a downgrade takes back, in which order, and what stands in its way."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from anabranch.errors import UsageError
from anabranch.graph import Graph
from anabranch.names import normalise
from anabranch.operations import CODE, SQL, read_operations
from anabranch.planning import Plan, Step, revision_of
from anabranch.revision import Revision, RevisionKey
from anabranch.wording import did_you_mean

_RELATIVE = re.compile(r"-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a downgrade takes back.

    :ivar plan: the revisions in the order they are reverted, the last applied first.
    :ivar others: those of them that are not of the owner asked for.
    :ivar irreversible: those that cannot be reverted, each with the reason in words.
    """

    owner: str
    plan: Plan
    others: tuple[RevisionKey, ...]
    irreversible: tuple[tuple[RevisionKey, str], ...]


def make_reversal(graph: Graph, applied: Collection[RevisionKey], target: str) -> Reversal:
    """Work out what must be reverted to bring an owner back to *target*.

    That is everything applied that needs what comes after the target, of whatever owner.

    :param target: ``owner@id``, ``owner@base`` for before its first, ``owner@-2`` for two back.
    :raises UsageError: if there is no such revision in this database.
    """
    name, _, id_ = target.partition("@")
    owner = normalise(name)
    own = [key for key in graph.order if key.owner == owner and key in applied]
    if not own:
        owners = sorted({key.owner for key in applied})
        raise UsageError(
            f"Nothing of {owner!r} is applied.{did_you_mean(owner, owners)}",
            remedy=f"A target reads owner@revision; applied owners: {', '.join(owners) or 'none'}.",
        )
    if match := _RELATIVE.fullmatch(id_):
        stays = _steps_back(graph, own, int(match[1]))
    elif id_ == "base":
        stays = None
    else:
        stays = revision_of(own, id_) or RevisionKey(owner, id_)
    if stays is not None and stays not in own:
        raise UsageError(
            f"{owner} has no applied revision {id_!r}.{did_you_mean(id_, [key.id for key in own])}",
            remedy=f"Name one that is applied, {owner}@base, or {owner}@-1 for one back.",
        )
    if stays is not None:
        after = graph.descendants([stays], applied) - {stays}
        own = [key for key in own if key in after]
    return reversal_of(graph, applied, owner, graph.descendants(own, applied))


def reversal_of(
    graph: Graph, applied: Collection[RevisionKey], owner: str, going: Collection[RevisionKey]
) -> Reversal:
    """Put the applied revisions *going* into the order in which they are reverted."""
    keys = [key for key in reversed(graph.order) if key in going]
    steps = tuple(
        Step(
            number,
            graph.revisions[key],
            graph.edges.down.get(key, ()),
            graph.edges.depends.get(key, ()) + graph.edges.implied.get(key, ()),
        )
        for number, key in enumerate(keys, 1)
    )
    reasons = [
        (key, irreversible(graph.revisions[key]) if key in graph.installed else "its file is gone")
        for key in keys
    ]
    return Reversal(
        owner,
        Plan(steps, applied=len(applied), direction="downgrade"),
        tuple(key for key in keys if key.owner != owner),
        tuple((key, reason) for key, reason in reasons if reason),
    )


def irreversible(revision: Revision) -> str:
    """Say why *revision* cannot be reverted, as far as its source tells; empty if it can.

    Nothing of it is run. A downgrade() that does nothing reverts only what changed no schema.
    """
    try:
        tree = ast.parse(Path(revision.path).read_bytes(), filename=revision.path)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return "its file cannot be read"
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "downgrade"
    ]
    if not found:
        # It may be made in another way, by an import or an assignment.
        return "" if _binds(tree, "downgrade") else "it has no downgrade()"
    body = [node for node in found[-1].body if not _is_text(node)]
    if body and isinstance(body[0], ast.Raise):
        return "its downgrade() only raises an error"
    if all(isinstance(node, ast.Pass) for node in body) and any(
        operation.verb not in (CODE, SQL) for operation in read_operations(revision)
    ):
        return "its downgrade() does nothing"
    return ""


def _binds(tree: ast.Module, name: str) -> bool:
    return any(
        (isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"))
        or (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        for node in ast.walk(tree)
    )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _steps_back(graph: Graph, own: Collection[RevisionKey], number: int) -> RevisionKey | None:
    """Return the revision that many steps before the last applied one; None for the base."""
    heads = graph.last_of(own)
    owner = heads[0].owner
    place: RevisionKey | None = heads[0]
    if len(heads) > 1:
        raise UsageError(
            f"{owner} stands at several revisions: {', '.join(key.id for key in heads)}.",
            remedy="Name the revision to go back to.",
        )
    for step in range(number):
        if place is None:
            raise UsageError(
                f"{owner} has only {step} applied revisions.", remedy=f"Say {owner}@base."
            )
        parents = [key for key in graph.edges.down.get(place, ()) if key.owner == owner]
        if len(parents) > 1:
            raise UsageError(
                f"{place} merges {', '.join(key.id for key in parents)}.",
                remedy="Name the revision to go back to.",
            )
        place = parents[0] if parents else None
    return place
