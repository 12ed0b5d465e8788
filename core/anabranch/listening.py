"""What is told of a command while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anabranch.planning import Step


@dataclass(frozen=True, slots=True)
class Progress:
    """What is told of one revision while a plan runs.

    :ivar event: ``ran`` says that its statements are done and that it shares its transaction with
        others; ``applied`` and ``reverted``, that it is committed.
    :ivar total: how many revisions the plan has.
    :ivar duration: seconds; 0 where nothing ran to the end.
    :ivar shared: whether its transaction is that of other revisions too.
    :ivar note: what an operator should know of it, for ``noted``; for ``skipped``, why it was.
    """

    event: Literal["started", "ran", "applied", "reverted", "failed", "skipped", "noted"]
    step: Step
    total: int
    duration: float = 0.0
    shared: bool = False
    note: str = ""


def unheard(_told: object) -> None:
    """Take no notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Whom a command tells what it does; by default nobody.

    :ivar progress: told of each revision as it starts and ends. What it raises is not heard: no
        reader who went away fails a revision.
    :ivar waiting: told who holds the migration lock, if somebody does: at once, then every 10 s.
    :ivar notice: told in a line of what else is done: the backup, the rehearsal.
    """

    progress: Callable[[Progress], object] = unheard
    waiting: Callable[[str], object] = unheard
    notice: Callable[[str], object] = unheard


SILENT = Listener()
