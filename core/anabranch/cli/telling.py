"""What is printed while a command runs."""

from __future__ import annotations

from anabranch import console
from anabranch.listening import Listener, Progress


def _say_progress(progress: Progress) -> None:
    """Print what became of one revision."""
    line = console.step_line(progress.step, progress.total, width=10).ljust(80, ".")
    if progress.event == "ran":
        console.say(f"{line} ran {progress.duration:.2f} s")
    elif progress.event in ("applied", "reverted") and not progress.shared:
        console.say(f"{line} ok  {progress.duration:.2f} s")
    elif progress.event == "skipped":
        console.say(f"{line} skipped: {progress.note}")
    elif progress.event == "failed":
        console.say(f"{line} FAILED")
    elif progress.event == "noted":
        console.say_note(progress.note)


def _say_waiting(holder: str) -> None:
    """Tell who holds the lock that is waited for."""
    console.say(f"Waiting for the migration lock, held by {holder}.", err=True)


LISTENER = Listener(progress=_say_progress, waiting=_say_waiting, notice=console.say)
