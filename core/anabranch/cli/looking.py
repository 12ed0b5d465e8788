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
    told,
)


def plan_command(manager: Manager) -> click.Command:
    @click.command("plan")
    @directory
    @json_option
    @check_option
    def plan(deployment_dir: Path, as_json: bool, check: bool) -> None:
        """Show which revisions init-db would run, in order, and why each stands where it does."""
        with told(as_json=as_json):
            app = manager()
            reading = app.read(deployment_dir)
            reading.require_sound()
            found, title = reading.plan(), app.open(deployment_dir).database.title
            if as_json:
                console.say_json(
                    {
                        "database": title,
                        "digest": found.digest,
                        "applied": found.applied,
                        "steps": [console.step_json(step) for step in found.steps],
                        "problems": [console.problem_json(item) for item in reading.problems],
                    }
                )
            else:
                console.say_plan(found, title)
                console.say_problems(reading.problems)
            if check and found:
                sys.exit(PENDING)

    return plan


def status_command(manager: Manager) -> click.Command:
    @click.command("status")
    @directory
    @json_option
    @check_option
    def status(deployment_dir: Path, as_json: bool, check: bool) -> None:
        """Show where the database stands, owner by owner, and what is wrong."""
        with told(as_json=as_json):
            found = manager().status(deployment_dir)
            if as_json:
                console.say_json(console.status_json(found))
            else:
                console.say_status(found)
                console.say_problems(found.problems)
            if check and found.state != "current":
                sys.exit(PENDING if found.state == "pending" else FAULTY)

    return status


def history_command(manager: Manager) -> click.Command:
    @click.command("history")
    @directory
    @json_option
    def history(deployment_dir: Path, as_json: bool) -> None:
        """Show what was done to the database: when, by whom, from which package."""
        with told(as_json=as_json):
            events = manager().history(deployment_dir)
            if as_json:
                console.say_json({"events": [console.event_json(event) for event in events]})
            elif events:
                console.say_history(events)
            else:
                console.say("Nothing was done to this database yet.")

    return history


def plugins_command(manager: Manager) -> click.Command:
    @click.command("plugins")
    @click.argument("deployment_dir", type=click.Path(path_type=Path), required=False)
    @json_option
    def plugins(deployment_dir: Path | None, as_json: bool) -> None:
        """List the installed plugins and what is wrong with any of them.

        With DEPLOYMENT_DIR, also which of them its configuration leaves out.
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
