"""The run lock while revisions run: held still, and telling whoever waits what runs."""

from __future__ import annotations

from contextlib import AbstractContextManager

from anabranch.errors import LockLostError
from anabranch.guards import NOTHING_AROUND, Guard
from anabranch.locking import Lock
from anabranch.planning import Step
from anabranch.postgresql import AdvisoryLock


def lock_guards(lock: Lock | None) -> tuple[Guard, ...]:
    """Return the guard of *lock*; none where there is no lock, or the ledger asks for it."""
    return () if lock is None or isinstance(lock, AdvisoryLock) else (LockGuard(lock),)


class LockGuard(Guard):
    """Refuses to run, or to commit, a revision without the run lock.

    A script may give up all locks of its session, and somebody may delete a lock's file.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def begin(self) -> None:
        self._require()

    def running(self, step: Step) -> AbstractContextManager[None]:
        self._lock.say(str(step.key))
        return NOTHING_AROUND

    def finish(self) -> None:
        self._require()

    def _require(self) -> None:
        if not self._lock.is_owned():
            raise LockLostError
