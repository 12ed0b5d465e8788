"""Writes ``docs/reference/commands.md`` from the commands' own help.

Run it as ``python tests/support/help_pages.py > docs/reference/commands.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from anabranch import MigrationManager
from anabranch.cli.program import main

_HEAD = """\
# Commands

A host adds these to its own command, here called `shop`. A host without one uses
`anabranch --app MODULE:MANAGER` in its place.

The texts below are what `--help` prints.
"""


def page() -> str:
    """Return the page: the help of every command."""
    group = click.Group("shop")
    MigrationManager(
        "shop", metadata="shop.models:Base", migrations="shop.migrations"
    ).add_commands(group)
    sections = [_HEAD, *_sections(group, "shop", skip=True), *_sections(main, "anabranch")]
    return "\n".join(sections)


def _sections(command: click.Command, path: str, *, skip: bool = False) -> Iterator[str]:
    if not skip:
        context = click.Context(command, info_name=path, terminal_width=88)
        yield f"## {path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group) and path != "anabranch":
        context = click.Context(command)
        for name in sorted(command.list_commands(context)):
            found = command.get_command(context, name)
            assert found is not None
            yield from _sections(found, f"{path} {name}")


if __name__ == "__main__":
    print(page(), end="")
