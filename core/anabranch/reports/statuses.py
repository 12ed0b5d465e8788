"""Where a database stands: its owners, what is pending, what is wrong."""

from __future__ import annotations

from typing import Any

from anabranch.console import problem_json, say, say_table
from anabranch.estate import ROW_LIMIT, Estate, named
from anabranch.reading import Status
from anabranch.reports.journal import event_json
from anabranch.reports.plans import step_json
from anabranch.structure import shown
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
    for estate in status.estates:
        _say_estate(estate)
    if (event := status.last_event) is not None:
        what = f"{event.event} {event.owner and f'{event.owner}@{event.revision}'}".strip(" @")
        say(f"Last      {what}, {event.at}, by {event.actor or 'another tool'}")
    if status.lock:
        say(f"Lock      held by {status.lock}")
    words = {
        "current": "The database is up to date.",
        "pending": f"{counted(len(status.plan.steps), 'revision is', 'revisions are')} pending.",
        "faulty": "Something is wrong; nothing would run until it is mended.",
    }
    say(words[status.state])


def _say_estate(estate: Estate) -> None:
    """Print what an owner that takes no part has in the database."""
    tables = [f"{shown(table)} ({_rows(rows)})" for table, rows in estate.rows.items()]
    say(f"{estate.owner} has here: {', '.join(tables) or 'no table'}")
    for part in estate.parts:
        say(f"  {part.kind} {part.name} on {shown(part.table)}")
    for item in estate.standing:
        say(f"  {named(item)}")
    for key in estate.outgoing:
        say(f"  foreign key {key}")


def _rows(count: int) -> str:
    if count > ROW_LIMIT:
        return f"more than {ROW_LIMIT} rows"
    return counted(count, "row", "rows")


def _estate_json(estate: Estate) -> dict[str, Any]:
    return {
        "tables": [
            {"schema": table.schema, "table": table.name, "rows": rows}
            for table, rows in estate.rows.items()
        ],
        "missing_tables": [
            {"schema": table.schema, "table": table.name} for table in estate.missing
        ],
        "parts": [
            {
                "kind": part.kind,
                "schema": part.table.schema,
                "table": part.table.name,
                "name": part.name,
            }
            for part in estate.parts
        ],
        "foreign_keys": [
            {
                "name": key.name,
                "schema": key.table.schema,
                "table": key.table.name,
                "columns": list(key.columns),
                "to_schema": key.target.schema,
                "to_table": key.target.name,
            }
            for key in estate.outgoing
        ],
    }


def status_json(status: Status) -> dict[str, Any]:
    estates = {estate.owner: _estate_json(estate) for estate in status.estates}
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
                "left": estates.get(owner.name),
            }
            for owner in status.owners
        ],
        "lock": status.lock or None,
        "last_event": status.last_event and event_json(status.last_event),
        "pending": [step_json(step) for step in status.plan.steps],
        "problems": [problem_json(problem) for problem in status.problems],
    }
