"""The journal: who did what, when, how long it took, from which package version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anabranch.console import say, say_table
from anabranch.recorder import Event
from anabranch.wording import one_line


def say_history(events: Sequence[Event], *, chosen: bool = False) -> None:
    """Print the journal, or what was *chosen* of it, oldest first."""
    if not events:
        of = " of that kind" if chosen else ""
        say(f"Nothing{of} was done to this database yet.")
        return
    rows = [
        (
            event.at,
            event.run or "-",
            event.event,
            f"{event.owner}@{event.revision}" if event.revision else event.owner or "-",
            f"{event.distribution} {event.version}".strip() or "-",
            f"{event.duration:.2f} s" if event.duration else "-",
            event.actor or "-",
            # A digest of packages, where a run's is one of its plan.
            f"packages {event.detail}" if event.event == "finished" else one_line(event.detail),
        )
        for event in events
    ]
    say_table(("at", "run", "event", "revision", "distribution", "took", "by", "detail"), rows)


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
