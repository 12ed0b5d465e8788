"""What a run that kept going left undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.errors import AnabranchError
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
