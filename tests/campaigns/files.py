"""Break the files of a SQLite deployment in every way, run, take the cause away, run again, look.

``python -m campaigns.files --seed 1`` (in ``tests``). A full disk and a read-only file system need
root, who may mount a small tmpfs; without that they are left out, which is said.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns.command import arguments, conclude
from campaigns.places import (
    MODES,
    Bench,
    Place,
    can_mount,
    disk,
    locked,
    mount,
    moved,
    run_locked,
    with_content,
    with_file,
    with_folder,
    with_mode,
)
from support.sites import Result

_STEP = 256  # KiB between two sizes of a disk
SLOW = "file locked by a program"  # which is waited for half a minute
_ROOM = "full|needed|No space|Done|went well|Restored"


@dataclass
class Figures:
    """How many runs there were, and what was wrong with any of them."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['runs']} runs, {counts['failed']} of them failed, {counts['said']} with "
            f"another code or text than right, {counts['changed']} changed the database, "
            f"{counts['damaged']} damaged it, {counts['left']} left something behind, "
            f"{counts['stuck']} stuck"
        )

    def fault(self, kind: str, where: str, result: Result | None = None) -> None:
        self.counts[kind] += 1
        self.faults.append(f"{kind}: {where}" + (f"\n{result}" if result else ""))


Arrange = Callable[[Place], contextlib.AbstractContextManager[Path | None]]


@dataclass(frozen=True)
class Case:
    """One way to break a deployment.

    :ivar arrange: breaks it while its block runs; what it yields is not to be written to.
    :ivar codes: the exit codes that are right.
    :ivar text: what is said then, as a pattern.
    :ivar bound: whether the modes of files bind who runs the command, as they do not bind root.
    """

    name: str
    arrange: Arrange
    codes: tuple[int, ...]
    text: str
    arguments: tuple[str, ...]
    bound: bool


def _in(name: str, broken: Callable[..., Any], *given: Any, **named: Any) -> Arrange:
    """Let *broken* break the file *name* of a deployment."""
    return lambda place: broken(place.directory / name, *given, **named)


def _corrupt(start: int) -> Arrange:
    def arrange(place: Place) -> contextlib.AbstractContextManager[Path | None]:
        content = place.file.read_bytes()
        return with_content(place.file, content[:start] + b"\xa5" * (len(content) - start))

    return arrange


