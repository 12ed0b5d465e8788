"""One spelling for each name."""

from __future__ import annotations

import hashlib
import re

CORE = "core"
"""The name of the owner that is the host application itself."""

HEADS = "heads"
"""The target that is every revision."""

NOTHING = hashlib.sha256().hexdigest()[:16]
"""The digest of a plan without a step."""

_SEPARATORS = re.compile(r"[-_.]+")
_OWNER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")


def normalise(name: str) -> str:
    """Return *name* as PEP 503 compares it: lower case, separators folded to one dash."""
    return _SEPARATORS.sub("-", name).lower()


def is_owner_name(name: str) -> bool:
    """Tell whether a normalised *name* can be an owner's: it goes into files, SQL and messages."""
    return _OWNER.fullmatch(name) is not None
