"""What the commands share: their common options, and how an error becomes an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import console
from anabranch.errors import AnabranchError, RunInterrupted

if TYPE_CHECKING:
    from anabranch.manager import MigrationManager

Manager = Callable[[], "MigrationManager"]

PENDING, FAULTY = 3, 4  # exit codes

directory = click.argument("deployment_dir", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
check_option = click.option(
    "--check", is_flag=True, help="Exit with 3 if revisions are pending, with 4 at a fault."
)
strict_option = click.option(
    "--strict", is_flag=True, help="Take warnings for faults, and exit with 4."
)
no_backup_option = click.option(
    "--no-backup", is_flag=True, help="Run without a backup of the database."
)
allow_destructive_option = click.option(
    "--allow-destructive", is_flag=True, help="Let revisions lose rows and values that exist."
)
lock_timeout_option = click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for another migrator; else the configuration's, else 300.",
)


@contextmanager
def told(*, as_json: bool = False) -> Generator[None, None, None]:
    """End the process with the code of an error, after saying what a person needs to know.

    :param as_json: print nothing but one JSON object, also at a failure.
    """
    with _signals() as received, console.only_json() if as_json else nullcontext():
        try:
            yield
        except AnabranchError as error:
            if received:
                # What a signal broke off may look like a failure: a query of a guard, say.
                error.exit_code = 128 + received[0]
            if as_json:
                console.say_json(console.failure_json(error))
            console.say_failure(error)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as error:
            stopped = _stopped(error)
            stopped.exit_code = 128 + (received[0] if received else signal.SIGINT)
            if as_json:
                console.say_json(console.failure_json(stopped))
            console.say_interrupt(stopped)
            sys.exit(stopped.exit_code)
        except Exception as error:
            if as_json:
                # Not its text, which nobody has freed of secrets.
                bug = AnabranchError(f"Unexpected {type(error).__name__}.", state="Not known.")
                console.say_json(console.failure_json(bug))
            raise


def _stopped(error: KeyboardInterrupt) -> AnabranchError:
    remedy = "Run the same command again; it goes on from there."
    if isinstance(error, RunInterrupted):
        return AnabranchError(f"Interrupted: {error.what}", state=error.state, remedy=remedy)
    return AnabranchError("Interrupted", remedy=remedy)


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