def _cut(place: Place) -> contextlib.AbstractContextManager[Path | None]:
    content = place.file.read_bytes()
    return with_content(place.file, content[: len(content) // 2])


def cases() -> tuple[Case, ...]:
    """Return every way to break a deployment but a full disk."""
    here, file, lock, backups = ".", "mill.sqlite", "mill.sqlite.lock", "backups"
    config = "config.toml"
    plain = ("init-db", "{directory}")
    without = (*plain, "--no-backup")
    rehearse = ("db", "rehearse", "{directory}")
    restore = ("db", "restore", "{directory}", "{directory}/config.toml", "--yes")
    denied = "enied|readonly|unable to open"
    damaged = "malformed|opened|backed up"
    diary = b"Dear diary,\n" * 999
    bound, free = True, False
    rows: tuple[tuple[str, Arrange, tuple[int, ...], str, tuple[str, ...], bool], ...] = (
        ("read-only directory", _in(here, with_mode, 0o500), (8, 9), denied, plain, bound),
        ("the same, no backup", _in(here, with_mode, 0o500), (5, 9), denied, without, bound),
        ("the same, rehearsal", _in(here, with_mode, 0o500), (8, 9), denied, rehearse, bound),
        ("read-only file", _in(file, with_mode, 0o400), (9,), "cannot be written", plain, bound),
        ("unreadable file", _in(file, with_mode, 0), (9,), "opened|written", plain, bound),
        (
            "unread configuration",
            _in(config, with_mode, 0),
            (2,),
            "cannot be read",
            plain,
            bound,
        ),
        ("read-only lock", _in(lock, with_mode, 0o400), (9,), "cannot be written", plain, bound),
        ("directory for a lock", _in(lock, moved, directory=True), (9,), "written", plain, free),
        (
            "lock held",
            _in(lock, run_locked),
            (7,),
            "held by",
            (*plain, "--lock-timeout", "0"),
            free,
        ),
        (SLOW, _in(file, locked), (7,), "in use by another", plain, free),
        ("read-only backups", _in(backups, with_folder, 0o500), (8,), "backed up", plain, bound),
        ("file for backups", _in(backups, with_file), (8,), "backed up", plain, free),
        ("garbage behind the first page", _corrupt(4096), (8, 9), damaged, plain, free),
        ("garbage in the last page", _corrupt_last, (8, 9), damaged, plain, free),
        ("half a file", _cut, (8, 9), damaged, plain, free),
        ("foreign file", _in(file, with_content, diary), (9,), "not a database", plain, free),
        ("directory for a file", _in(file, moved, directory=True), (9,), "is a dir", plain, free),
        ("no configuration", _in(config, moved), (2,), "not empty", plain, free),
        ("restore of what is no backup", _nothing, (8,), "not a sound", restore, free),
    )
    return tuple(Case(*row) for row in rows)


def _corrupt_last(place: Place) -> contextlib.AbstractContextManager[Path | None]:
    return _corrupt(len(place.file.read_bytes()) - 4096)(place)


@contextmanager
def _nothing(_place: Place) -> Generator[None, None, None]:
    yield


def run(seed: int, *, sizes: int | None = None, slow: bool = True) -> Figures:
    """Run the campaign and return its figures.

    :param sizes: how many sizes of a disk are tried, at random; else all in steps.
    :param slow: also try what waits for half a minute.
    """
    chance = random.Random(seed)
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder).resolve(), chance.randrange(10**6))
        os.environ["XDG_CACHE_HOME"] = str(bench.folder / "cache")
        with bench.site.on_path():
            bench.prepare()
            for mode in MODES:
                for case in cases():
                    if slow or case.name != SLOW:
                        _one(bench, bench.copy(mode), case, mode, figures)
            _new(bench, figures)
            if can_mount(bench.folder):
                for mode in MODES:
                    _read_only(bench, mode, figures)
                    _full_disks(bench, mode, figures, chance, sizes)
            else:
                figures.left_out.append("full disk and read-only file system: nothing is mounted")
    return figures


def _one(bench: Bench, place: Place, case: Case, mode: str, figures: Figures) -> None:
    """Break *place* as *case* says, run, mend it, run again, and note what is wrong."""
    where = f"{case.name}, {mode}"
    with case.arrange(place) as untouched:
        content = untouched.read_bytes() if untouched else b""
        result = bench.run(place, case.arguments, bound=case.bound)
        if untouched and untouched.read_bytes() != content:
            figures.fault("changed", where, result)
    _judge(result, where, figures, codes=case.codes, text=case.text)
    _look(bench, place, where, result, figures)


def _judge(
    result: Result, where: str, figures: Figures, *, codes: tuple[int, ...], text: str
) -> None:
    figures.counts["runs"] += 1
    figures.counts["failed"] += result.code != 0
    told = result.code == 0 or ("\nState: " in result.err and "\nNext:  " in result.err)
    said = re.search(text, result.out + result.err)
    if result.code not in codes or not told or not said or "Traceback" in result.err:
        figures.fault("said", where, result)


