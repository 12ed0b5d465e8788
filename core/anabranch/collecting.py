"""Python's garbage collector, kept out of the way while many small objects are made to stay."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Generator[None, None, None]:
    """Let no collection begin while the block runs; afterwards all is as it was found.

    Each would look through everything that is being read, again and again, and find nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def collection_eased() -> Generator[None, None, None]:
    """Let collections look only at what comes to be while the block runs.

    All that a long run holds would be looked through each time that as much again has come and
    gone. Where somebody has set objects aside already, all is left as it is.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
