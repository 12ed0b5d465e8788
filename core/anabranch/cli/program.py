"""The program ``anabranch``, for applications without a command line of their own."""

from __future__ import annotations

import pkgutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from anabranch import console
from anabranch.cli import commands
from anabranch.errors import UsageError
from anabranch.wording import text_of

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager


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
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # A syntax error says itself where it is; its last frame is the importer's.
        is_syntax = isinstance(error, SyntaxError)
        place = "" if is_syntax else f" ({frame.filename}, line {frame.lineno})"
        raise UsageError(
            f"{name!r} cannot be imported: {type(error).__name__}: {text_of(error)}{place}.",
            remedy="Mend the application's module, or name another with --app MODULE:MANAGER.",
        ) from error
    if not isinstance(found, MigrationManager):
        raise UsageError(
            f"{name!r} is no MigrationManager but {type(found).__name__}.",
            remedy="--app names a module and, after a colon, its MigrationManager.",
        )
    if root.get_parameter_source("app") is ParameterSource.COMMANDLINE:
        console.call_with(f"--app {name}")
    return found


for _command in commands(_named_manager):
    main.add_command(_command)
