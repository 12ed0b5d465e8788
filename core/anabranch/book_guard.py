"""Our own records while revisions run: nobody else must take applied revisions out of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.events import listening
from anabranch.guards import Guard, GuardError
from anabranch.objects import TableName
from anabranch.planning import Step
from anabranch.recorder import Recorder


class BookGuard(Guard):
    """Refuses a revision that takes applied ones out of the record: they would all run again.

    Only those that speak of the table, or could reach it unheard, are looked at; so are hooks and
    seeds of plugins that speak of it.

    :param is_ours: tells whether what is sent right now is not the script's.
    """

    def __init__(
        self, connection: sa.Connection, recorder: Recorder, is_ours: Callable[[], bool]
    ) -> None:
        self._connection = connection
        self._recorder = recorder
        self._is_ours = is_ours
        self._is_running = False
        self._before: int | None = None
        self.is_asking = False

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        with listening(self._connection, before_cursor_execute=self._hear):
            yield

    @contextmanager
    def running(self, step: Step) -> Generator[None, None, None]:
        self._before = None if step.revision.plain else self._count()
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    def committing(self, step: Step, touched: frozenset[TableName]) -> None:
        self.check(step, touched)

    def check(self, step: Step, touched: frozenset[TableName]) -> None:  # noqa: ARG002
        if self._before is not None and self._count() < self._before:
            raise GuardError(self._told, step)

    @contextmanager
    def judging(self) -> Generator[None, None, None]:
        """Judge what a hook or a seed does while the block runs.

        :raises RuntimeError: if it takes applied revisions out of the record.
        """
        of_script, self._before = self._before, None
        self._is_running = True
        try:
            yield
            if self._before is not None and self._count() < self._before:
                raise RuntimeError(self._told)
        finally:
            self._before, self._is_running = of_script, False

    @property
    def _told(self) -> str:
        return (
            f"it takes revisions that are applied out of {self._recorder.revision_table}, "
            "which only anabranch writes: they would run again."
        )

    def _hear(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if (
            self._is_running
            and self._before is None
            and self._recorder.revision_table in statement
            and not self._is_ours()
        ):
            self._before = self._count()

    def _count(self) -> int:
        self.is_asking = True
        try:
            return self._recorder.count(self._connection)
        except exc.DBAPIError:
            return 0  # the table is gone
        finally:
            self.is_asking = False
