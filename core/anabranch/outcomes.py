"""What became of a run: what it applied, and what failed and was skipped if it kept going."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.errors import AnabranchError
    from anabranch.problems import Problem
    from anabranch.revision import RevisionKey


@dataclass(frozen=True, slots=True)
class Failed:
    """What failed: a revision, or with an empty *revision* what its owner does after a run."""

    owner: str
    revision: str
    error: AnabranchError


@dataclass(frozen=True, slots=True)
class Skipped:
    """A revision that was not run, and why, in words that follow "it was skipped:"."""

    key: RevisionKey
    reason: str


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
