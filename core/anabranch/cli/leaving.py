"""``db purge``, ``db forget`` and ``db downgrade``: what was applied leaves a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import console
from anabranch.cli.consent import require_consent, yes_option
from anabranch.cli.shared import (
    Manager,
    directory,
    lock_timeout_option,
    no_backup_option,
    told,
)
from anabranch.cli.telling import LISTENER
from anabranch.wording import counted, one_line

if TYPE_CHECKING:
    from anabranch.access import Access
    from anabranch.downgrading import Downgrade
    from anabranch.problems import Problem
    from anabranch.purging import Departure

plugin_argument = click.argument("plugin")


def purge_command(manager: Manager) -> click.Command:
    @click.command("purge")
    @directory
    @plugin_argument
    @click.option("--cascade", is_flag=True, help="Purge the plugins that depend on it too.")
    @click.option(
        "--no-downgrades",
        is_flag=True,
        help="Do not run the plugin's downgrades; drop what is recorded as its own.",
    )
    @no_backup_option
    @yes_option
    @lock_timeout_option
    def purge(
        deployment_dir: Path,
        plugin: str,
        cascade: bool,
        no_downgrades: bool,
        no_backup: bool,
        yes: bool,
        lock_timeout: float | None,
    ) -> None:
        """Remove PLUGIN's tables, what it put on others' tables, and its state. Rows are lost.

        Shows what would go, then asks. The plugin may be uninstalled. What others own stays as it
        is; what depends on the plugin stops the command, unless --cascade takes it along.
        """
        from anabranch.structure import shown

        def agree(departure: Departure) -> None:
            _show(departure)
            for claim in departure.claims:
                item = claim.item
                what = shown(item.table) if item.kind == "table" else item.name
                of = "" if item.kind == "table" else f" of {shown(item.table)}"
                console.say(f"Stays     {item.kind} {what}{of}, for {claim.owner}: {claim.reason}.")
            if departure.reverts and not no_downgrades:
                console.say("Its downgrades run first; what they leave is dropped.")
            require_consent(
                f"All of this would be lost for {' and '.join(departure.names)}.",
                departure.owner,
                yes=yes,
            )

        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            done = app.purge(
                deployment_dir,
                plugin,
                cascade=cascade,
                downgrades=not no_downgrades,
                lock_timeout=lock_timeout,
                backup=False if no_backup else None,
                agree=agree,
                listener=LISTENER,
            )
            console.say(f"Done: {' and '.join(done.names)} purged.")
            access = app.open(deployment_dir)
            taking_part = {owner.name for owner in app.discover().owners} - access.disabled
            stopped = _stopped(access) if taking_part.intersection(done.names) else {}
            for name in done.names:
                if problem := stopped.get(name):
                    console.say(
                        f"{name} is still installed, and the next init-db would stop: "
                        f"{problem.text} {console.as_called(problem.remedy)}"
                    )
                elif name in taking_part:
                    console.say(
                        f"{name} is still installed: the next init-db creates it again, unless it "
                        "is uninstalled or disabled."
                    )

    return purge


def forget_command(manager: Manager) -> click.Command:
    @click.command("forget")
    @directory
    @plugin_argument
    @yes_option
    @lock_timeout_option
    def forget(deployment_dir: Path, plugin: str, yes: bool, lock_timeout: float | None) -> None:
        """Drop what is recorded of PLUGIN, and nothing else: its tables and rows stay.

        They are nobody's from then on. 'db adopt' takes them back.
        """

        def agree(departure: Departure) -> None:
            _show(departure)
            require_consent(
                f"The state of {departure.owner} would be forgotten; its tables would stay.",
                departure.owner,
                yes=yes,
            )

        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            done = app.forget(
                deployment_dir, plugin, lock_timeout=lock_timeout, agree=agree, listener=LISTENER
            )
            from anabranch.structure import shown

            left = [shown(table) for estate in done.estates for table in estate.tables]
            console.say(
                f"Done: {done.owner} is forgotten. "
                + (f"Its tables stay: {', '.join(left)}." if left else "No table of it stays.")
            )

    return forget


def downgrade_command(manager: Manager) -> click.Command:
    @click.command("downgrade")
    @directory
    @click.argument("target", metavar="OWNER@TARGET")
    @click.option("--cascade", is_flag=True, help="Revert other owners' revisions that need them.")
    @no_backup_option
    @yes_option
    @lock_timeout_option
    def downgrade(
        deployment_dir: Path,
        target: str,
        cascade: bool,
        no_backup: bool,
        yes: bool,
        lock_timeout: float | None,
    ) -> None:
        """Revert what comes after a revision, and whatever needs that. Rows are lost.

        The target is a revision that stays (core@4f1c), one back (billing@-1), or before the first
        (billing@base). Shows what would be reverted, then asks. Another owner's tables are never
        changed.
        """

        from anabranch.structure import shown

        def agree(planned: Downgrade) -> None:
            if not planned.keys:
                return
            console.say(f"Reverts   {counted(len(planned.keys), 'revision', 'revisions')}:")
            for step in planned.reversal.plan.steps:
                also = "  (needs what is reverted)" if step.key in planned.reversal.others else ""
                console.say(f"  {step.key}  {one_line(step.revision.message)}{also}")
            for table, rows in planned.rows:
                console.say(f"  table {shown(table)}: {_counted_rows(rows)}")
            owner = planned.reversal.owner
            require_consent("What they hold would be lost.", owner, yes=yes)

        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            done = app.downgrade(
                deployment_dir,
                target,
                cascade=cascade,
                lock_timeout=lock_timeout,
                backup=False if no_backup else None,
                agree=agree,
                listener=LISTENER,
            )
            if not done.keys:
                console.say("Nothing comes after that: the database stands there already.")
                return
            number = counted(len(done.keys), "revision", "revisions")
            console.say(f"Done: {number} reverted in {done.duration:.2f} s.")
            for item in done.left:
                of = "" if item.kind == "table" else f" of {shown(item.table)}"
                console.say(f"Left      {item.kind} {item.name}{of}: {item.key} did not drop it.")
            for line in _afterwards(app.open(deployment_dir), done):
                console.say(line)

    return downgrade


def _stopped(access: Access) -> dict[str, Problem]:
    """Return whose revisions the next run would stop at, for what stayed is in their way."""
    from anabranch.foresight import occupied

    with access.look() as (reading, connection):
        found = occupied(access.recorder, connection, reading.plan())
    return {problem.owner: problem for problem in reversed(found)}


def _afterwards(access: Access, done: Downgrade) -> Iterator[str]:
    """Say what the next run does with what was reverted."""
    from anabranch.foresight import occupied

    with access.look() as (reading, connection):
        plan, graph = reading.plan(), reading.graph
        stopped = occupied(access.recorder, connection, plan)
    again = [key for key in plan.keys if key in done.keys]
    if not again:
        yield "The next init-db leaves it at that: none of them is installed and takes part."
        return
    owners = {key.owner for key in again}
    needed = {key.owner for key in graph.ancestors(again)} - owners
    after = graph.order[graph.order.index(again[0]) :]
    later = [key for key in after if key in reading.applied and key.owner in needed]
    yield "The next init-db applies them again, as far as they are installed."
    if later:
        yield (
            f"That would be after {later[-1]}, for which they may not be made. If they are not, "
            f"disable {' and '.join(sorted(owners))}, or install another release."
        )
    for problem in stopped:
        if problem.owner in owners:
            yield f"It would stop: {problem.text} {console.as_called(problem.remedy)}"


def _show(departure: Departure) -> None:
    """Print what would go, owner by owner."""
    from anabranch.estate import named
    from anabranch.structure import shown

    reasons = dict(departure.reasons)
    for estate in departure.estates:
        number = sum(1 for key in departure.revisions if key.owner == estate.owner)
        console.say(f"{estate.owner}: {counted(number, 'applied revision', 'applied revisions')}")
        if estate.owner in reasons:
            console.say(f"  goes too: {reasons[estate.owner]}")
        for table, rows in estate.rows.items():
            console.say(f"  table {shown(table)}: {_counted_rows(rows)}")
        for part in estate.parts:
            console.say(f"  {part.kind} {part.name} of {shown(part.table)}")
        for item in estate.standing:
            console.say(f"  {named(item)}")
        for table in estate.missing:
            console.say(f"  table {shown(table)} is not there any more")
        for key in estate.outgoing:
            console.say(f"  foreign key {key}")


def _counted_rows(rows: int) -> str:
    from anabranch.estate import ROW_LIMIT

    return f"more than {ROW_LIMIT} rows" if rows > ROW_LIMIT else counted(rows, "row", "rows")
