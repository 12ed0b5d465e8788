"""The commands: each parses, calls the manager, prints, and turns an error into an exit code."""

from __future__ import annotations

import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch import console
from anabranch.errors import AnabranchError, UsageError
from anabranch.wording import counted

if TYPE_CHECKING:
    from anabranch.executor import Progress
    from anabranch.manager import MigrationManager

_Manager = Callable[[], "MigrationManager"]

_PENDING, _FAULTY = 3, 4

_directory = click.argument("deployment_dir", type=click.Path(path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_check = click.option(
    "--check", is_flag=True, help="Exit with 3 if revisions are pending, with 4 at a fault."
)


def add_commands(manager: MigrationManager, group: Any) -> None:
    """Put the commands of *manager* on *group*."""
    for command in _commands(lambda: manager):
        group.add_command(command if isinstance(group, click.Group) else _guest(command))


def _guest(command: click.Command) -> click.Command:
    """Wrap *command* for a group of Typer, whose own copy of click knows none of our exceptions."""

    @click.command(
        command.name,
        help=command.help,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def guest(context: click.Context, arguments: tuple[str, ...]) -> None:
        command.main(list(arguments), prog_name=context.command_path)

    return guest


@click.group()
@click.option(
    "--app",
    metavar="MODULE:MANAGER",
    envvar="ANABRANCH_APP",
    help="Where the application's MigrationManager is, e.g. shop.db:manager.",
)
@click.version_option(package_name="anabranch")
def main(app: str | None) -> None:
    """Migrate the database of an application that has no command line of its own."""


def _named_manager() -> MigrationManager:
    """Import the manager that ``--app`` names, from the working directory too."""
    from anabranch.manager import MigrationManager

    name = click.get_current_context().find_root().params["app"]
    if not name:
        raise UsageError(
            "No application is named.", remedy="Say --app MODULE:MANAGER, or set ANABRANCH_APP."
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{name!r} cannot be imported: {error}.",
            remedy="--app names a module and, after a colon, its MigrationManager.",
        ) from error
    if not isinstance(found, MigrationManager):
        raise UsageError(
            f"{name!r} is no MigrationManager but {type(found).__name__}.",
            remedy="--app names a module and, after a colon, its MigrationManager.",
        )
    return found


def _commands(manager: _Manager) -> list[click.Command]:
    return [_init_db(manager), _make_migrations(manager), _db(manager)]


@contextmanager
def _told(*, as_json: bool = False) -> Generator[None, None, None]:
    """End the process with the code of an error, after saying what a person needs to know."""
    with _signals() as received:
        try:
            yield
        except AnabranchError as error:
            if as_json:
                console.say_json(console.failure_json(error))
            console.say_failure(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as error:
            console.say_interrupt(error)
            sys.exit(128 + (received[0] if received else signal.SIGINT))


@contextmanager
def _signals() -> Generator[list[int], None, None]:
    """Let SIGTERM interrupt as Ctrl-C does, and a second signal end the process at once.

    Yields the signals that were received. Only the main thread can do that.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        for handled in handlers:
            signal.signal(handled, signal.SIG_DFL)
        raise KeyboardInterrupt

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {
            number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
        }
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _init_db(manager: _Manager) -> click.Command:
    @click.command("init-db")
    @_directory
    @click.option(
        "--lock-timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="How long to wait for another migrator; else the configuration's, else 300.",
    )
    @click.option("--digest", help="Run only the plan that has this digest ('db plan' shows it).")
    def init_db(deployment_dir: Path, lock_timeout: float | None, digest: str | None) -> None:
        """Create or upgrade the database of DEPLOYMENT_DIR.

        Runs every pending revision of the core and its plugins, in one order, and does nothing if
        there is none. Run it at every installation and upgrade.
        """
        with _told():
            app = manager()
            for path in app.create(deployment_dir):
                console.say(f"Created   {path}")
            console.say(f"Database  {app.open(deployment_dir).title}")
            upgrade = app.upgrade(
                deployment_dir,
                lock_timeout=lock_timeout,
                digest=digest,
                report=_report,
                waiting=lambda holder: click.echo(
                    f"Waiting for the migration lock, held by {holder}.", err=True
                ),
            )
            console.say_problems(upgrade.problems)
            if upgrade.applied:
                done = counted(len(upgrade.applied), "revision", "revisions")
                console.say(
                    f"Done: {done} applied in {upgrade.duration:.2f} s, plan {upgrade.digest}. "
                    "The database is up to date."
                )
            else:
                console.say("Nothing is pending: the database is up to date.")

    return init_db


def _report(progress: Progress) -> None:
    line = console.step_line(progress.step, progress.total, width=10)
    if progress.event == "applied":
        console.say(f"{line.ljust(80, '.')} ok  {progress.duration:.2f} s")
    elif progress.event == "failed":
        console.say(f"{line.ljust(80, '.')} FAILED")


def _make_migrations(manager: _Manager) -> click.Command:
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
        with _told():
            written = manager().revision(
                deployment_dir, plugin=plugin, initialize=initialize, message=message
            )
            if written is None:
                console.say("No change: the models say what the database has.")
                return
            console.say(f"Wrote     {written.path}")
            for line in written.operations:
                console.say(f"          {line}")
            if written.depends_on:
                console.say(f"Depends   {', '.join(map(str, written.depends_on))}")

    return make_migrations


def _db(manager: _Manager) -> click.Group:
    @click.group("db")
    def db() -> None:
        """Look at a deployment's database; none of these commands changes it."""

    for make in (_plan, _status, _history, _plugins):
        db.add_command(make(manager))
    return db


def _plan(manager: _Manager) -> click.Command:
    @click.command("plan")
    @_directory
    @_json
    @_check
    def plan(deployment_dir: Path, as_json: bool, check: bool) -> None:
        """Show which revisions init-db would run, in order, and why each stands where it does."""
        with _told(as_json=as_json):
            app = manager()
            reading = app.read(deployment_dir)
            reading.require_sound()
            found, title = reading.plan(), app.open(deployment_dir).title
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
                sys.exit(_PENDING)

    return plan


def _status(manager: _Manager) -> click.Command:
    @click.command("status")
    @_directory
    @_json
    @_check
    def status(deployment_dir: Path, as_json: bool, check: bool) -> None:
        """Show where the database stands, owner by owner, and what is wrong."""
        with _told(as_json=as_json):
            found = manager().status(deployment_dir)
            if as_json:
                console.say_json(console.status_json(found))
            else:
                console.say_status(found)
                console.say_problems(found.problems)
            if check and found.state != "current":
                sys.exit(_PENDING if found.state == "pending" else _FAULTY)

    return status


def _history(manager: _Manager) -> click.Command:
    @click.command("history")
    @_directory
    @_json
    def history(deployment_dir: Path, as_json: bool) -> None:
        """Show what was done to the database: when, by whom, from which package."""
        with _told(as_json=as_json):
            events = manager().history(deployment_dir)
            if as_json:
                console.say_json({"events": [console.event_json(event) for event in events]})
            elif events:
                console.say_history(events)
            else:
                console.say("Nothing was done to this database yet.")

    return history


def _plugins(manager: _Manager) -> click.Command:
    @click.command("plugins")
    @click.argument("deployment_dir", type=click.Path(path_type=Path), required=False)
    @_json
    def plugins(deployment_dir: Path | None, as_json: bool) -> None:
        """List the installed plugins and what is wrong with any of them.

        With DEPLOYMENT_DIR, also which of them its configuration leaves out.
        """
        with _told(as_json=as_json):
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


for _command in _commands(_named_manager):
    main.add_command(_command)
