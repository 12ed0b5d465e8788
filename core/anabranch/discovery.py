"""Entry points to owners: who is installed, and where their revisions and models are.

Nothing of a plugin is imported here. The groups of an application named ``shop`` are Quetz's:
``shop`` (hooks), ``shop.models`` (a module) and ``shop.migrations`` (a package that holds
``versions/``).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.names import CORE, is_owner_name, normalise
from anabranch.problems import Problem
from anabranch_plugins_api import MigrationSource

if TYPE_CHECKING:
    from typing import Protocol

    class _EntryPoints(Protocol):
        """What Python 3.10 and later versions have in common."""

        def select(self, *, group: str) -> Iterable[importlib.metadata.EntryPoint]: ...


_NAME_AND_VERSION = re.compile(r"^(Name|Version):[ \t]*(\S+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Owner:
    """The core or one plugin, as installed.

    :ivar migrations: the package, or the folder, that should hold ``versions/``; empty if none.
    :ivar location: the folder with the revision files, or None where it does not exist.
    :ivar models: modules that define its tables.
    :ivar hooks: the entry point's value, ``module`` or ``module:attribute``; empty if none.
    """

    name: str
    migrations: str = ""
    location: Path | None = None
    models: tuple[str, ...] = ()
    hooks: str = ""
    distribution: str = ""
    version: str = ""

    @property
    def title(self) -> str:
        """Name the owner with the distribution it came from."""
        source = " ".join(part for part in (self.distribution, self.version) if part)
        return f"{self.name} ({source})" if source else self.name


@dataclass(frozen=True)
class Discovery:
    """The owners by name, core first, and what is wrong with any of them."""

    owners: tuple[Owner, ...]
    problems: tuple[Problem, ...]

    def get(self, name: str) -> Owner | None:
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Owner]:
        return {owner.name: owner for owner in self.owners}


def discover(
    application: str, core: MigrationSource, sources: Iterable[MigrationSource] = ()
) -> Discovery:
    """Find every owner of *application*: the core, its plugins by entry points, and *sources*."""
    groups = {
        application: "hooks",
        f"{application}.models": "models",
        f"{application}.migrations": "migrations",
    }
    problems: list[Problem] = []
    found: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    entry_points = _entry_points(application, problems)
    for group, kind in groups.items():
        for entry_point in sorted(entry_points.select(group=group), key=_sort_key):
            name = normalise(entry_point.name)
            problem = (
                _name_problem(name, entry_point)
                or _value_problem(name, entry_point)
                or _double_problem(name, entry_point, found.get(name, {}).values())
            )
            if problem is not None:
                problems.append(problem)
            else:
                found.setdefault(name, {})[kind] = entry_point
    owners = [_from_source(CORE, core)]
    for name, parts in found.items():
        owners.append(_from_entry_points(name, parts))
    for source in sources:
        name = normalise(source.name)
        if not is_owner_name(name) or any(owner.name == name for owner in owners):
            problems.append(_source_problem(name, source))
        else:
            owners.append(_from_source(name, source))
    owners[1:] = sorted(owners[1:], key=lambda owner: owner.name)
    for owner in owners:
        if owner.migrations and owner.location is None:
            problems.append(_location_problem(application, owner))
    return Discovery(tuple(owners), tuple(problems))


def _entry_points(application: str, problems: list[Problem]) -> _EntryPoints:
    try:
        return importlib.metadata.entry_points()
    except (ValueError, TypeError, AttributeError):
        pass  # one file that is damaged; the others are as good as ever
    found: dict[str, tuple[importlib.metadata.EntryPoint, ...]] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.name
        try:
            found.setdefault(name, tuple(distribution.entry_points))
        except (ValueError, TypeError, AttributeError):
            if f"[{application}" in (distribution.read_text("entry_points.txt") or ""):
                problems.append(
                    Problem(
                        code="AB112",
                        owner=normalise(name),
                        text=f"The entry points of {name} {distribution.version} cannot be read.",
                        remedy="Reinstall it.",
                    )
                )
    return importlib.metadata.EntryPoints(item for items in found.values() for item in items)


def find_module(module: str) -> Path | None:
    """Return the folder of a package, or the file of a module, without importing anything.

    Only the top-level name goes through the import system; what is below it is looked up as files,
    because looking up ``a.b`` the usual way imports ``a``.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return Path(str(spec.origin)) if spec.has_location and not rest else None
    for folder in spec.submodule_search_locations:
        path = Path(folder, *rest)
        if path.is_dir():
            return path
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
    return None


