"""What was found before, so that a run with nothing to do opens no revision file.

A file per version location holds what its revision files said, each with the size, times and inode
the file had. Whatever is not certain is read again: deleting the cache is always safe, and so is
losing it, cutting it short or writing it twice at once.

Nothing is cached on Windows, where nothing tells that a file was edited and its time set back.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Stamp = tuple[int, int, int, int]
"""Size, modification and change time in nanoseconds, and inode: what an edit cannot leave alike."""

_FORMAT = 2
_SECOND = 1_000_000_000  # ns
_SETTLED = 2 * _SECOND  # file systems note times in steps, the coarsest of two seconds


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what tells a version of a file from every other."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def revision_files(location: Path) -> Iterator[tuple[str, Stamp | None]]:
    """Yield the name and the stamp of each file that may hold a revision, in any order.

    :raises OSError: if the folder cannot be read.
    """
    with os.scandir(location) as files:
        for file in files:
            if file.name.endswith(".py") and not file.name.startswith(("__init__", ".")):
                try:
                    yield file.name, stamp_of(file.stat())
                except OSError:  # a link that leads nowhere
                    yield file.name, None


@dataclass(frozen=True)
class Entries:
    """What is known of the files of one version location, by their names.

    :ivar read_at: nanoseconds since the epoch, from before any of the files was looked at.
    """

    location: Path
    found: Mapping[str, Any] = field(default_factory=dict)
    read_at: int = field(default_factory=time.time_ns)

    def get(self, name: str, stamp: Stamp) -> Any | None:
        """Return what the file *name* said when it had this *stamp*, or None if that is unknown."""
        entry = self.found.get(name)
        return None if entry is None or tuple(entry[0]) != stamp else entry[1]

    def is_settled(self, stamp: Stamp) -> bool:
        """Tell whether an edit since would show: not if it could fall on the very same time.

        Never where the file system notes whole seconds: its clock may be a server's that is behind,
        and an image that is built anew may have the times of the one before.
        """
        changed = stamp[2]
        return changed % _SECOND != 0 and max(stamp[1], changed) < self.read_at - _SETTLED


class HeaderCache:
    """The files that hold cached headers, in the first usable one of some *folders*.

    A folder or file that somebody else owns or may write is not trusted. No fault is ever raised:
    without a cache everything is read.

    :ivar is_whole: whether every header that was asked for can be kept: what is new, computed or
        damaged cannot.
    :ivar seen: the files of each version location that was read, sorted.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.is_whole = True
        self.seen: dict[Path, list[tuple[str, Stamp | None]]] = {}
        self._folders = tuple(folder for folder in folders if folder.is_absolute())

    @classmethod
    def beside(cls, deployment: Path | None) -> HeaderCache:
        """The user's cache or, where that cannot be written, one in the *deployment*."""
        if os.name != "posix":
            return cls(())
        folders = list(_users_folder())
        if deployment is not None:
            folders.append(deployment / ".anabranch-cache")
        return cls(folders)

    @cached_property
    def _reader(self) -> str:
        """What reads headers: in another version of Python or ours, they may say something else.

        :raises OSError: if our own files are none, but members of an archive.
        """
        own = stamp_of(Path(__file__).with_name("scripts.py").stat())
        return json.dumps([_FORMAT, own, sys.version])

    def load(self, location: Path) -> Entries:
        """Return what is cached of *location*."""
        for folder in self._folders:
            with suppress(OSError, ValueError):
                if (text := _read_own(folder / _name(location))) is not None:
                    return Entries(location, self._parse(text, location))
        return Entries(location)

    def read(self, name: str) -> str | None:
        """Return what :meth:`write` kept by this *name*, if anything."""
        for folder in self._folders:
            with suppress(OSError, ValueError):
                if (text := _read_own(folder / name)) is not None:
                    return text
        return None

    def _parse(self, text: str, location: Path) -> dict[str, Any]:
        """Return what the text of a cache says.

        :raises ValueError: if it is damaged, or not meant for this reader.
        """
        reader, place, checksum, body = text.split("\n", 3)
        meant = (reader, place) == (self._reader, json.dumps(str(location)))
        if not meant or int(checksum) != zlib.crc32(body.encode()):
            raise ValueError("not to be trusted")
        found: dict[str, Any] = json.loads(body)
        return found

    def store(self, entries: Entries, found: Mapping[str, Any]) -> None:
        """Keep *found*, in which each file's name leads to its stamp and what it says."""
        with suppress(OSError):
            body = json.dumps(found, separators=(",", ":"))
            head = [self._reader, json.dumps(str(entries.location))]
            text = "\n".join([*head, str(zlib.crc32(body.encode())), body])
            self.write(_name(entries.location), text)

    def write(self, name: str, text: str) -> None:
        """Keep *text* by this *name*."""
        for folder in self._folders:
            with suppress(OSError):
                _require_own(folder)
                _write_whole(folder / name, text)
                return


def _users_folder() -> Iterator[Path]:
    """Yield the folder for what is cached for the user; nothing for somebody without a home."""
    from platformdirs import user_cache_path

    with suppress(RuntimeError):
        folder = user_cache_path("anabranch")
        if folder.is_absolute():  # older versions answer with a folder named "~"
            yield folder


def _name(location: Path) -> str:
    return f"{hashlib.sha256(os.fsencode(location)).hexdigest()[:32]}.json"


def _read_own(path: Path) -> str | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read() if _is_own(os.fstat(descriptor), stat.S_ISREG) else None


def _require_own(folder: Path) -> None:
    """Create *folder* if it is missing, in a folder that may be missing too, but no further up.

    :raises OSError: if that cannot be, or if others may write to it.
    """
    for each in (folder.parent, folder):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
    if not _is_own(folder.stat(), stat.S_ISDIR):
        raise PermissionError(f"{folder} belongs to others too")


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, also where two processes do it at once."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def _is_own(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    return (
        is_kind(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
