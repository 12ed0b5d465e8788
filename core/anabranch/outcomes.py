"""What became of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.problems import Problem
    from anabranch.revision import RevisionKey
    from anabranch.undone import Failed, Skipped


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a run did: the revisions it applied, in order, and the plan's digest.

    :ivar problems: also those of plugins whose hooks cannot be used: they and what needs them were
        left out.
    :ivar sown: the seeds that were put in place, in words.
    :ivar failed: what failed in a run that kept going.
    :ivar skipped: what was not run because of that.
    """

    applied: tuple[RevisionKey, ...]
    digest: str
    duration: float
    problems: tuple[Problem, ...]
    sown: tuple[str, ...] = ()
    failed: tuple[Failed, ...] = ()
    skipped: tuple[Skipped, ...] = ()
