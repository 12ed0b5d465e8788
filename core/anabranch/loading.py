"""Import what a plan runs, all of it before the first revision runs."""

from __future__ import annotations

from types import ModuleType

from anabranch.collecting import collection_paused
from anabranch.database import Database
from anabranch.failures import cause_of, line_in
from anabranch.planning import Plan
from anabranch.problems import Problem
from anabranch.revision import RevisionKey
from anabranch.scripts import load_script


@collection_paused()
def load_scripts(
    plan: Plan, database: Database
) -> tuple[dict[RevisionKey, ModuleType], dict[RevisionKey, Problem]]:
    """Import every script of *plan*.

    Returns also what is wrong with those that cannot be imported or lack the function to run.

    :param database: whose password no message may show.
    """
    scripts: dict[RevisionKey, ModuleType] = {}
    problems: dict[RevisionKey, Problem] = {}
    for step in plan.steps:
        try:
            script = load_script(step.revision)
        except (Exception, SystemExit) as error:
            cause = cause_of(error, database)
            if line := line_in(step.revision.path, error):
                cause += f" (line {line})"
        else:
            if callable(getattr(script, plan.direction, None)):
                scripts[step.key] = script
                continue
            cause = f"it has no function {plan.direction}()"
        problems[step.key] = Problem(
            code="AB118",
            owner=step.key.owner,
            text=f"{step.key} ({step.revision.path}) cannot be loaded: {cause}.",
            remedy=f"Mend or reinstall {step.key.owner}, or disable it.",
            path=step.revision.path,
        )
    return scripts, problems
