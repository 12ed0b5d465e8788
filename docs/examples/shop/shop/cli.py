"""The shop's command line: its own commands, and those that anabranch adds."""

from importlib.metadata import version as installed_version

import click
from anabranch import MigrationManager


@click.group()
def cli() -> None:
    """Run a small shop."""


@cli.command()
def version() -> None:
    """Print the version of the shop."""
    click.echo(installed_version("shop"))


manager = MigrationManager(
    "shop", metadata="shop.models:Base", migrations="shop.migrations", models=["shop.orders"]
)
manager.add_commands(cli)
