"""What the commands print: lines for people, objects for tools."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from anabranch.errors import AnabranchError
from anabranch.wording import one_line

if TYPE_CHECKING:
    from anabranch.planning import Step
    from anabranch.problems import Problem

SCHEMA_VERSION = 1
"""Grows when a key of the JSON output changes its meaning or goes; new keys do not count."""


_COMMAND = re.compile(r"(?<=')\S+(?= (?:init-db|make-migrations|db [a-z]))")
_STDOUT, _OPTIONS = f"{__name__}.stdout", f"{__name__}.options"


# What moves a terminal's cursor or turns its text round: errors quote what others wrote.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def say(text: str = "", *, err: bool = False) -> None:
    """Write *text* to standard output, or to standard error, as nothing but text."""
    click.echo(_CONTROLS.sub("?", text), err=err)


def say_note(text: str) -> None:
    """Write what an operator should know while a run goes on, to standard error."""
    say(f"Note: {text}", err=True)


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
        say(f"{problem.level.capitalize()} {problem.code}: {problem.text}", err=True)
        if problem.remedy:
            say(f"  {as_called(problem.remedy)}", err=True)


def say_failure(error: AnabranchError) -> None:
    """Write what happened, where the database stands and what to do, to standard error."""
    say(f"Error {error.code}: {as_called(error.what)}", err=True)
    say(f"State: {error.state}", err=True)
    if error.remedy:
        say(f"Next:  {as_called(error.remedy)}", err=True)


def say_interrupt(error: AnabranchError) -> None:
    """Write what was interrupted and where the database stands, to standard error."""
    say(error.what, err=True)
    say(f"State: {error.state}", err=True)
    say(f"Next:  {error.remedy}", err=True)


def failure_json(error: AnabranchError) -> dict[str, Any]:
    """Return what every ``--json`` prints in place of its own object when the command fails."""
    problems: Sequence[Problem] = getattr(error, "problems", ())
    return {
        "error": error_json(error),
        "problems": [problem_json(problem) for problem in problems],
        "exit_code": error.exit_code,
    }


def error_json(error: AnabranchError) -> dict[str, Any]:
    return {
        "code": error.code,
        "text": as_called(error.what),
        "state": error.state,
        "remedy": as_called(error.remedy),
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


def say_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print rows in columns as wide as they need to be.

    :param notes: a line to print below each row, empty for none.
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row, note in zip_longest([header, *rows], ["", *notes], fillvalue=""):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())
        if note:
            say(note)


def step_line(step: Step, total: int, width: int) -> str:
    """Return how a running revision is named, without what becomes of it."""
    number = str(step.number).rjust(len(str(total)))
    message = one_line(step.revision.message)[:44]
    return f"[{number}/{total}] {step.key.owner.ljust(width)}  {step.key.id}  {message} "
