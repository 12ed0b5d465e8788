"""What failed in a run that goes on without it, and what is skipped because of that.

A failure takes along whatever needs it, and what else is pending of its owner. One of the core
takes along all that follows: in the canonical order a plugin's revision meets the core it was
written for, which need not be written down as a dependency.
"""

from __future__ import annotations

import sqlalchemy as sa

from anabranch.connections import is_usable
from anabranch.errors import AnabranchError, BlockedError, IncompleteError, LockError
from anabranch.outcomes import Upgrade
from anabranch.planning import Step
from anabranch.revision import CORE, RevisionKey
from anabranch.undone import Failed, Skipped
from anabranch.wording import counted


class Setbacks:
    """Gathers what went wrong while a run goes on; false while nothing did."""

    def __init__(self) -> None:
        self.failed: list[Failed] = []
        self.skipped: list[Skipped] = []

    def __bool__(self) -> bool:
        return bool(self.failed)

    @property
    def summary(self) -> str:
        """Name what failed and what was skipped, as the journal does."""
        failed = ", ".join(f"{item.owner}@{item.revision}".rstrip("@") for item in self.failed)
        skipped = ", ".join(str(item.key) for item in self.skipped)
        return f"failed: {failed}" + (f"; skipped: {skipped}" if skipped else "")

    def fail(self, step: Step, error: AnabranchError) -> None:
        """Note that *step* failed."""
        self.failed.append(Failed(step.key.owner, step.key.id, error))

    def skips(self, step: Step) -> Skipped | None:
        """Note that *step* is skipped, if something that went wrong is a reason for that."""
        if reason := self._reason(step):
            self.skipped.append(Skipped(step.key, reason))
            return self.skipped[-1]
        return None

    def _reason(self, step: Step) -> str:
        failed = {RevisionKey(item.owner, item.revision) for item in self.failed}
        skipped = {item.key for item in self.skipped}
        for key in (*step.down, *step.depends_on):
            if key in failed:
                return f"it needs {key}, which failed"
            if key in skipped:
                return f"it needs {key}, which was skipped"
        for key in sorted(failed):
            if key.owner == step.key.owner:
                return f"{key} of the same owner failed"
            if key.owner == CORE:
                return f"{key}, which comes before it, failed"
        return ""


def ends_run(error: AnabranchError, connection: sa.Connection) -> bool:
    """Tell whether nothing else can run after *error*: the lock or the connection is lost."""
    lost = isinstance(error, LockError) and not isinstance(error, BlockedError)
    return lost or not is_usable(connection)


def incomplete(upgrade: Upgrade) -> IncompleteError:
    """Return the error that tells of a run in which something failed."""
    applied, skipped = len(upgrade.applied), len(upgrade.skipped)
    errors = [item.error for item in upgrade.failed]
    lines = [
        f"Of this run {applied} {'is' if applied == 1 else 'are'} applied, {len(errors)} failed, "
        f"{skipped} {'was' if skipped == 1 else 'were'} skipped:",
        *(f"{error.code} {error.what}" for error in errors),
        *(f"{item.key} was skipped: {item.reason}." for item in upgrade.skipped),
    ]
    kept = [error.state for error in errors if error.exit_code == 6]
    done = counted(applied, "revision of this run is", "revisions of this run are")
    return IncompleteError(
        "\n  ".join(lines),
        upgrade=upgrade,
        state=" ".join([f"{done} applied.", *(kept or ["What failed was rolled back."])]),
        remedy=" ".join(dict.fromkeys(error.remedy for error in errors)),
    )
