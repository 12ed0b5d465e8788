"""One spelling for each name."""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[-_.]+")
_OWNER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")


def normalise(name: str) -> str:
    """Return *name* as PEP 503 compares it: lower case, separators folded to one dash."""
    return _SEPARATORS.sub("-", name).lower()


def is_owner_name(name: str) -> bool:
    """Tell whether a normalised *name* can be an owner's: it goes into files, SQL and messages."""
    return _OWNER.fullmatch(name) is not None
