"""What a revision must not do unnoticed: judged inside its transaction, before the commit."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from anabranch.objects import TableName
from anabranch.planning import Step

NOTHING_AROUND = nullcontext()
"""For a guard that does nothing after a revision's statements: a generator takes its time."""


class GuardError(Exception):
    """A revision did what it must not do; its transaction is rolled back.

    :param what: what it did, in words that follow "owner@id failed:".
    :param step: the revision that did it, which need not be the one that ran last.
    :param code: the code of the error that tells of it; none of its own is a failed revision's.
    :param remedy: what to do about it, besides what is said of every failed revision.
    """

    def __init__(self, what: str, step: Step, *, code: str = "AB301", remedy: str = "") -> None:
        super().__init__(what)
        self.step = step
        self.code = code
        self.remedy = remedy


class Guard:
    """Watches the revisions of a run; each method does nothing until a guard says otherwise.

    A guard is made for one run and asked, within :meth:`watching`, in this order: :meth:`begin`,
    then :meth:`running` and :meth:`check` for each revision that shares the transaction, then
    :meth:`finish`. Whatever one raises fails a revision: the one that a :class:`GuardError` names,
    else the one that runs.

    A run may have thousands of revisions in one transaction, so what is done for each of them
    must not grow with the database; :meth:`begin` and :meth:`finish` may look at all of it.

    :ivar is_asking: whether what is sent right now is the guard's own question, not the script's.
    """

    is_asking = False

    def trust(self, is_finished: Callable[[], bool]) -> None:
        """Learn how to tell a statement that an earlier run finished, and that is not sent again.

        Called before anything else, where a half-done revision goes on after its last statement.
        """

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Surround the run: to listen to the connection takes its time, so it is done once."""
        yield

    def begin(self) -> None:
        """Take note of what there is: a transaction has begun, and no revision has run in it."""

    def running(self, step: Step) -> AbstractContextManager[None]:  # noqa: ARG002
        """Surround the statements of *step*, and of nothing else."""
        return NOTHING_AROUND

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        """Judge what *step* did so far: its script is about to commit, or has committed, by hand.

        :param touched: as for :meth:`check`.
        """

    def check(self, step: Step, touched: frozenset[TableName]) -> None:
        """Judge what *step* did, which is not yet recorded.

        :param touched: the tables that it created, dropped, altered or wrote to.
        """

    def finish(self) -> None:
        """Judge what all of them did: the transaction is about to be committed."""
