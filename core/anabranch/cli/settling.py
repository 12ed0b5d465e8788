"""``db stamp``: what is recorded is set right by somebody who knows better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import console
from anabranch.cli.consent import require_consent, yes_option
from anabranch.cli.shared import Manager, directory, lock_timeout_option, say_waiting, told

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
                waiting=say_waiting,
            )
            console.say("Done." if done else "That is what is recorded already.")

    return stamp


def _show(stamp: Stamp) -> None:
    for word, keys in (("Applied", stamp.added), ("Not applied", stamp.removed)):
        if keys:
            console.say(f"{word}: {', '.join(map(str, keys))}")
