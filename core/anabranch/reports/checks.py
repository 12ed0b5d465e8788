"""What a comparison of models, revisions and database found."""

from __future__ import annotations

from typing import Any

from anabranch.authoring.checking import Check
from anabranch.console import problem_json, say, say_problems, say_table

_REMEDIES = {
    "unwritten": "models and revisions differ: write a revision with 'make-migrations'",
    "lost": "put back what is gone, as its revision makes it",
    "unrecorded": "drop what only the database has, or bring it into the models",
    "different": "write a revision, or set the database right",
}


def say_check(check: Check) -> None:
    """Print what was found of each owner, and what to do about it."""
    say(f"Database  {check.database}")
    say()
    rows = [
        (owner.owner, owner.state, str(len(owner.findings)), owner.note) for owner in check.owners
    ]
    notes = [
        "\n".join(f"  {found.kind}: {found.text}" for found in owner.findings)
        for owner in check.owners
    ]
    say_table(("owner", "state", "findings", "note"), rows, notes)
    kinds = {found.kind for owner in check.owners for found in owner.findings}
    if kinds:
        say()
    for kind in sorted(kinds):
        say(f"{kind}: {_REMEDIES[kind]}")
    say_problems(check.problems)


def check_json(check: Check) -> dict[str, Any]:
    return {
        "check": check.state,
        "database": check.database,
        "owners": [
            {
                "owner": owner.owner,
                "state": owner.state,
                "note": owner.note,
                "findings": [
                    {
                        "kind": found.kind,
                        "object": found.object,
                        "schema": found.table.schema,
                        "table": found.table.name,
                        "name": found.name,
                        "text": found.text,
                    }
                    for found in owner.findings
                ],
            }
            for owner in check.owners
        ],
        "problems": [problem_json(problem) for problem in check.problems],
    }
