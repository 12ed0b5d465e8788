"""``init-db`` and ``db rehearse``: upgrade a deployment's database, or try whether that works."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from anabranch import console
from anabranch.cli.shared import (
    FAULTY,
    Manager,
    allow_destructive_option,
    directory,
    json_option,
    lock_timeout_option,
    no_backup_option,
    strict_option,
    told,
)
from anabranch.cli.telling import LISTENER
from anabranch.errors import IncompleteError
from anabranch.reports import runs
from anabranch.transactions import MODES, Mode
from anabranch.wording import counted


def init_db_command(manager: Manager) -> click.Command:
    @click.command("init-db")
    @directory
    @lock_timeout_option
    @click.option("--digest", help="Run only the plan that has this digest ('db plan' shows it).")
    @allow_destructive_option
    @no_backup_option
    @click.option("--rehearse", is_flag=True, help="Rehearse first; run if that goes well.")
    @click.option(
        "--transaction",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        help="One transaction for the run or for each revision; auto suits the database.",
    )
    @click.option(
        "--atomic", is_flag=True, help="The run is one transaction, as with --transaction run."
    )
    @click.option(
        "--keep-going",
        is_flag=True,
        help="After a failure, apply what does not need what failed.",
    )
    @click.option(
        "--take-up",
        is_flag=True,
        help="Let a plugin that was purged leave what that purge kept for others as it is.",
    )
    @json_option
    @strict_option
    def init_db(
        deployment_dir: Path,
        lock_timeout: float | None,
        digest: str | None,
        transaction: Mode,
        atomic: bool,
        strict: bool,
        no_backup: bool,
        allow_destructive: bool,
        rehearse: bool,
        keep_going: bool,
        take_up: bool,
        as_json: bool,
    ) -> None:
        """Create or upgrade the database of DEPLOYMENT_DIR.

        Runs every pending revision of the core and its plugins, in one order, and does nothing if
        there is none. Run it at every installation and upgrade.
        """
        with told(as_json=as_json):
            app = manager()
            for path in app.create(deployment_dir, digest=digest):
                console.say(f"Created   {path}")
            title = app.open(deployment_dir).database.title
            console.say(f"Database  {title}")
            try:
                upgrade = app.upgrade(
                    deployment_dir,
                    lock_timeout=lock_timeout,
                    digest=digest,
                    transaction="run" if atomic else transaction,
                    strict=strict,
                    backup=False if no_backup else None,
                    allow_destructive=allow_destructive,
                    rehearse=rehearse,
                    keep_going=keep_going,
                    take_up=take_up,
                    listener=LISTENER,
                )
            except IncompleteError as error:
                if not as_json:
                    raise
                console.say_json(runs.upgrade_json(error.upgrade, title, error.exit_code))
                console.say_failure(error)
                sys.exit(error.exit_code)
            console.say_problems(upgrade.problems)
            for seed in upgrade.sown:
                console.say(f"Seeded    {seed}")
            broken = sorted({item.owner for item in upgrade.problems if item.level == "error"})
            standing = "The database is up to date."
            if broken:
                standing = f"Left out: {', '.join(broken)}, and what needs that."
            if upgrade.applied:
                done = counted(len(upgrade.applied), "revision", "revisions")
                console.say(
                    f"Done: {done} applied in {upgrade.duration:.2f} s, plan {upgrade.digest}. "
                    f"{standing}"
                )
            elif broken:
                console.say(f"Nothing was applied. {standing}")
            else:
                console.say("Nothing is pending: the database is up to date.")
            if as_json:
                console.say_json(runs.upgrade_json(upgrade, title, FAULTY if broken else 0))
            if broken:
                sys.exit(FAULTY)

    return init_db


def rehearse_command(manager: Manager) -> click.Command:
    @click.command("rehearse")
    @directory
    @lock_timeout_option
    @strict_option
    @allow_destructive_option
    def rehearse(
        deployment_dir: Path, lock_timeout: float | None, strict: bool, allow_destructive: bool
    ) -> None:
        """Run what init-db would run, and leave the database of DEPLOYMENT_DIR as it is.

        On SQLite everything runs on a copy. On PostgreSQL it runs in one transaction that is rolled
        back, and locks what it changes until then. MariaDB and MySQL cannot do that.
        """
        with told():
            app = manager()
            console.say(f"Database  {app.open(deployment_dir).database.title}")
            rehearsal = app.rehearse(
                deployment_dir,
                lock_timeout=lock_timeout,
                strict=strict,
                allow_destructive=allow_destructive,
                listener=LISTENER,
            )
            if not rehearsal.revisions:
                console.say("Nothing is pending: there is nothing to rehearse.")

    return rehearse
