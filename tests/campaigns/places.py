"""Deployments of SQLite files to break, and the ways to break one for a while."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaigns.targets import Outcome, outcome
from campaigns.workload import workload
from support.databases import sqlite
from support.sites import Result, Site
from support.trees import plugin, revision_file

MODES = ("delete", "wal")  # of SQLite's journal

_BULK = """
op.create_table("bulk", sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
op.execute("INSERT INTO bulk WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
           "LIMIT 4000) SELECT i, hex(zeroblob(100)) FROM n")
"""
_REBUILD = """
with op.batch_alter_table("bulk") as batch:
    batch.add_column(sa.Column("more", sa.Text))
op.execute("UPDATE bulk SET more = text")
"""


@dataclass(frozen=True)
class Place:
    """A deployment to break."""

    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "mill.sqlite"

    @property
    def backups(self) -> Path:
        return self.directory / "backups"

    def outcome(self) -> Outcome:
        return outcome(sqlite(self.file))


class Bench:
    """An application, and a deployment of it that is halfway, to copy and break."""

    def __init__(self, folder: Path, seed: int) -> None:
        work = workload(seed, least=8, most=14)
        self.folder = folder
        self.site = Site(folder / "site", application="mill")
        self.site.install(
            *work.distributions,
            plugin(
                "bulk",
                host="mill",
                models=None,
                revisions=[
                    revision_file("b1", created="2023-01-01", upgrade=_BULK),
                    revision_file("b2", down="b1", created="2025-01-01", upgrade=_REBUILD),
                ],
            ),
        )
        self._number = 0

    def prepare(self) -> None:
        """Make the deployments to copy: one for each mode, and what they become."""
        from mill.cli import manager  # type: ignore[import-not-found]

        for mode in MODES:
            place = Place(self.folder / mode)
            manager.create(place.directory)
            keys = [str(key) for key in manager.plan(place.directory).keys]
            manager.upgrade(place.directory, [*keys[: len(keys) // 2], "bulk@b1"])
            with closing(sqlite3.connect(place.file)) as connection:
                connection.execute(f"PRAGMA journal_mode={mode}")
        self.halfway = place.outcome()
        done = Place(self.folder / "done")
        shutil.copytree(place.directory, done.directory)
        manager.upgrade(done.directory)
        self.golden = done.outcome()

    def copy(self, mode: str, directory: Path | None = None) -> Place:
        """Return a deployment of its own, halfway, in *directory* perhaps."""
        self._number += 1
        place = Place(directory or self.folder / f"{self._number}")
        shutil.copytree(self.folder / mode, place.directory, dirs_exist_ok=True)
        shutil.rmtree(place.backups, ignore_errors=True)
        return place

    def run(self, place: Place, arguments: tuple[str, ...], *, bound: bool = False) -> Result:
        """Run a command in a forked process, in which the application is already imported."""
        given = [word.replace("{directory}", str(place.directory)) for word in arguments]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                self._in_child(given, out.fileno(), err.fileno(), bound=bound)
            _, status = os.waitpid(pid, 0)
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        return Result(os.waitstatus_to_exitcode(status), *said)

    def _in_child(self, arguments: list[str], out: int, err: int, *, bound: bool) -> None:
        code: object = 1
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            if bound:
                _bind()
            from mill.cli import cli

            cli.main(arguments, prog_name="mill")
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(str(code or 0)))


def _bind() -> None:
    """Let the modes of files bind this process, whoever runs it."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for effective in (0, 1):  # and permitted; CAP_DAC_OVERRIDE is 1, CAP_DAC_READ_SEARCH is 2
        data[effective] &= ~0b110
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def disk(directory: Path, size: int) -> Generator[None, None, None]:
    """Mount a file system of *size* bytes at *directory*."""
    directory.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    try:
        with disk(folder / "try", 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def with_mode(path: Path, mode: int) -> Generator[None, None, None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def with_content(path: Path, content: bytes) -> Generator[Path, None, None]:
    """Put *content* in the place of *path*, with nothing beside it."""
    beside = [path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))]
    kept = {each: each.read_bytes() for each in beside if each.exists()}
    for each in beside:
        each.unlink(missing_ok=True)
    path.write_bytes(content)
    try:
        yield path
    finally:
        for each in beside:
            each.unlink(missing_ok=True)
        for each, was in kept.items():
            each.write_bytes(was)


@contextmanager
def moved(path: Path, *, directory: bool = False) -> Generator[None, None, None]:
    """Take *path* away, and put an empty directory in its place perhaps."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    if directory:
        path.mkdir()
    try:
        yield
    finally:
        if directory:
            path.rmdir()
        away.rename(path)


@contextmanager
def with_file(path: Path) -> Generator[None, None, None]:
    path.touch()
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def with_folder(path: Path, mode: int) -> Generator[None, None, None]:
    path.mkdir()
    path.chmod(mode)
    try:
        yield
    finally:
        path.rmdir()


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Let another process hold SQLite's own lock."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.communicate()


@contextmanager
def run_locked(path: Path) -> Generator[None, None, None]:
    """Let this process hold the run lock."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
