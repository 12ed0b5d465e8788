"""``verify()``: what an author has checked in the transaction of a revision, once it ran."""

from __future__ import annotations

import inspect
from types import ModuleType

import sqlalchemy as sa

from anabranch.guards import GuardError
from anabranch.planning import Step


def verify(script: ModuleType, step: Step, connection: sa.Connection) -> None:
    """Call the function ``verify()`` of a revision script, if it has one.

    It is given the connection if it takes an argument. What it raises comes through.

    :raises GuardError: if it returns False, or a text that says what is wrong.
    """
    check = getattr(script, "verify", None)
    if not inspect.isfunction(check):
        return
    wants = inspect.signature(check).parameters
    found = check(connection) if wants else check()
    if found is False or (isinstance(found, str) and found):
        said = found if found else "something is not as it must be"
        raise GuardError(f"its verify() says: {said}", step, code="AB304")
