"""What the commands print: lines for people, objects for tools."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click

from anabranch.errors import AnabranchError
from anabranch.planning import Plan, Step
from anabranch.problems import Problem
from anabranch.reading import Status
from anabranch.recorder import Event
from anabranch.wording import counted

SCHEMA_VERSION = 1
"""Grows when a key of the JSON output changes its meaning or goes; new keys do not count."""


_COMMAND = re.compile(r"(?<=')\S+(?= (?:init-db|make-migrations|db [a-z]))")
_STDOUT, _OPTIONS = f"{__name__}.stdout", f"{__name__}.options"


def say(text: str = "") -> None:
    click.echo(text)


def say_note(text: str) -> None:
    """Write what an operator should know while a run goes on, to standard error."""
    click.echo(f"Note: {text}", err=True)


def say_json(content: dict[str, Any]) -> None:
    """Print *content* where :func:`only_json` left standard output, or on it."""
    context = click.get_current_context(silent=True)
    file = context.meta.get(_STDOUT) if context else None
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2), file=file)


@contextmanager
def only_json() -> Generator[None, None, None]:
    """Keep standard output for :func:`say_json`: what a plugin prints goes to standard error."""
    click.get_current_context().meta[_STDOUT] = sys.stdout
    with redirect_stdout(sys.stderr):
        yield


def as_called(text: str) -> str:
    """Return *text* with the commands in it as the person who reads it calls them.

    A remedy names commands by the application; they may stand elsewhere on its command line, or
    be reached through ``anabranch --app``.
    """
    context = click.get_current_context(silent=True)
    while context is not None and context.command.name not in ("init-db", "make-migrations", "db"):
        context = context.parent
    if context is None:
        return text
    prefix = context.command_path.removesuffix(str(context.command.name)).rstrip()
    prefix += context.meta.get(_OPTIONS, "")
    return _COMMAND.sub(lambda _match: prefix, text)


def call_with(options: str) -> None:
    """Let :func:`as_called` put *options* between the program and its command."""
    click.get_current_context().meta[_OPTIONS] = f" {options}"


def say_problems(problems: Iterable[Problem]) -> None:
    """Write warnings and faults to standard error, each with its remedy."""
    for problem in problems:
        click.echo(f"{problem.level.capitalize()} {problem.code}: {problem.text}", err=True)
        if problem.remedy:
            click.echo(f"  {as_called(problem.remedy)}", err=True)


def say_failure(error: AnabranchError) -> None:
    """Write what happened, where the database stands and what to do, to standard error."""
    click.echo(f"Error {error.code}: {as_called(error.what)}", err=True)
    click.echo(f"State: {error.state}", err=True)
    if error.remedy:
        click.echo(f"Next:  {as_called(error.remedy)}", err=True)


def say_interrupt(error: AnabranchError) -> None:
    """Write what was interrupted and where the database stands, to standard error."""
    click.echo(error.what, err=True)
    click.echo(f"State: {error.state}", err=True)
    click.echo(f"Next:  {error.remedy}", err=True)


def failure_json(error: AnabranchError) -> dict[str, Any]:
    """Return what every ``--json`` prints in place of its own object when the command fails."""
    problems: Sequence[Problem] = getattr(error, "problems", ())
    return {
        "error": {
            "code": error.code,
            "text": as_called(error.what),
            "state": error.state,
            "remedy": as_called(error.remedy),
        },
        "problems": [problem_json(problem) for problem in problems],
        "exit_code": error.exit_code,
    }


def problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "level": problem.level,
        "owner": problem.owner,
        "text": problem.text,
        "remedy": as_called(problem.remedy),
        "path": problem.path,
    }


def step_json(step: Step) -> dict[str, Any]:
    revision = step.revision
    return {
        "number": step.number,
        "owner": step.key.owner,
        "revision": step.key.id,
        "message": revision.message,
        "reason": step.reason,
        "down_revision": [key.id for key in step.down],
        "depends_on": [{"owner": key.owner, "revision": key.id} for key in step.depends_on],
        "autocommit": revision.autocommit,
        "path": revision.path,
    }


def say_plan(plan: Plan, title: str) -> None:
    """Print the pending revisions as a table, in the order they would run."""
    say(f"Database  {title}")
    if not plan:
        say(f"Nothing is pending; {counted(plan.applied, 'revision is', 'revisions are')} applied.")
        return
    say(f"Plan      {len(plan.steps)} pending, {plan.applied} applied, digest {plan.digest}")
    say()
    rows = [
        (str(step.number), step.key.owner, step.key.id, step.revision.message, step.reason)
        for step in plan.steps
    ]
    say_table(("", "owner", "revision", "message", "why here"), rows)


def say_status(status: Status) -> None:
    """Print where each owner stands."""
    say(f"Database  {status.database}")
    say()
    rows = [
        (
            owner.name,
            owner.state,
            str(owner.applied),
            str(owner.pending),
            " ".join(owner.heads) or "-",
            f"{owner.distribution} {owner.version}".strip() or "-",
        )
        for owner in status.owners
    ]
    say_table(("owner", "state", "applied", "pending", "at", "distribution"), rows)
    say()
    words = {
        "current": "The database is up to date.",
        "pending": f"{counted(len(status.plan.steps), 'revision is', 'revisions are')} pending.",
        "faulty": "Something is wrong; nothing would run until it is mended.",
    }
    say(words[status.state])


def status_json(status: Status) -> dict[str, Any]:
    return {
        "status": status.state,
        "database": status.database,
        "owners": [
            {
                "owner": owner.name,
                "state": owner.state,
                "distribution": owner.distribution,
                "version": owner.version,
                "applied": owner.applied,
                "pending": owner.pending,
                "heads": list(owner.heads),
            }
            for owner in status.owners
        ],
        "pending": [step_json(step) for step in status.plan.steps],
        "problems": [problem_json(problem) for problem in status.problems],
    }


def say_history(events: Sequence[Event]) -> None:
    """Print the journal, oldest first."""
    rows = [
        (
            event.at,
            event.event,
            f"{event.owner}@{event.revision}" if event.revision else event.owner or "-",
            f"{event.distribution} {event.version}".strip() or "-",
            f"{event.duration:.2f} s" if event.event == "applied" else "-",
            event.actor or "-",
            one_line(event.detail),
        )
        for event in events
    ]
    say_table(("at", "event", "revision", "distribution", "took", "by", "detail"), rows)


def event_json(event: Event) -> dict[str, Any]:
    return {
        "event": event.event,
        "at": event.at,
        "run": event.run,
        "owner": event.owner,
        "revision": event.revision,
        "distribution": event.distribution,
        "version": event.version,
        "duration": event.duration,
        "actor": event.actor,
        "detail": event.detail,
    }


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def step_line(step: Step, total: int, width: int) -> str:
    """Return how a running revision is named, without what becomes of it."""
    number = str(step.number).rjust(len(str(total)))
    message = one_line(step.revision.message)[:44]
    return f"[{number}/{total}] {step.key.owner.ljust(width)}  {step.key.id}  {message} "


def one_line(text: str) -> str:
    """Return *text* without line breaks and control characters, which could forge lines."""
    return "".join(c if c.isprintable() else " " for c in text)
