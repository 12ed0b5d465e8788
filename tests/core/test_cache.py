"""A cached header is the header, or it is not used: whatever was done to the file or the cache."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anabranch.cache import Entries, HeaderCache
from anabranch.revision import Revision
from anabranch.scripts import read_location
from support.store import Store, table
from support.trees import revision_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="nothing is cached on Windows")

MARK = "from the cache"
FILES = {
    "a.py": revision_file("a", message="first", labels="trunk", created="2024-01-01 10:00:00"),
    "b.py": revision_file("b", down="a", depends=["x", "y"], created="2024-02-01 10:00:00.5+02:00"),
    "c.py": revision_file("c", down=("a", "b"), created="never", message="third")
    + "\nautocommit_block\n",
    "helper.py": "def help():\n    pass\n",
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of revision files that have been there for a while."""
    folder = tmp_path_factory.mktemp("pool")
    pool = [folder / str(number) for number in range(40)]
    for location in pool:
        location.mkdir()
        for name, text in FILES.items():
            (location / name).write_text(text)
    time.sleep(2.1)
    return iter(pool)


class Cached:
    """A version location, and the cache of what was read from it."""

    def __init__(self, location: Path, folder: Path) -> None:
        self.location = location
        self.folder = folder
        self.cache = HeaderCache([folder])

    def read(self) -> dict[str, Revision]:
        revisions, problems = read_location("billing", self.location, self.cache)
        assert problems == ()
        return {revision.id: revision for revision in revisions}

    def messages(self) -> dict[str, str]:
        return {id_: revision.message for id_, revision in self.read().items()}

    @property
    def file(self) -> Path:
        (file,) = self.folder.iterdir()
        return file

    def mark(self) -> None:
        """Let the cache say something else than the files, to show when it is believed."""

        def change(found: dict[str, Any]) -> None:
            for _, header in found.values():
                if header:
                    header[4] = MARK

        self.rewrite(change)

    def rewrite(self, change: Callable[[dict[str, Any]], None]) -> None:
        *head, _, body = self.file.read_text().split("\n", 3)
        found = json.loads(body)
        change(found)
        body = json.dumps(found)
        self.file.write_text("\n".join([*head, str(zlib.crc32(body.encode())), body]))


@pytest.fixture
def cached(pool: Iterator[Path], tmp_path: Path) -> Cached:
    """A location that was read once, and whose cache can be told from the files."""
    cached = Cached(next(pool), tmp_path / "cache" / "anabranch")
    cached.read()
    cached.mark()
    return cached


def test_what_is_cached_is_believed(cached: Cached) -> None:
    """Or the other tests would prove nothing."""
    assert cached.messages() == {"a": MARK, "b": MARK, "c": MARK}


def test_a_cached_header_is_equal_to_the_one_that_was_read(
    pool: Iterator[Path], tmp_path: Path
) -> None:
    cached = Cached(next(pool), tmp_path / "cache")
    read, again = cached.read(), cached.read()
    assert read == again == {r.id: r for r in read_location("billing", cached.location)[0]}
    assert cached.file.stat().st_mode & 0o777 == 0o600
    assert cached.folder.stat().st_mode & 0o777 == 0o700


