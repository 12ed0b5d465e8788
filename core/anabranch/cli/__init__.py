"""The commands: each parses, calls the manager, prints, and turns an error into an exit code."""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from anabranch import console
from anabranch.cli.leaving import downgrade_command, forget_command, purge_command
from anabranch.cli.looking import (
    check_command,
    history_command,
    plan_command,
    plugins_command,
    sql_command,
    status_command,
)
from anabranch.cli.repairing import repair_command
from anabranch.cli.restoring import restore_command
from anabranch.cli.running import init_db_command, rehearse_command
from anabranch.cli.settling import adopt_command, stamp_command
from anabranch.cli.shared import Manager
from anabranch.cli.writing import make_migrations_command
from anabranch.errors import UsageError

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager


def add_commands(manager: MigrationManager, group: Any) -> None:
    """Put the commands of *manager* on *group*."""
    for command in _commands(lambda: manager):
        group.add_command(command if isinstance(group, click.Group) else _guest(command))


def _guest(command: click.Command) -> click.Command:
    """Wrap *command* for a group of Typer, whose own copy of click knows none of our exceptions."""

    @click.command(
        command.name,
        help=command.help,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def guest(context: click.Context, arguments: tuple[str, ...]) -> None:
        command.main(list(arguments), prog_name=context.command_path)

    return guest


@click.group()
@click.option(
    "--app",
    metavar="MODULE:MANAGER",
    envvar="ANABRANCH_APP",
    help="Where the application's MigrationManager is, e.g. shop.db:manager.",
)
@click.version_option(package_name="anabranch")
def main(app: str | None) -> None:
    """Migrate the database of an application that has no command line of its own."""


def _named_manager() -> MigrationManager:
    """Import the manager that ``--app`` names, from the working directory too."""
    from anabranch.manager import MigrationManager

    root = click.get_current_context().find_root()
    name = root.params["app"]
    if not name:
        raise UsageError(
            "No application is named.", remedy="Say --app MODULE:MANAGER, or set ANABRANCH_APP."
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{name!r} cannot be imported: {error}.",
            remedy="--app names a module and, after a colon, its MigrationManager.",
        ) from error
    if not isinstance(found, MigrationManager):
        raise UsageError(
            f"{name!r} is no MigrationManager but {type(found).__name__}.",
            remedy="--app names a module and, after a colon, its MigrationManager.",
        )
    if root.get_parameter_source("app") is ParameterSource.COMMANDLINE:
        console.call_with(f"--app {name}")
    return found


def _commands(manager: Manager) -> list[click.Command]:
    return [init_db_command(manager), make_migrations_command(manager), _db(manager)]


def _db(manager: Manager) -> click.Group:
    @click.group("db")
    def db() -> None:
        """Look at a deployment's database, or set right what is in it."""

    for make in (
        plan_command,
        status_command,
        history_command,
        plugins_command,
        downgrade_command,
        check_command,
        sql_command,
        purge_command,
        stamp_command,
        adopt_command,
        repair_command,
        forget_command,
        rehearse_command,
        restore_command,
    ):
        db.add_command(make(manager))
    return db


for _command in _commands(_named_manager):
    main.add_command(_command)
