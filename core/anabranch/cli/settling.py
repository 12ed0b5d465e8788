"""``db stamp`` and ``db adopt``: what is recorded is made to say what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import console
from anabranch.cli.consent import require_consent, yes_option
from anabranch.cli.shared import Manager, directory, lock_timeout_option, told
from anabranch.cli.telling import LISTENER
from anabranch.wording import counted

if TYPE_CHECKING:
    from anabranch.stamping import Stamp


def stamp_command(manager: Manager) -> click.Command:
    @click.command("stamp")
    @directory
    @click.argument("targets", nargs=-1, required=True, metavar="OWNER@REVISION...")
    @yes_option
    @lock_timeout_option
    def stamp(
        deployment_dir: Path, targets: tuple[str, ...], yes: bool, lock_timeout: float | None
    ) -> None:
        """Record that the database stands at a revision, without running anything.

        For those who know it: nothing is compared ('db adopt' does that). A target is a revision
        (core@4f1c), an owner's last (billing@head) or none (billing@base), or heads for everything.
        """

        def agree(planned: Stamp) -> None:
            _show(planned)
            require_consent("Nothing is run and nothing is compared.", "stamp", yes=yes)

        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            done = app.stamp(
                deployment_dir,
                *targets,
                lock_timeout=lock_timeout,
                agree=agree,
                listener=LISTENER,
            )
            console.say("Done." if done else "That is what is recorded already.")

    return stamp


def adopt_command(manager: Manager) -> click.Command:
    @click.command("adopt")
    @directory
    @click.option(
        "--plugin", metavar="NAME", help="Whose tables; else those of all, or the core's."
    )
    @click.option("--revision", metavar="ID", help="What the tables are of; else the last.")
    @click.option("--accept-differences", is_flag=True, help="Record it although they differ.")
    @click.option(
        "--scratch", metavar="URL", help="An empty database to build in; else one is made."
    )
    @lock_timeout_option
    def adopt(
        deployment_dir: Path,
        plugin: str | None,
        revision: str | None,
        accept_differences: bool,
        scratch: str | None,
        lock_timeout: float | None,
    ) -> None:
        """Take over tables that are there without a record: create_all(), or another tool.

        Runs the revisions in a scratch database of the same kind, compares the tables, and records
        the revisions as applied if they are equal. A database with Alembic's own table needs no
        adoption: init-db takes it over.
        """
        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            done = app.adopt(
                deployment_dir,
                plugin=plugin,
                revision=revision,
                accept_differences=accept_differences,
                scratch=scratch,
                lock_timeout=lock_timeout,
                listener=LISTENER,
            )
            for line in done.differences:
                console.say(f"Accepted  {line}")
            console.say(
                f"Done: {counted(len(done.tables), 'table', 'tables')} compared, "
                f"{counted(len(done.added), 'revision', 'revisions')} recorded."
            )

    return adopt


def _show(stamp: Stamp) -> None:
    for word, keys in (("Applied", stamp.added), ("Not applied", stamp.removed)):
        if keys:
            console.say(f"{word}: {', '.join(map(str, keys))}")
