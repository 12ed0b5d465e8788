"""The models of the core and of plugins: import them, find the ``MetaData`` of each."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from anabranch.discovery import Owner
from anabranch.errors import ConfigurationError, PluginError
from anabranch.hooks import Hooks, import_for
from anabranch.problems import Problem
from anabranch.revision import CORE


def core_metadata(source: Any) -> sa.MetaData:
    """Return the ``MetaData`` that *source* is, has, or names as ``module:attribute``.

    :raises ConfigurationError: if it leads to none.
    """
    named = source
    if isinstance(source, str):
        named = import_for(Owner("core"), source)
    metadata = getattr(named, "metadata", named)
    if not isinstance(metadata, sa.MetaData):
        raise ConfigurationError(
            f"metadata={source!r} leads to no MetaData.",
            remedy="Give MigrationManager a MetaData, a declarative base, or 'module:attribute'.",
        )
    return metadata


def owner_metadata(owner: Owner, core: sa.MetaData) -> sa.MetaData:
    """Import the models of *owner* and return the ``MetaData`` it defines its tables on.

    A naming convention is an input of a migration, so each owner's revisions run with its own.

    :raises PluginError: if a module cannot be imported.
    """
    found = core
    for name in owner.models:
        found = _metadata_in(import_for(owner, name), found)
    return found


def find_broken(owners: Iterable[Owner], source: Any) -> tuple[Problem, ...]:
    """Import the models and the hooks of *owners*, and say whose cannot be.

    :param source: the core's metadata, as for :func:`core_metadata`.
    """
    owners = tuple(owners)
    problems: list[Problem] = []
    for owner in owners:
        try:
            if owner.name == CORE:
                core_metadata(source)
            for name in owner.models:
                import_for(owner, name)
        except (PluginError, ConfigurationError) as error:
            problems.append(Problem(error.code, owner.name, error.what, remedy=error.remedy))
    return (*problems, *Hooks().load(owners))


def _metadata_in(module: ModuleType, default: sa.MetaData) -> sa.MetaData:
    package = module.__name__.rpartition(".")[0] or module.__name__
    values = list(vars(module).values())
    for value in values:
        home = value.__module__ if isinstance(value, type) else ""
        if home == package or home.startswith(f"{package}."):
            metadata = getattr(getattr(value, "__table__", value), "metadata", None)
            if isinstance(metadata, sa.MetaData):
                return metadata
    # Tables do not say where they were made; those of the core are on the core's MetaData.
    for value in values:
        metadata = value.metadata if isinstance(value, sa.Table) else value
        if isinstance(metadata, sa.MetaData) and metadata is not default:
            return metadata
    return default
