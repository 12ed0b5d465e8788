"""Faults between this process and a MariaDB server, at any command that is sent to it.

Below SQLAlchemy, at the driver: also where no event of SQLAlchemy tells of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Literal

from pymysql.connections import Connection

Fault = Literal["raise", "kill before", "kill sent"]
FAULTS: tuple[Fault, ...] = ("raise", "kill before", "kill sent")


class InjectedError(Exception):
    """The fault of a process that is not killed."""


def inject(place: int, fault: Fault) -> None:
    """Let the command number *place* that this process sends end it, or fail.

    Killed before it is sent, or when it is sent and not answered. Only for a process that ends with
    it: nothing is undone.
    """
    sent = 0
    send: Callable[..., Any] = Connection._execute_command

    def execute(self: Any, command: int, text: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == place and fault == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if sent == place and fault == "raise":
            raise InjectedError
        send(self, command, text)
        if sent == place and fault == "kill sent":
            os.kill(os.getpid(), signal.SIGKILL)

    Connection._execute_command = execute


def fail_after(first: str, then: str) -> None:
    """Let the first command with *then* in it fail that comes after one with *first*.

    Only for a process that ends with it: nothing is undone.
    """
    seen = False
    send: Callable[..., Any] = Connection._execute_command

    def execute(self: Any, command: int, text: Any) -> None:
        nonlocal seen
        sent = text.decode() if isinstance(text, bytes) else str(text)
        if seen and then in sent:
            raise InjectedError
        seen = seen or first in sent
        send(self, command, text)

    Connection._execute_command = execute
