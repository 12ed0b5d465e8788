"""The commands: each parses, calls the manager, prints, and turns an error into an exit code."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli.running import init_db_command
from anabranch.cli.shared import Manager
from anabranch.cli.writing import make_migrations_command

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager

_VERBS = {
    "adopt": "settling",
    "check": "looking",
    "downgrade": "leaving",
    "forget": "leaving",
    "history": "looking",
    "plan": "looking",
    "plugins": "looking",
    "purge": "leaving",
    "rehearse": "running",
    "repair": "repairing",
    "restore": "restoring",
    "sql": "looking",
    "stamp": "settling",
    "status": "looking",
}
"""The commands of the group ``db``, each with the module that makes it."""


def add_commands(manager: MigrationManager, group: Any) -> None:
    """Put the commands of *manager* on *group*."""
    for command in commands(lambda: manager):
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


def main() -> None:
    """Run the program ``anabranch``."""
    from anabranch.cli.program import main

    main()


def commands(manager: Manager) -> list[click.Command]:
    """Make the commands, for the application that *manager* returns."""
    return [init_db_command(manager), make_migrations_command(manager), _Db(manager)]


class _Db(click.Group):
    """The group ``db``, whose commands are imported when they are asked for.

    :param manager: returns the application's manager.
    """

    def __init__(self, manager: Manager) -> None:
        super().__init__("db", help="Look at a deployment's database, or set right what is in it.")
        self._manager = manager

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _VERBS and cmd_name not in self.commands:
            module = import_module(f"{__name__}.{_VERBS[cmd_name]}")
            self.add_command(getattr(module, f"{cmd_name}_command")(self._manager))
        return super().get_command(ctx, cmd_name)
