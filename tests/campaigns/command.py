"""What the campaigns' commands share: their options, their progress and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from campaigns.targets import DIALECTS, versions

OURS = "anabranch"


class Figures(Protocol):
    """What a campaign counted, as a sentence, and what it found wrong."""

    faults: list[str]

    def __str__(self) -> str: ...


def arguments(
    doc: str | None,
    *,
    databases: Sequence[str] = DIALECTS,
    default: str = "sqlite",
    rounds: int | None = None,
) -> argparse.ArgumentParser:
    """Return a parser for the options that most campaigns have.

    :param databases: what ``--database`` may be.
    :param rounds: the default of ``--rounds``; None for a campaign that has no rounds.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--database", choices=databases, default=default)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def add_places(parser: argparse.ArgumentParser, *, workloads: int) -> None:
    """Add the options of a campaign that tries every place of some workloads."""
    parser.add_argument("--workloads", type=int, default=workloads)
    parser.add_argument("--revisions", type=int, nargs=2, default=[10, 14], metavar=("MIN", "MAX"))
    parser.add_argument("--stride", type=int, default=1, help="take every so many-th place only")


def so_far(name: str, figures: Figures) -> None:
    """Say what was seen up to now, for whoever waits for the end or does not live to see it."""
    print(f"{name}, so far: {figures}", file=sys.stderr, flush=True)


def conclude(what: str, figures: Mapping[str, Figures]) -> NoReturn:
    """Print the figures and the faults of ours, and exit: with 1 if there are such faults."""
    print(f"{what}, {versions()}")
    for name, found in figures.items():
        print(f"{name}: {found}")
    faults = [
        fault for name, found in figures.items() if name.startswith(OURS) for fault in found.faults
    ]
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))
