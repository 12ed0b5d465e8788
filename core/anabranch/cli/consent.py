"""Nothing is lost before a person has seen what, and has said so."""

from __future__ import annotations

import sys

import click

from anabranch.errors import UnconfirmedError

yes_option = click.option(
    "--yes", is_flag=True, help="Do it without asking, as it must be said without a terminal."
)


def require_consent(question: str, word: str, *, yes: bool) -> None:
    """Ask a person at a terminal to type *word*; elsewhere *yes* must have been given.

    :raises UnconfirmedError: if nobody agreed.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UnconfirmedError(
            f"{question} Nobody can be asked here.", remedy="Say --yes to do it."
        )
    answer = click.prompt(
        f"{question} Type {word} to do it", default="", show_default=False, err=True
    )
    if answer.strip() != word:
        raise UnconfirmedError("That was not agreed to.", remedy=f"Type {word}, or say --yes.")
