"""Give bad input of every kind, and look at what a person is told.

``python -m campaigns.inputs --seed 1`` (in ``tests``); each case is a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.bad_inputs import SECRET, Case, Place, cases
from campaigns.command import arguments, conclude
from support.databases import sqlite
from support.sites import Site
from support.store import Store, table
from support.trees import revision_file

LONGEST = 30  # seconds that a case may take


@dataclass
class Figures:
    """How many cases there were, how they ended, and what was wrong."""

    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        return f"{self.cases} cases, ended {codes}; {len(self.faults)} answered wrong"


@dataclass(frozen=True)
class _Answer:
    code: int
    out: str
    err: str


def run(seed: int, *, only: str = "", most: int | None = None) -> Figures:
    """Run the cases whose names hold *only*, at most *most* of them, and return the figures."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready")
        ready.mkdir()
        _prepare(ready)
        chosen = [case for case in cases(random.Random(seed)) if only in case.name]
        for number, case in enumerate(chosen[:most]):
            place = Place(Path(folder, str(number)))
            shutil.copytree(ready, place.root, symlinks=True)
            case.prepare(place)
            before = _rows(place)
            answer = _ask(place, case)
            figures.cases += 1
            figures.codes[answer.code] += 1
            figures.faults += [
                f"{case.name}: {fault}\n{answer.out}{answer.err}"
                for fault in _faults(case, answer, place, before)
            ]
            shutil.rmtree(place.root)
    return figures


def _prepare(root: Path) -> None:
    """Lay out the application with one revision of each owner applied."""
    import anabranch.authoring
    import anabranch.executor  # so that no child has to import it

    del anabranch
    store = Store(root, sqlite(root / "deployment" / "store.sqlite"))
    store.core(revision_file("c1", upgrade=table("one"), labels="store"))
    store.plugin("extra", revision_file("e1", upgrade=table("two"), created="2024-02-01"))
    store.upgrade()
    (root / "deployment" / "config.toml").write_text(
        '[sqlalchemy]\ndatabase_url = "sqlite:///./store.sqlite"\n[migrations]\nbackup = false\n'
    )
    # An archive in the place of a package's folder must not matter.
    shutil.make_archive(str(root / "site" / "archive"), "zip", root / "site" / "store")


def _ask(place: Place, case: Case) -> _Answer:
    """Run the command of *case* in a forked process, which must end by itself."""
    known = {"{deployment}": str(place.deployment)}
    arguments = [
        known.get(word) or word.replace("{root}", str(place.root)) for word in case.arguments
    ]
    files = [place.root / name for name in ("out", "err")]
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _main(place, arguments, dict(case.env), files)
        finally:
            os._exit(code)
    deadline = time.monotonic() + LONGEST
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(0.005)
        ended, status = os.waitpid(pid, os.WNOHANG)
    out, err = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return _Answer(os.waitstatus_to_exitcode(status), out, err)


def _main(place: Place, arguments: list[str], env: dict[str, str], files: list[Path]) -> int:
    os.chdir(place.root)
    os.environ.update(env)
    for descriptor, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 0
    with Site(place.site, application="store").on_path():
        try:
            from store.cli import cli  # type: ignore[import-not-found]

            cli.main(arguments, prog_name="store")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _faults(case: Case, answer: _Answer, place: Place, before: list[str]) -> Generator[str]:
    text = answer.out + answer.err
    if "Traceback" in text:
        yield "a traceback"
    if answer.code not in case.codes:
        yield f"exit code {answer.code}, not {' or '.join(map(str, sorted(case.codes)))}"
    if answer.code:
        for word in case.says:
            if word not in text:
                yield f"{word!r} is not named"
        if not any(word in answer.err for word in ("\nNext: ", "\n  ", "Try '")):
            yield "no remedy"
    if not case.runs and _rows(place) != before:
        yield "the database was changed"
    if SECRET in text or any(SECRET in line for line in _rows(place, journal=True)):
        yield "the password is told"
    for path in place.deployment.glob("*.log"):
        if SECRET in path.read_text(errors="replace"):
            yield f"the password is in {path}"


def _rows(place: Place, *, journal: bool = False) -> list[str]:
    """Return what is in the database, as SQL; the journal of failures only where it is wanted."""
    file = place.deployment / "store.sqlite"
    if not file.is_file():
        return []
    with contextlib.closing(sqlite3.connect(file)) as connection:
        lines = list(connection.iterdump())
    return [line for line in lines if journal or "anabranch_journal" not in line]


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if they are not all right."""
    parser = arguments(__doc__, databases=["sqlite"])
    parser.add_argument("--only", default="", help="take the cases whose names hold this")
    parser.add_argument("--most", type=int, help="take that many cases only")
    options = parser.parse_args()
    figures = run(options.seed, only=options.only, most=options.most)
    conclude(f"seed {options.seed}", {"anabranch": figures})


if __name__ == "__main__":
    main()
