"""The ``db`` commands that look at a database and change nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from anabranch import console
from anabranch.cli.shared import (
    FAULTY,
    PENDING,
    Manager,
    check_option,
    directory,
    json_option,
    strict_option,
    told,
)

OPERATIONS_SHOWN = 100
"""So many pending revisions have their files read to say what each does."""


def plan_command(manager: Manager) -> click.Command:
    @click.command("plan")
    @directory
    @json_option
    @check_option
    @strict_option
    @click.option(
        "--operations/--no-operations",
        default=None,
        help=f"Say what each revision does; by default for up to {OPERATIONS_SHOWN} of them.",
    )
    def plan(
        deployment_dir: Path, as_json: bool, check: bool, strict: bool, operations: bool | None
    ) -> None:
        """Show which revisions init-db would run, in order, and why each stands where it does.

        What a revision does is read from its source, which is not run.
        """
        from anabranch import foresight
        from anabranch.outline import read_outline
        from anabranch.reports import plans

        with told(as_json=as_json):
            access = manager().open(deployment_dir)
            recorder, title = access.recorder, access.database.title
            with access.look() as (reading, connection):
                reading.require_sound(strict=strict)
                found = reading.plan()
                problems = (
                    *reading.problems,
                    *foresight.half_done(recorder, connection),
                    *foresight.losses(recorder, connection, reading, found),
                    *foresight.occupied(recorder, connection, found),
                )
            outlines = None
            if operations or (operations is None and len(found.steps) <= OPERATIONS_SHOWN):
                outlines = {step.key: read_outline(step.revision) for step in found.steps}
            if as_json:
                console.say_json(plans.plan_json(found, title, problems, outlines))
            else:
                plans.say_plan(found, title, problems, outlines)
            if check and found:
                is_faulty = any(problem.level == "error" for problem in problems)
                sys.exit(FAULTY if is_faulty else PENDING)

    return plan


def status_command(manager: Manager) -> click.Command:
    @click.command("status")
    @directory
    @json_option
    @check_option
    @strict_option
    def status(deployment_dir: Path, as_json: bool, check: bool, strict: bool) -> None:
        """Show where the database stands, owner by owner, and what is wrong."""
        from anabranch.reports import statuses

        with told(as_json=as_json):
            found = manager().status(deployment_dir)
            if as_json:
                console.say_json(statuses.status_json(found))
            else:
                statuses.say_status(found)
                console.say_problems(found.problems)
                if strict and found.orphaned:
                    console.say_note(f"Not installed any more: {', '.join(found.orphaned)}.")
            if strict and (found.problems or found.orphaned):
                sys.exit(FAULTY)
            if check and found.state != "current":
                sys.exit(PENDING if found.state == "pending" else FAULTY)

    return status


def history_command(manager: Manager) -> click.Command:
    @click.command("history")
    @directory
    @json_option
    @click.option("--owner", metavar="NAME", help="Only what concerns this owner.")
    @click.option("--run", metavar="ID", help="Only what this run did.")
    @click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
    def history(
        deployment_dir: Path, as_json: bool, owner: str | None, run: str | None, limit: int | None
    ) -> None:
        """Show what was done to the database: when, by whom, from which package.

        The newest comes last.
        """
        from anabranch.reports import journal

        with told(as_json=as_json):
            events = manager().history(deployment_dir, owner=owner, run=run, limit=limit)
            if as_json:
                console.say_json({"events": [journal.event_json(event) for event in events]})
            else:
                journal.say_history(events, chosen=bool(owner or run))

    return history


def check_command(manager: Manager) -> click.Command:
    @click.command("check")
    @directory
    @json_option
    @click.option("--owner", metavar="NAME", help="Look at this owner only.")
    def check(deployment_dir: Path, as_json: bool, owner: str | None) -> None:
        """Compare models, revisions and database, owner by owner.

        Exits with 4 where they differ or something is faulty, with 3 where an owner's revisions
        are pending and nothing else is amiss.
        """
        with told(as_json=as_json):
            found = manager().check(deployment_dir, owner=owner)
            # Imports Alembic's autogenerate, which the other commands do without.
            from anabranch.reports import checks

            if as_json:
                console.say_json(checks.check_json(found))
            else:
                checks.say_check(found)
            if found.state != "same":
                sys.exit(PENDING if found.state == "pending" else FAULTY)

    return check


def sql_command(manager: Manager) -> click.Command:
    @click.command("sql")
    @directory
    @json_option
    @click.option("--dialect", metavar="NAME", help="Write for this database instead.")
    @click.option(
        "--from-nothing",
        is_flag=True,
        help="Write for an empty database.",
    )
    def sql(deployment_dir: Path, as_json: bool, dialect: str | None, from_nothing: bool) -> None:
        """Write what init-db would do as a script for the server's own client.

        A revision that reads the database cannot be written, and is named. Hooks and seeds of
        plugins are not part of the script.
        """
        from anabranch.reports import plans

        with told(as_json=as_json):
            script = manager().sql(deployment_dir, dialect=dialect, from_nothing=from_nothing)
            if as_json:
                console.say_json(plans.script_json(script))
            else:
                console.say(script.text.rstrip("\n"))
                for warning in script.warnings:
                    console.say(f"Warning: {warning}", err=True)

    return sql


def plugins_command(manager: Manager) -> click.Command:
    @click.command("plugins")
    @click.argument("deployment_dir", type=click.Path(path_type=Path), required=False)
    @json_option
    def plugins(deployment_dir: Path | None, as_json: bool) -> None:
        """List the installed plugins and what is wrong with any of them.

        Their models and hooks are imported. With DEPLOYMENT_DIR, also which of them its
        configuration leaves out.
        """
        with told(as_json=as_json):
            found = manager().plugins(deployment_dir)
            rows: list[dict[str, Any]] = [
                {
                    "owner": owner.name,
                    "distribution": owner.distribution,
                    "version": owner.version,
                    "migrations": owner.migrations,
                    "location": str(owner.location or ""),
                    "models": list(owner.models),
                    "note": note,
                }
                for owner, note in found
            ]
            if as_json:
                console.say_json({"plugins": rows})
                return
            console.say_table(
                ("owner", "distribution", "migrations", "note"),
                [
                    (
                        str(row["owner"]),
                        f"{row['distribution']} {row['version']}".strip() or "-",
                        str(row["migrations"]) or "-",
                        str(row["note"]) or "ok",
                    )
                    for row in rows
                ],
            )

    return plugins