def test_an_edit_of_the_same_size_with_the_time_set_back_is_noticed(cached: Cached) -> None:
    file = cached.location / "a.py"
    before = file.stat()
    file.write_text(file.read_text().replace("first", "FIRST"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert cached.messages() == {"a": "FIRST", "b": MARK, "c": MARK}


def test_a_file_that_takes_the_place_of_another_is_noticed(cached: Cached) -> None:
    file = cached.location / "a.py"
    before = file.stat()
    other = cached.location / "other"
    other.write_text(file.read_text().replace("first", "FIRST"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert cached.messages()["a"] == "FIRST"


def test_times_in_whole_seconds_tell_no_edit_from_another() -> None:
    """As NFS, older file systems and images note them; a second one may fall on the same second."""
    entries = Entries(Path("versions"), read_at=1_700_000_000_500_000_000)
    long_ago, early = 1_600_000_000_000_000_000, 1_699_999_990_000_000_000
    assert entries.is_settled((100, long_ago, early + 1, 7)), "as wheels unpack their files"
    assert not entries.is_settled((100, long_ago, early, 7))
    assert not entries.is_settled((100, long_ago, long_ago, 7))


@pytest.mark.parametrize("years", [-30, 30])
def test_an_edit_while_the_clock_is_wrong_is_noticed(cached: Cached, years: int) -> None:
    """Earlier than what was cached, or in the future."""
    file = cached.location / "a.py"
    for text in ("FIRST", "fIRST"):
        file.write_text(FILES["a.py"].replace("first", text))
        when = time.time_ns() + years * 365 * 86400 * 10**9
        os.utime(file, ns=(when, when))
        assert cached.messages()["a"] == text


def test_a_file_that_was_written_just_now_is_not_cached(cached: Cached) -> None:
    """It could be edited once more at what the file system takes for the same time."""
    (cached.location / "d.py").write_text(revision_file("d", down="c"))
    cached.read()
    assert "d.py" not in cached.file.read_text()


def test_a_file_that_went_leaves_the_cache(cached: Cached) -> None:
    (cached.location / "b.py").unlink()
    assert cached.messages() == {"a": MARK, "c": MARK}
    assert "b.py" not in cached.file.read_text()


def test_a_computed_header_is_read_each_time(pool: Iterator[Path], tmp_path: Path) -> None:
    """What it says may depend on what else is installed."""
    location = next(pool)
    other = tmp_path / "depends"
    other.write_text("a")
    computed = location / "z.py"
    text = f"pathlib.Path({str(other)!r}).read_text()"
    computed.write_text(
        f"import pathlib\nrevision = 'z'\ndown_revision = None\ndepends_on = {text}\n"
    )
    time.sleep(2.1)
    cached = Cached(location, tmp_path / "cache")
    assert cached.read()["z"].depends_on == ("a",)
    other.write_text("b")
    assert cached.read()["z"].depends_on == ("b",)
    assert "z.py" not in cached.file.read_text()


REAL = {"a": "first", "b": "a change", "c": "third"}


def test_a_cache_that_was_cut_short_is_as_good_as_none(cached: Cached) -> None:
    whole = cached.file.read_bytes()
    for length in itertools.chain(range(0, len(whole), 97), [len(whole) - 1]):
        cached.file.write_bytes(whole[:length])
        assert cached.messages() == REAL
        assert cached.messages() == REAL, "and is put right"


@pytest.mark.parametrize(
    "garbage", [b"\0" * 500, b"\n\n\n\n", b"\xff\xfe" * 90, b"[]\n[]\n0\n[]", b"{" * 100_000]
)
def test_garbage_in_the_place_of_the_cache_is_as_good_as_none(
    cached: Cached, garbage: bytes
) -> None:
    cached.file.write_bytes(garbage)
    assert cached.messages() == REAL


def test_a_flipped_letter_is_noticed(cached: Cached) -> None:
    cached.file.write_text(cached.file.read_text().replace(MARK, MARK.upper()))
    assert cached.messages() == REAL


@pytest.mark.parametrize("line", [0, 1])
def test_a_cache_of_another_version_or_of_another_place_is_not_used(
    cached: Cached, line: int
) -> None:
    """Of Python, of anabranch, or of another folder whose cache was copied."""
    lines = cached.file.read_text().split("\n", 3)
    assert sys.version.split()[0] in lines[0]
    assert json.loads(lines[1]) == str(cached.location)
    lines[line] = lines[line].replace(sys.version.split()[0], "3.9.0")
    lines[line] = lines[line].replace(str(cached.location), "/elsewhere")
    cached.file.write_text("\n".join(lines))
    assert cached.messages() == REAL


def test_a_cache_that_others_may_write_is_not_used(cached: Cached) -> None:
    cached.file.chmod(0o620)
    assert cached.messages() == REAL
    cached.mark()
    cached.file.chmod(0o602)
    assert cached.messages() == REAL


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_another_user_is_not_used(cached: Cached) -> None:
    os.chown(cached.file, 65534, 65534)
    assert cached.messages() == REAL
    os.chown(cached.folder, 65534, 65534)
    (cached.location / "b.py").unlink()
    assert set(cached.messages()) == {"a", "c"}
    assert "b.py" in cached.file.read_text(), "nothing is written to their folder"


def test_a_folder_that_others_may_write_is_not_written_to(pool: Iterator[Path]) -> None:
    location = next(pool)
    folder = location.parent / f"{location.name}-shared"
    folder.mkdir()
    folder.chmod(0o777)
    assert Cached(location, folder).messages() == REAL
    assert list(folder.iterdir()) == []


def test_a_link_or_a_pipe_in_the_place_of_the_cache_is_not_followed(
    cached: Cached, tmp_path: Path
) -> None:
    file = cached.file
    file.rename(tmp_path / "poison")
    file.symlink_to(tmp_path / "poison")
    assert cached.messages() == REAL
    file.unlink()
    os.mkfifo(file, 0o600)
    assert cached.messages() == REAL


def test_the_cache_can_be_deleted_at_any_time(cached: Cached) -> None:
    cached.file.unlink()
    assert cached.messages() == REAL
    cached.file.unlink()
    cached.folder.rmdir()
    assert cached.messages() == REAL
    assert cached.file.exists()


def test_processes_that_write_at_once_leave_a_whole_cache(
    pool: Iterator[Path], tmp_path: Path
) -> None:
    """Each also reads what the others write, and deletes it now and then."""
    program = """
import sys
from pathlib import Path
from anabranch.cache import Entries, HeaderCache
from anabranch.scripts import read_location
location, folder = map(Path, sys.argv[1:])
for number in range(150):
    revisions, problems = read_location("billing", location, HeaderCache([folder]))
    assert [r.message for r in revisions] == ["first", "a change", "third"], revisions
    assert not problems
    if number % 3 == 0:
        for file in folder.glob("*.json"):
            file.unlink(missing_ok=True)
"""
    location, folder = next(pool), tmp_path / "cache"
    command = [sys.executable, "-c", program, str(location), str(folder)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    cached = Cached(location, folder)
    cached.read()
    cached.mark()
    assert set(cached.messages().values()) == {MARK}
    assert cached.file.parent == folder


# -- where it is


@pytest.fixture
def store(tmp_path: Path, sqlite_database: Any) -> Iterator[Store]:
    store = Store(tmp_path, sqlite_database)
    store.core(revision_file("c1", upgrade=table("one")))
    time.sleep(2.1)
    yield store
    store.site.close()


def test_it_is_in_the_users_cache(store: Store, tmp_path: Path) -> None:
    store.init_db().expect(0)
    (file,) = (tmp_path / "site-cache" / "anabranch").glob("*.json")
    assert "c1" in file.read_text()
    assert not (store.deployment / ".anabranch-cache").exists()


def test_it_is_in_the_deployment_where_the_home_cannot_be_written(store: Store) -> None:
    """``/proc`` is closed to root too."""
    for _ in range(2):
        store.init_db(env={"XDG_CACHE_HOME": "/proc/none", "HOME": "/proc/none"}).expect(0)
    (file,) = (store.deployment / ".anabranch-cache").glob("*.json")
    assert "c1" in file.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without a home")
def test_somebody_without_a_home_has_none(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = """
import os
import platformdirs.unix  # while the standard library may still be read
os.environ.pop("XDG_CACHE_HOME", None)
del os.environ["HOME"]
from anabranch.cache import Entries, HeaderCache
os.setuid(54321)
cache = HeaderCache.beside(None)
cache.write("name", "text")
assert cache.read("name") is None
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_place_for_it_everything_works(store: Store) -> None:
    (store.deployment / ".anabranch-cache").touch()
    for _ in range(2):
        store.init_db(env={"XDG_CACHE_HOME": "/proc/none", "HOME": "/proc/none"}).expect(0)
    assert store.applied == {"core@c1"}
