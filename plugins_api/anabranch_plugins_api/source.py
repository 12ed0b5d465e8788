"""A plugin's migrations, declared in code instead of by entry points."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike


@dataclass(frozen=True, slots=True)
class MigrationSource:
    """Where an owner keeps its revisions and models.

    :param name: the plugin's name; normalised like a distribution's (PEP 503).
    :param migrations: the package, or the folder, that holds ``versions/``; None without any.
    :param models: modules to import before models are compared.
    :param distribution: the distribution that ships it, for messages and records.
    :param version: that distribution's version.
    """

    name: str
    migrations: str | PathLike[str] | None = None
    models: tuple[str, ...] = ()
    distribution: str = ""
    version: str = ""
