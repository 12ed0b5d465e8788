"""Where a database stands: its owners, what is pending, what is wrong."""

from __future__ import annotations

from typing import Any

from anabranch.console import problem_json, say, say_table
from anabranch.reading import Status
from anabranch.reports.plans import step_json
from anabranch.wording import counted


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
