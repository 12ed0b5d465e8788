"""A plan: what would run, in order, and why each revision stands where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.console import problem_json, say, say_problems, say_table
from anabranch.outline import Outline
from anabranch.planning import Plan, Step
from anabranch.problems import Problem
from anabranch.revision import RevisionKey
from anabranch.wording import counted, one_line

if TYPE_CHECKING:
    from anabranch.sqlscript import SqlScript

Outlines = Mapping[RevisionKey, Outline]

_MESSAGE = 60  # characters of a message; JSON has it all
_SHOWN = 5  # operations of a revision; JSON has them all


def say_plan(
    plan: Plan, title: str, problems: Sequence[Problem], outlines: Outlines | None
) -> None:
    """Print the pending revisions as a table, in the order they would run.

    :param outlines: what each of them does; None to leave that out.
    """
    say(f"Database  {title}")
    if plan:
        say(f"Plan      {len(plan.steps)} pending, {plan.applied} applied, digest {plan.digest}")
        say()
        header = ("", "owner", "revision", "message", "why here")
        say_table(header, [_row(step) for step in plan.steps], _notes(plan, outlines))
        if outlines is None:
            say("What they do is left out, for there are many; --operations shows it.")
    else:
        say(f"Nothing is pending; {counted(plan.applied, 'revision is', 'revisions are')} applied.")
    say_problems(problems)


def plan_json(
    plan: Plan, title: str, problems: Sequence[Problem], outlines: Outlines | None
) -> dict[str, Any]:
    return {
        "database": title,
        "digest": plan.digest,
        "applied": plan.applied,
        "steps": [step_json(step, (outlines or {}).get(step.key)) for step in plan.steps],
        "problems": [problem_json(item) for item in problems],
    }


def script_json(script: SqlScript) -> dict[str, Any]:
    return {
        "database": script.source,
        "dialect": script.dialect,
        "digest": script.plan.digest,
        "steps": [step_json(step) for step in script.plan.steps],
        "warnings": list(script.warnings),
        "script": script.text,
    }


def step_json(step: Step, outline: Outline | None = None) -> dict[str, Any]:
    """Return *step* as an object; what it does is null where *outline* was not read."""
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
        "operations": outline and [_operation_json(item) for item in outline.operations],
        "destructive": outline and outline.is_destructive,
        "destructive_reason": revision.destructive,
        "irreversible": outline and outline.is_irreversible,
        "reads_database": outline and outline.reads,
    }


def _operation_json(operation: Any) -> dict[str, Any]:
    return {
        "operation": operation.verb,
        "schema": operation.schema,
        "table": operation.table,
        "name": operation.name,
        "words": operation.words,
        "certain": operation.certain,
    }


def _row(step: Step) -> tuple[str, ...]:
    message = one_line(step.revision.message, _MESSAGE)
    return (str(step.number), step.key.owner, step.key.id, message, step.reason)


def _notes(plan: Plan, outlines: Outlines | None) -> list[str]:
    if outlines is None:
        return []
    width = len(str(len(plan.steps)))
    return [_note(step, outlines[step.key], " " * (width + 4)) for step in plan.steps]


def _note(step: Step, outline: Outline, indent: str) -> str:
    """Return the line below a step: its operations in words, and what to beware of."""
    words = [one_line(item.words) for item in outline.operations[:_SHOWN]]
    if more := len(outline.operations) - len(words):
        words.append(f"and {more} more")
    marks = {
        "destructive": outline.is_destructive,
        "autocommit": step.revision.autocommit,
        "irreversible": outline.is_irreversible,
        "reads the database": outline.reads,
    }
    shown = ", ".join(name for name, is_so in marks.items() if is_so)
    line = ", ".join(words) + (f"  ! {shown}" if shown else "")
    if reason := step.revision.destructive:
        line += f" ({one_line(reason)})"
    return indent + line if line else ""
