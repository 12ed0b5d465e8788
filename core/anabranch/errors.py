"""The errors a person can meet: what happened, where the database stands, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.outcomes import Upgrade
    from anabranch.problems import Problem
    from anabranch.revision import RevisionKey

UNTOUCHED = "The database was not changed."


class AnabranchError(Exception):
    """The base of every error anabranch raises on purpose.

    :param what: what happened, naming owner and file where there is one.
    :param remedy: the next move of the person who reads it.
    :param state: where the database stands.

    ``code`` is stable and documented; ``exit_code`` is what the command line ends with.
    """

    code = "AB000"
    exit_code = 1

    def __init__(self, what: str, *, remedy: str = "", state: str = UNTOUCHED) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.state = state

    def scrub(self, scrubbed: Callable[[str], str]) -> None:
        """Pass every text through *scrubbed*, which takes secrets out."""
        self.what, self.remedy, self.state = map(scrubbed, (self.what, self.remedy, self.state))
        self.args = (self.what,)


class UsageError(AnabranchError):
    """What was asked for cannot be meant: an unknown plugin, a target that does not exist."""

    code = "AB001"
    exit_code = 2


class ConfigurationError(AnabranchError):
    """The deployment's configuration is missing, unreadable or says something impossible."""

    code = "AB002"
    exit_code = 2


class PluginError(AnabranchError):
    """A plugin's package is broken or incomplete; others are not concerned.

    :param owner: the plugin's normalised name.
    """

    code = "AB112"
    exit_code = 4

    def __init__(self, what: str, *, owner: str, remedy: str = "", state: str = UNTOUCHED) -> None:
        super().__init__(what, remedy=remedy, state=state)
        self.owner = owner


class RequirementError(AnabranchError):
    """A plugin's requirement on the server or the host is not met."""

    code = "AB121"
    exit_code = 2


class PendingError(AnabranchError):
    """Revisions are pending where the caller needs a database that is up to date.

    :param pending: the revisions, in the order they would run.
    """

    code = "AB003"
    exit_code = 3

    def __init__(self, what: str, *, pending: Sequence[RevisionKey], remedy: str = "") -> None:
        super().__init__(what, remedy=remedy)
        self.pending = tuple(pending)


class IntegrityError(AnabranchError):
    """The revision trees, or what the database says of them, contradict themselves.

    :param problems: every fault found, not only the first.
    """

    exit_code = 4

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        rest = [
            f"{problem.code} {problem.text} {problem.remedy}".strip() for problem in problems[1:]
        ]
        super().__init__("\n".join([first.text, *rest]), remedy=first.remedy)
        self.problems = tuple(problems)
        self.code = first.code


class RevisionError(AnabranchError):
    """A revision failed while it ran, or left the database in a state it must not leave.

    :param revision: the one that failed.
    :param path: its file.
    :param line: the line of that file the failure passed through, or None.
    :param partial: whether a part of this revision may have stayed; else it was rolled back.
    """

    code = "AB301"

    def __init__(
        self,
        what: str,
        *,
        revision: RevisionKey,
        path: str,
        line: int | None,
        partial: bool,
        state: str,
        remedy: str,
    ) -> None:
        super().__init__(what, remedy=remedy, state=state)
        self.revision = revision
        self.path = path
        self.line = line
        self.partial = partial
        self.exit_code = 6 if partial else 5


class IncompleteError(AnabranchError):
    """Revisions of a run that was to keep going failed; what does not need them was applied.

    :param upgrade: what the run did, what failed and what was skipped.
    """

    code = "AB310"

    def __init__(self, what: str, *, upgrade: Upgrade, remedy: str, state: str) -> None:
        super().__init__(what, remedy=remedy, state=state)
        self.upgrade = upgrade
        partial = any(item.error.exit_code == 6 for item in upgrade.failed)
        self.exit_code = 6 if partial else 5


class ResumeError(AnabranchError):
    """A half-done revision cannot go on where it stopped: its finished part now says another thing.

    Only on MariaDB and MySQL, where DDL cannot be rolled back.

    :param revision: the one that is half done.
    """

    code = "AB303"
    exit_code = 4

    def __init__(self, what: str, *, revision: RevisionKey, remedy: str) -> None:
        super().__init__(what, remedy=remedy)
        self.revision = revision


class RunInterrupted(KeyboardInterrupt):
    """A run was interrupted, by Ctrl-C or another signal; what it had not committed is gone.

    :param what: what ran when it was interrupted.
    :param state: where the database stands.
    """

    def __init__(self, what: str, *, state: str) -> None:
        super().__init__(what)
        self.what = what
        self.state = state


class HookError(AnabranchError):
    """A plugin's hook failed.

    :param owner: the plugin's normalised name.
    """

    code = "AB302"
    exit_code = 5

    def __init__(self, what: str, *, owner: str, remedy: str = "", state: str = UNTOUCHED) -> None:
        super().__init__(what, remedy=remedy, state=state)
        self.owner = owner


class LockError(AnabranchError):
    """Another process holds this database's migration lock and did not let go in time."""

    code = "AB401"
    exit_code = 7


class RefusedError(AnabranchError):
    """What was asked for is refused as unsafe."""

    code = "AB402"
    exit_code = 8


class BackupError(RefusedError):
    """No backup can be made, or the one that was asked for cannot be put back."""

    code = "AB403"


class DestructiveError(RefusedError):
    """A revision would lose rows or values that exist, or they are in its way.

    :param revision: the one that would.
    :param table: the table; *column* is empty where it is the whole of it.
    :param rows: how many rows are concerned.
    """

    code = "AB431"

    def __init__(
        self,
        what: str,
        *,
        revision: RevisionKey,
        table: str,
        column: str,
        rows: int,
        remedy: str,
    ) -> None:
        super().__init__(what, remedy=remedy)
        self.revision = revision
        self.table = table
        self.column = column
        self.rows = rows


class DependedOnError(RefusedError):
    """Others would lose what they need, and nobody agreed to that."""

    code = "AB411"


class UnconfirmedError(RefusedError):
    """Nobody agreed to what would be lost."""

    code = "AB412"


class IrreversibleError(RefusedError):
    """A revision that would have to be reverted cannot be."""

    code = "AB413"


class PoolerError(RefusedError):
    """A pooler in transaction mode stands before the server, where no lock of a session holds."""

    code = "AB421"


class LockLostError(LockError):
    """The migration lock was lost while a revision ran, so another migrator may be at work."""

    code = "AB422"

    def __init__(self) -> None:
        super().__init__(
            "The migration lock was lost, so another migrator may be at work.",
            remedy="See what takes the lock away (a pooler, a script that gives up all locks, "
            "a deleted lock file), then run the same command again.",
        )


class BlockedError(LockError):
    """Other sessions held locks that a revision needs, however often it was tried again."""

    code = "AB423"


class DifferenceError(AnabranchError):
    """Tables are not what revisions would have made of them.

    :param differences: each in a sentence.
    """

    code = "AB131"
    exit_code = 4

    def __init__(self, differences: Sequence[str]) -> None:
        lines = "".join(f"\n  {line}" for line in differences)
        super().__init__(
            f"The tables are not what the revisions make:{lines}",
            remedy="Name the revision that the tables are of (--plugin, --revision), mend them, or "
            "say --accept-differences. Where all is missing, init-db creates it.",
        )
        self.differences = tuple(differences)


class UnreachableError(AnabranchError):
    """The database cannot be connected to, or cannot be opened or written."""

    code = "AB501"
    exit_code = 9
