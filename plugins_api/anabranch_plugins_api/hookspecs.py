"""The hooks a plugin may implement, all of them optional.

A plugin is whatever the entry-point group named like the application points to, usually a module.
It is imported only when there is something to run, never to look at a database's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from anabranch_plugins_api.seed import Seed
from anabranch_plugins_api.source import MigrationSource

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROJECT = "anabranch"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def anabranch_migration_sources() -> Sequence[MigrationSource]:  # type: ignore[empty-body]
    """Return owners that no entry point declares.

    Asked only of plugin objects the host gave to its manager, which are imported already.
    """


@hookspec
def anabranch_requirements(connection: Connection) -> Sequence[str]:  # type: ignore[empty-body]
    """Return what this plugin needs of the server or the host and does not find, in sentences.

    Every plugin is asked before the first revision runs; one unmet requirement stops the run.
    """


@hookspec
def anabranch_before_run(connection: Connection, revisions: Sequence[str]) -> None:
    """Called once before the first of *revisions* (``owner@id``, in order), in a transaction."""


@hookspec
def anabranch_before_revision(connection: Connection, revision: str) -> None:
    """Called before each revision (``owner@id``), in its transaction."""


@hookspec
def anabranch_after_revision(connection: Connection, revision: str) -> None:
    """Called after each revision (``owner@id``), in its transaction: raise to roll it back."""


@hookspec
def anabranch_after_run(connection: Connection, revisions: Sequence[str]) -> None:
    """Called once when all *revisions* are in place and committed, in a transaction."""


@hookspec
def anabranch_seeds() -> Sequence[Seed]:  # type: ignore[empty-body]
    """Return the rows to put in place after all schema revisions of a run."""
