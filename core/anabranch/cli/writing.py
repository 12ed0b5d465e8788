"""``make-migrations``: write the next revision of a plugin or of the core."""

from __future__ import annotations

from pathlib import Path

import click

from anabranch import console
from anabranch.cli.shared import Manager, told


def make_migrations_command(manager: Manager) -> click.Command:
    @click.command("make-migrations")
    @click.argument("deployment_dir", type=click.Path(path_type=Path), required=False)
    @click.option("--plugin", metavar="NAME", help="The plugin to write for; else the core.")
    @click.option(
        "--initialize", is_flag=True, help="Write the plugin's first revision and its folders."
    )
    @click.option("-m", "--message", default="", help="What the revision does, in a few words.")
    def make_migrations(
        deployment_dir: Path | None, plugin: str | None, initialize: bool, message: str
    ) -> None:
        """Write the next revision of a plugin, or of the core, from its models.

        Compares them with the database of DEPLOYMENT_DIR or, without one, with a scratch database
        that all revisions built. Only what the plugin owns is looked at; without a difference no
        file is written.
        """
        notes: list[str] = []

        def note(text: str) -> None:
            notes.append(text)
            console.say(f"Note      {text}")

        with told():
            written = manager().revision(
                deployment_dir,
                plugin=plugin,
                initialize=initialize,
                message=message,
                report=note,
            )
            if written is None:
                same = "No change: the models say what the database has."
                console.say("No change that can be written." if notes else same)
                return
            console.say(f"Wrote     {written.path}")
            for line in written.operations:
                console.say(f"          {line}")
            if written.depends_on:
                console.say(f"Depends   {', '.join(map(str, written.depends_on))}")

    return make_migrations