def _look(
    bench: Bench, place: Place, where: str, result: Result, figures: Figures, *, done: bool = False
) -> None:
    """See whether the database is as it was, or *done*, and whether the next run finishes it."""
    if place.outcome() != (bench.golden if done else bench.halfway):
        figures.fault("changed", where, result)
    with closing(sqlite3.connect(place.file)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            figures.fault("damaged", where, result)
    for path in place.directory.rglob("*"):
        if path.suffix == ".part" or path.name.startswith("."):
            figures.fault("left", f"{path.name}, {where}", result)
    again = bench.run(place, ("init-db", str(place.directory)))
    if again.code != 0 or place.outcome() != bench.golden:
        figures.fault("stuck", where, again)


def _new(bench: Bench, figures: Figures) -> None:
    """Run where there is nothing yet: no directory, an empty one, an empty file."""
    for number, where in enumerate(("no directory", "empty directory", "empty file")):
        place = Place(bench.folder / f"new{number}")
        if number:
            place.directory.mkdir()
        if number == 2:
            place.file.touch()
            (place.directory / "config.toml").touch()
        result = bench.run(place, ("init-db", "{directory}"))
        _judge(result, where, figures, codes=(0,), text="Done")
        _look(bench, place, where, result, figures, done=True)


def _read_only(bench: Bench, mode: str, figures: Figures) -> None:
    """Run on a file system that turned read-only."""
    directory = bench.folder / "disk"
    with disk(directory, 1 << 26):
        place = bench.copy(mode, directory)
        mount("-o", "remount,ro", str(directory))
        for command in (("init-db",), ("init-db", "--no-backup"), ("db", "rehearse")):
            result = bench.run(place, (*command, "{directory}"))
            where = f"read-only file system, {mode}, {' '.join(command)}"
            _judge(result, where, figures, codes=(8, 9), text="Read-only|readonly|unable to open")
        mount("-o", "remount,rw", str(directory))
        _look(bench, place, where, result, figures)


def _full_disks(
    bench: Bench, mode: str, figures: Figures, chance: random.Random, sizes: int | None
) -> None:
    """Run on disks of every size, from one that barely holds the deployment."""
    directory = bench.folder / "disk"
    least = sum(path.stat().st_size for path in (bench.folder / mode).rglob("*")) // 1024 + 64
    everything = list(range(least, least + 16 * 1024, _STEP))
    for command in COMMANDS:
        wanted = everything if sizes is None else sorted(chance.sample(everything[:24], sizes))
        for size in wanted:
            if _one_disk(bench, directory, mode, command, size, figures) and sizes is None:
                break


COMMANDS = (
    ("init-db", "{directory}"),
    ("init-db", "{directory}", "--no-backup"),
    ("init-db", "{directory}", "--rehearse", "--no-backup"),
    ("db", "rehearse", "{directory}"),
    ("db", "restore", "{directory}", "{directory}/../old.sqlite", "--yes"),
)


def _one_disk(
    bench: Bench,
    directory: Path,
    mode: str,
    command: tuple[str, ...],
    size: int,
    figures: Figures,
) -> bool:
    """Run *command* on a disk of *size* KiB; return whether that was enough."""
    where = f"disk of {size} KiB, {mode}, {' '.join(command)}"
    with disk(directory, size * 1024):
        place = bench.copy(mode, directory)
        if "restore" in command:
            shutil.copy(place.file, bench.folder / "old.sqlite")
        result = bench.run(place, command)
        _judge(result, where, figures, codes=(0, 5, 8, 9), text=_ROOM)
        mount("-o", f"remount,size={size * 1024 + (1 << 26)}", str(directory))
        enough = result.code == 0
        done = enough and "init-db" in command
        _look(bench, place, where, result, figures, done=done)
    return enough


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    parser = arguments(__doc__, databases=["sqlite"])
    parser.add_argument("--sizes", type=int, help="try so many sizes of a disk only")
    parser.add_argument("--quick", action="store_true", help="leave out what waits")
    options = parser.parse_args()
    figures = run(options.seed, sizes=options.sizes, slow=not options.quick)
    for reason in figures.left_out:
        print(f"left out: {reason}")
    conclude(f"seed {options.seed}, SQLite {sqlite3.sqlite_version}", {"anabranch": figures})


if __name__ == "__main__":
    main()