def is_editable(distribution: str) -> bool:
    """Tell whether *distribution* is installed in editable mode (PEP 610)."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _sort_key(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str, str]:
    # The order of entry points is the file system's; messages must not depend on it.
    return (entry_point.name, entry_point.value, _distribution(entry_point)[0])


def _belongs(one: importlib.metadata.EntryPoint, other: importlib.metadata.EntryPoint) -> bool:
    """Tell whether the two are parts of one plugin, or one part that is listed twice."""
    return _distribution(one) == _distribution(other) and (
        one.group != other.group or (one.name, one.value) == (other.name, other.value)
    )


def _distribution(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    dist = entry_point.dist
    if dist is None:
        return "", ""
    return _name_and_version(dist)


def _name_and_version(dist: importlib.metadata.Distribution) -> tuple[str, str]:
    # What dist.name does parses all of the file as an e-mail, each time.
    head = (dist.read_text("METADATA") or "").partition("\n\n")[0]
    found = dict(_NAME_AND_VERSION.findall(head))
    return (found["Name"], found["Version"]) if len(found) == 2 else (dist.name, dist.version)


def _name_problem(name: str, entry_point: importlib.metadata.EntryPoint) -> Problem | None:
    if is_owner_name(name) and name != CORE:
        return None
    reason = "is the name of the application's own revisions" if name == CORE else "does not fit"
    return Problem(
        code="AB111",
        owner=name,
        text=f"The plugin name {entry_point.name!r} of {_described(entry_point)} {reason}.",
        remedy="Use letters, digits, dashes, underscores and dots, 100 at most, and not 'core'.",
    )


def _value_problem(name: str, entry_point: importlib.metadata.EntryPoint) -> Problem | None:
    match = entry_point.pattern.match(entry_point.value)
    if match and all(part.isidentifier() for part in match["module"].split(".")):
        return None
    return Problem(
        code="AB112",
        owner=name,
        text=f"The entry point of {_described(entry_point)} names {entry_point.value!r}, "
        "which is no module.",
        remedy="Correct the entry point in the plugin's pyproject.toml and reinstall it.",
    )


def _double_problem(
    name: str,
    one: importlib.metadata.EntryPoint,
    others: Iterable[importlib.metadata.EntryPoint],
) -> Problem | None:
    other = next((other for other in others if not _belongs(one, other)), None)
    if other is None:
        return None
    return Problem(
        code="AB122",
        owner=name,
        text=f"Two entry points name the same plugin: {other.name!r} of {_described(other)} and "
        f"{one.name!r} of {_described(one)}.",
        remedy="Uninstall one of the two distributions, or rename one entry point.",
    )


def _source_problem(name: str, source: MigrationSource) -> Problem:
    return Problem(
        code="AB122",
        owner=name,
        text=f"A source declared in code is called {source.name!r}: that does not fit or is taken.",
        remedy="Give it another name.",
    )


def _described(entry_point: importlib.metadata.EntryPoint) -> str:
    return " ".join(_distribution(entry_point)) or "an unknown distribution"


def _location_problem(application: str, owner: Owner) -> Problem:
    # A plugin under development has no revisions yet; a wheel that lost them is broken.
    new = bool(owner.distribution) and is_editable(owner.distribution)
    command, remedy = f"{application} make-migrations", "Reinstall it; its"
    if owner.name == CORE:
        new = new and (find_module(owner.migrations) or Path(owner.migrations)).is_dir()
        remedy = "Correct what MigrationManager was given as migrations=; the"
        if not owner.distribution or is_editable(owner.distribution):
            remedy = f"Write the first revision: '{command} --initialize'. Or c{remedy[1:]}"
    else:
        command += f" --plugin {owner.name}"
    return Problem(
        code="AB119",
        owner=owner.name,
        text=f"{owner.title} names {owner.migrations!r} as its migrations, "
        "and there is no folder 'versions' in it.",
        remedy=f"Run '{command} --initialize'."
        if new
        else f"{remedy} package must ship the folder 'versions' with the revision files.",
        level="warning" if new else "error",
    )


def _from_entry_points(name: str, parts: dict[str, importlib.metadata.EntryPoint]) -> Owner:
    distribution, version = _distribution(next(iter(parts.values())))
    migrations = _module(parts.get("migrations"))
    models = _module(parts.get("models"))
    return Owner(
        name=name,
        migrations=migrations,
        location=_versions(find_module(migrations)) if migrations else None,
        models=(models,) if models else (),
        hooks=_value(parts["hooks"]) if "hooks" in parts else "",
        distribution=distribution,
        version=version,
    )


def _module(entry_point: importlib.metadata.EntryPoint | None) -> str:
    return entry_point.module if entry_point else ""


def _value(entry_point: importlib.metadata.EntryPoint) -> str:
    """Return ``module`` or ``module:attribute``, without the extras that may follow."""
    return ":".join(filter(None, (entry_point.module, entry_point.attr)))


def _from_source(name: str, source: MigrationSource) -> Owner:
    migrations = "" if source.migrations is None else os.fspath(source.migrations)
    folder = Path(migrations)
    if isinstance(source.migrations, str) and all(
        part.isidentifier() for part in migrations.split(".")
    ):
        folder = find_module(migrations) or folder
    return Owner(
        name=name,
        migrations=migrations,
        location=_versions(folder) if migrations else None,
        models=source.models,
        distribution=source.distribution,
        version=source.version,
    )


def _versions(folder: Path | None) -> Path | None:
    return folder / "versions" if folder is not None and (folder / "versions").is_dir() else None


def distribution_of(names: Sequence[str]) -> tuple[str, str]:
    """Return name and version of the first of *names* that is an installed distribution."""
    for name in names:
        try:
            return name, _name_and_version(importlib.metadata.distribution(name))[1]
        except importlib.metadata.PackageNotFoundError:
            continue
    return "", ""
