"""``make-migrations``: check that a revision can be written, write it, or say why not."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from anabranch.authoring import dependencies
from anabranch.authoring.comparison import Scope, compare
from anabranch.authoring.cycles import refuse_dropped_cycles
from anabranch.authoring.enums import Enums
from anabranch.authoring.naming import constraints_named
from anabranch.authoring.nulls import nulls_refused
from anabranch.authoring.ownership import Models
from anabranch.authoring.rendering import docstring, in_words, render_file, slug
from anabranch.authoring.scratch import scratch_database, scratch_recorder
from anabranch.authoring.values import new_values
from anabranch.discovery import Discovery, Owner, find_module
from anabranch.errors import IntegrityError, PendingError, UsageError
from anabranch.names import normalise
from anabranch.objects import OwnedObject
from anabranch.reading import Reading
from anabranch.recorder import Recorder
from anabranch.revision import CORE, RevisionKey
from anabranch.wording import did_you_mean

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager, Target


@dataclass(frozen=True, slots=True)
class NewRevision:
    """A revision file that was written, what it does in words, and what it depends on."""

    key: RevisionKey
    path: Path
    operations: tuple[str, ...]
    depends_on: tuple[RevisionKey, ...]


def write_revision(
    manager: MigrationManager,
    target: Target | None,
    *,
    plugin: str | None,
    initialize: bool,
    message: str,
    report: Callable[[str], None],
) -> NewRevision | None:
    """Do what :meth:`MigrationManager.revision` says."""
    discovery = manager.discover()
    owner = _owner(manager.name, discovery, plugin)
    folder = _folder(manager.name, owner)
    _check_start(manager.name, owner, initialize=initialize)
    models = Models.load(
        discovery, manager.metadata, wanted=owner.name, core_modules=manager.core_modules
    )
    with _database(manager, target, owner) as (connection, reading, recorder):
        graph = reading.graph
        recorded = recorder.objects(connection)
        models.default_schema = connection.dialect.default_schema_name or ""
        scope = Scope.of(owner.name, models, recorded, strangers(discovery, reading, models))
        upgrade, context = compare(connection, scope)
        refuse_dropped_cycles(upgrade, models)
        if scope.withheld:
            report(
                f"Left alone, since it may be of {', '.join(sorted(scope.strangers))}, and nothing "
                f"records who made it: {', '.join(sorted(scope.withheld))}. "
                "Drop by hand what is yours."
            )
        values = new_values(connection, reading, scope, upgrade, report)
        if upgrade.is_empty() and not values:
            return None
        heads = graph.heads(owner.name)
        if len(heads) > 1:
            raise UsageError(
                f"{owner.name} has several heads: {', '.join(key.id for key in heads)}.",
                remedy="Merge them first: a revision with all of them as its down_revision.",
            )
        wanted = dependencies.foreign_needs(dependencies.needs(upgrade, models), owner.name, models)
        needed = _providers(manager, connection, reading, wanted, recorded)
        depends_on = dependencies.minimal(needed, heads, graph)
        key = RevisionKey(owner.name, _new_id(reading))
        label = manager.name if owner.name == CORE else owner.name
        if not docstring(message):
            message = "update models" if heads else "initial revision"
        with constraints_named(upgrade):
            text = render_file(
                upgrade,
                context,
                enums=Enums.of(upgrade, models),
                values=values,
                revision=key.id,
                message=message,
                down_revision=heads[0].id if heads else None,
                branch_labels=None if heads else (label,),
                depends_on=tuple(dependencies.reference(other, graph) for other in depends_on),
            )
        for sentence in nulls_refused(upgrade.ops):
            report(sentence)
        operations = (*(line for each in values for line in each.words()), *in_words(upgrade))
    path = _write(folder, f"{key.id}_{slug(message)}".rstrip("_") + ".py", text)
    return NewRevision(key, path, operations, depends_on)


def _owner(application: str, discovery: Discovery, plugin: str | None) -> Owner:
    name = CORE if plugin is None else normalise(plugin)
    if name == CORE:
        return discovery.owners[0]
    owner = discovery.get(name)
    names = [other.name for other in discovery.owners[1:]]
    package = name.replace("-", "_")
    if owner is None:
        raise UsageError(
            f"No installed plugin is called {plugin!r}.{did_you_mean(name, names)} "
            f"Installed plugins: {', '.join(names) or 'none'}.",
            remedy="Add these lines to its pyproject.toml, then install it with "
            f"'pip install -e DIRECTORY':\n{_entry_points(application, name, package)}",
        )
    missing = [
        kind
        for kind, value in (("models", owner.models), ("migrations", owner.migrations))
        if not value
    ]
    if missing:
        module = (*owner.models, owner.migrations, owner.hooks.split(":")[0])
        package = next(value for value in module if value).rpartition(".")[0] or package
        raise UsageError(
            f"{owner.title} has no entry point in the group "
            f"{' and '.join(f'{application}.{kind}' for kind in missing)}.",
            remedy="Add these lines to its pyproject.toml, then install it again with "
            f"'pip install -e DIRECTORY':\n{_entry_points(application, name, package, missing)}",
        )
    return owner


def _entry_points(application: str, name: str, package: str, kinds: list[str] | None = None) -> str:
    modules = {"models": f"{package}.db_models", "migrations": f"{package}.migrations"}
    return "\n".join(
        f'  [project.entry-points."{application}.{kind}"]\n  {name} = "{modules[kind]}"'
        for kind in kinds or modules
    )


def _folder(application: str, owner: Owner) -> Path:
    """Return the folder the file goes to, which need not exist yet."""
    folder = owner.location
    if folder is None:
        package, _, rest = owner.migrations.partition(".")
        top = find_module(package) if package.isidentifier() else Path(owner.migrations)
        if top is None or (rest and not top.is_dir()):
            raise UsageError(
                f"The package {package!r} of {owner.title} was not found.",
                remedy="Install the plugin with 'pip install -e DIRECTORY'.",
            )
        folder = Path(top, *rest.split("."), "versions") if rest else top / "versions"
    if {"site-packages", "dist-packages"} & set(folder.parts):
        raise UsageError(
            f"{owner.title} is installed as a copy, in {folder}: a revision written there would be "
            "lost with the next installation.",
            remedy=f"Install it in editable mode, from its source: pip install -e DIRECTORY. Then "
            f"run '{application} make-migrations' again.",
        )
    return folder


def _check_start(application: str, owner: Owner, *, initialize: bool) -> None:
    started = owner.location is not None and any(
        path.name != "__init__.py" for path in owner.location.glob("*.py")
    )
    if initialize and started:
        raise UsageError(
            f"{owner.name} has revisions already, in {owner.location}.",
            remedy="Leave out --initialize to write the next one.",
        )
    if not initialize and not started:
        option = "" if owner.name == CORE else f" --plugin {owner.name}"
        raise UsageError(
            f"{owner.name} has no revisions yet.",
            remedy=f"Write the first: '{application} make-migrations{option} --initialize'.",
        )


@contextmanager
def _database(
    manager: MigrationManager, target: Target | None, owner: Owner
) -> Generator[tuple[sa.Connection, Reading, Recorder], None, None]:
    """Connect to a database in which *owner* is up to date: the target's, or a scratch one."""
    with ExitStack() as stack:
        if target is not None:
            reading = manager.read(target)
            _require_sound(reading, owner)
            # Not the plan's: that leaves out the revisions of a disabled plugin.
            pending = [key for key in reading.graph.of(owner.name) if key not in reading.applied]
            if pending:
                disabled = owner.name in reading.installation.disabled
                first = "Enable it there and run" if disabled else "Run"
                raise PendingError(
                    f"This database lacks revisions of {owner.name}, the first is {pending[0]}.",
                    pending=pending,
                    remedy=f"{first} '{manager.name} init-db', or leave the directory out.",
                )
            connection = stack.enter_context(manager.open(target).database.look())
            if connection is not None:
                yield connection, reading, manager.recorder
                return
        connection, reading = stack.enter_context(scratch_database(manager, owner.name))
        yield connection, reading, scratch_recorder(manager)


