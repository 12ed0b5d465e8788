"""``db repair``: accept what a check keeps finding wrong."""

from __future__ import annotations

from pathlib import Path

import click

from anabranch import console
from anabranch.cli.shared import Manager, directory, lock_timeout_option, told
from anabranch.cli.telling import LISTENER


def repair_command(manager: Manager) -> click.Command:
    @click.command("repair")
    @directory
    @click.option(
        "--accept-edited",
        multiple=True,
        metavar="OWNER@ID",
        help="Take the new text of an applied revision for what ran.",
    )
    @click.option(
        "--accept-missing",
        multiple=True,
        metavar="OWNER@ID",
        help="Miss the file of an applied revision no more.",
    )
    @click.option(
        "--accept-inserted",
        multiple=True,
        metavar="OWNER@ID",
        help="Record a revision put behind an applied one as applied, without running it.",
    )
    @click.option(
        "--leftover",
        multiple=True,
        metavar="TABLE",
        help="Drop the copy that a cut-off rebuild left, if no row is only there; or let it be the "
        "table, where that is gone.",
    )
    @click.option(
        "--version-table", is_flag=True, help="Write Alembic's table anew from our records."
    )
    @click.option("--reason", default="", metavar="TEXT", help="Why; the journal keeps it.")
    @lock_timeout_option
    def repair(
        deployment_dir: Path,
        accept_edited: tuple[str, ...],
        accept_missing: tuple[str, ...],
        accept_inserted: tuple[str, ...],
        leftover: tuple[str, ...],
        version_table: bool,
        reason: str,
        lock_timeout: float | None,
    ) -> None:
        """Accept what a check keeps finding wrong, each with a reason that is recorded.

        Without options it says what there is to repair, and changes nothing.
        """
        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            if not any((accept_edited, accept_missing, accept_inserted, leftover, version_table)):
                offers = app.repairs(deployment_dir)
                for offer in offers:
                    console.say(f"{offer.option} {offer.value}".strip())
                    console.say(f"  {offer.text}")
                if not offers:
                    console.say("There is nothing to repair.")
                return
            done = app.repair(
                deployment_dir,
                reason=reason,
                edited=accept_edited,
                missing=accept_missing,
                inserted=accept_inserted,
                leftovers=leftover,
                version_table=version_table,
                lock_timeout=lock_timeout,
                listener=LISTENER,
            )
            for offer in done:
                console.say(f"Repaired  {offer.option} {offer.value}".rstrip())

    return repair