def _require_sound(reading: Reading, owner: Owner) -> None:
    errors = [p for p in reading.problems if p.level == "error" and p.owner == owner.name]
    # A folder that is missing is what --initialize is for.
    errors = [problem for problem in errors if problem.code != "AB119"]
    if errors:
        raise IntegrityError(errors)


def strangers(discovery: Discovery, reading: Reading, models: Models) -> set[str]:
    """Return the owners that may have something in the database, and whose models are not here."""
    installed = {owner.name for owner in discovery.owners}
    gone = {key.owner for key in reading.applied} - installed
    return gone | {failure.owner for failure in models.failures}


def _providers(
    manager: MigrationManager,
    connection: sa.Connection,
    reading: Reading,
    wanted: dict[dependencies.Need, str],
    recorded: tuple[OwnedObject, ...],
) -> set[RevisionKey]:
    """Find the revision that provides each need; replay the history where it was not recorded."""
    behind = {key.owner for key in reading.graph.installed - reading.applied}
    there = dependencies.present(connection, wanted)
    found = {
        need: dependencies.provider(need, recorded) for need in there if wanted[need] not in behind
    }
    if None in found.values() or len(found) < len(wanted):
        with scratch_database(manager, *sorted(set(wanted.values()))) as (scratch, _):
            replayed = scratch_recorder(manager).objects(scratch)
            there |= dependencies.present(scratch, wanted)
        found |= {
            need: dependencies.provider(need, replayed) for need in there if found.get(need) is None
        }
    for need in sorted(wanted.keys() - there):
        of = wanted[need]
        option = "" if of == CORE else f" --plugin {of}"
        raise UsageError(
            f"The models refer to {need}, which no revision of {of} creates.",
            remedy=f"Write that one first: '{manager.name} make-migrations{option}'.",
        )
    # What no revision was seen to create is there at the owner's heads at the latest.
    unknown = [need for need, key in found.items() if key is None]
    late = {head for need in unknown for head in reading.graph.heads(wanted[need])}
    return {key for key in found.values() if key is not None} | late


def _new_id(reading: Reading) -> str:
    taken = {key.id for key in reading.graph.revisions}
    while (id_ := uuid.uuid4().hex[:12]) in taken:
        continue
    return id_


def _write(folder: Path, name: str, text: str) -> Path:
    """Write the file whole or not at all, inside *folder*, over no other."""
    path = folder / name
    try:
        for package in (folder.parent, folder):
            package.mkdir(exist_ok=True)
            (package / "__init__.py").touch()  # so that every build tool ships it
        if path.resolve().parent != folder.resolve():
            raise UsageError(f"{path} is not inside {folder}.")
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            os.link(temporary, path)
        finally:
            Path(temporary).unlink()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Check the folder's permissions, and that its disk is not full.",
        ) from error
    return path
