"""A look is spared where the last one found nothing to do and nothing changed; else never."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from anabranch.access import Access
from anabranch.books import BookTables, read_digest
from anabranch.cache import HeaderCache
from anabranch.errors import AnabranchError, IntegrityError, PendingError
from anabranch.reading import read_installation
from anabranch.verdict import Verdict
from support.databases import Database, sqlite
from support.store import Store, table
from support.trees import revision_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="nothing is cached on Windows")

CORE = (revision_file("c1", upgrade=table("one")), revision_file("c2", down="c1"))
BILLING = revision_file("b1", upgrade=table("two"))


def written(directory: Path, database: Database) -> Store:
    """A store with a core and a plugin, up to date."""
    store = Store(directory, database)
    store.core(*CORE)
    store.plugin("billing", BILLING)
    store.upgrade()
    return store


def is_spared(store: Store) -> bool:
    """Whether the next look at *store* believes the last one."""
    with store.manager() as manager, manager.open(store.deployment).glance() as (reading, _):
        return reading is None


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Store]]:
    """Stores whose files have been there for a while, each looked at once."""
    folder = tmp_path_factory.mktemp("pool")
    stores = [
        written(folder / str(number), sqlite(folder / f"{number}.sqlite")) for number in range(40)
    ]
    time.sleep(2.1)
    for store in stores:
        assert not is_spared(store)
    yield iter(stores)
    for store in stores:
        store.site.close()


@pytest.fixture
def store(pool: Iterator[Store]) -> Store:
    store = next(pool)
    assert is_spared(store), "or nothing of what follows shows anything"
    return store


def verdict_of(store: Store) -> Path:
    """The file with the verdict on *store*, found by what is written when all is looked at."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "anabranch"
    before = {path: path.stat().st_ino for path in folder.glob("*.verdict")}
    store.configure("[plugins]\ndisabled = ['other']\n")
    store.plugin("other")
    is_spared(store)
    (found,) = (p for p in folder.glob("*.verdict") if before.get(p) != p.stat().st_ino)
    return found


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mariadb"])
def test_on_every_database_the_two_ways_to_read_it_agree(
    tmp_path: Path, request: pytest.FixtureRequest, backend: str
) -> None:
    database: Database = request.getfixturevalue(f"{backend}_database")
    store = written(tmp_path, database)
    with store.manager() as manager, manager.open(store.deployment).look() as (reading, looking):
        assert looking is not None
        assert read_digest(looking, BookTables()) == reading.state.digest
    time.sleep(2.1)
    assert not is_spared(store)
    assert is_spared(store)
    assert store.upgrade() == []
    store.site.close()


def test_a_start_with_nothing_to_do_does_not_import_what_reads_and_plans(store: Store) -> None:
    program = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
runpy.run_module("store", run_name="__main__")
"""
    cache = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    done = store.site.python("-c", program, "init-db", store.deployment, env=cache).expect(0)
    heavy = {"reading", "graph", "planning", "scripts", "recorder", "objects", "locking", "mysql"}
    assert not {f"anabranch.{name}" for name in heavy} & set(done.err.split())
    assert "up to date" in done.out


# -- changes to what is installed


def edit(store: Store) -> None:
    """Of the same size, with the time set back."""
    (file,) = (path for path in store.versions.iterdir() if "'c2'" in path.read_text())
    before = file.stat()
    file.write_text(file.read_text().replace("a change", "A CHANGE"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def edit_with_the_clock_set_back(store: Store) -> None:
    (file,) = (path for path in store.versions.iterdir() if "'c2'" in path.read_text())
    file.write_text(file.read_text() + "\n# edited\n")
    os.utime(file, (0, 0))


def add_a_revision(store: Store) -> None:
    (store.versions / "later.py").write_text(revision_file("c3", down="c2"))


def remove_a_revision(store: Store) -> None:
    next(path for path in store.versions.iterdir() if "'c2'" in path.read_text()).unlink()


def install_a_plugin(store: Store) -> None:
    store.plugin("search", revision_file("s1"))


def uninstall_a_plugin(store: Store) -> None:
    store.uninstall("billing")


def install_another_version(store: Store) -> None:
    store.plugin("billing", BILLING, version="2.0")


def put_another_plugin_in_the_place_of_one(store: Store) -> None:
    """Of the same name and version, with a file of the same name, size and time in it."""
    (file,) = (f for f in store.versions_of("store_billing").iterdir() if "'b1'" in f.read_text())
    before = file.stat()
    store.uninstall("billing")
    store.plugin("billing", BILLING.replace("b1", "b2"))
    (made,) = (f for f in file.parent.iterdir() if "'b2'" in f.read_text())
    made.rename(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def leave_a_plugin_out(store: Store) -> None:
    store.configure("[plugins]\ndisabled = ['billing']\n")


def name_a_plugin_that_is_not_there(store: Store) -> None:
    store.configure("[plugins]\ndisabled = ['biling']\n")


# -- changes to the database


def restore_a_copy_from_before(store: Store) -> None:
    """As a backup does, the file with its time."""
    store.plugin("billing", BILLING, revision_file("b2", down="b1"))
    path = store.database.path
    assert path is not None
    backup = path.with_suffix(".backup")
    shutil.copy2(path, backup)
    assert store.upgrade() == ["billing@b2"]
    shutil.copy2(backup, path)


def put_an_empty_file_in_its_place(store: Store) -> None:
    assert store.database.path is not None
    store.database.path.write_bytes(b"")


def remove_the_file(store: Store) -> None:
    assert store.database.path is not None
    store.database.path.unlink()


def lead_to_another_database(store: Store) -> None:
    other = sqlite(store.deployment / "other.sqlite")
    store.configure(url=other.url)


def sends(statement: str) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        store.database.execute(statement)

    change.__name__ = statement
    return change


CHANGES: list[Callable[[Store], None]] = [
    edit,
    edit_with_the_clock_set_back,
    add_a_revision,
    remove_a_revision,
    install_a_plugin,
    uninstall_a_plugin,
    install_another_version,
    put_another_plugin_in_the_place_of_one,
    leave_a_plugin_out,
    name_a_plugin_that_is_not_there,
    restore_a_copy_from_before,
    put_an_empty_file_in_its_place,
    remove_the_file,
    lead_to_another_database,
    sends("DELETE FROM anabranch_revision WHERE revision = 'b1'"),
    sends("UPDATE anabranch_revision SET checksum = 'v1:other' WHERE revision = 'c1'"),
    sends("UPDATE anabranch_revision SET depends_on = 'core@c2' WHERE revision = 'b1'"),
    sends("UPDATE anabranch_revision SET projected = 0"),
    sends("DELETE FROM alembic_version"),
    sends("UPDATE alembic_version SET version_num = 'c1' WHERE version_num = 'c2'"),
    sends("DROP TABLE alembic_version"),
    sends("CREATE TABLE _alembic_tmp_one (id INTEGER)"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed(store: Store, change: Callable[[Store], None]) -> None:
    change(store)
    assert not is_spared(store)


def verdict_on(access: Access, cache: HeaderCache) -> Verdict:
    configured = (access.disabled, ())
    return Verdict(cache, access.discovery, configured, access.tables, access.database.title)


def test_what_is_installed_while_it_is_read_is_not_taken_for_what_was(tmp_path: Path) -> None:
    """A release is a folder that a link leads to; for a moment it leads to the one before."""
    store = Store(tmp_path, sqlite(tmp_path / "database.sqlite"))
    store.core(*CORE)
    store.upgrade()
    versions = store.versions
    old, new = versions.with_name("old"), versions.with_name("new")
    versions.rename(old)
    shutil.copytree(old, new)
    (new / "later.py").write_text(revision_file("c3", down="c2"))
    versions.symlink_to(new)
    time.sleep(2.1)

    def lead_to(folder: Path) -> None:
        (link := versions.with_name("link")).symlink_to(folder)
        link.rename(versions)

    with store.manager() as manager:
        access = manager.open(store.deployment)
        with access.glance() as (reading, _):
            assert reading is not None
            assert reading.plan(), "or nothing could be hidden"
        access = manager.open(store.deployment)
        cache = HeaderCache.beside(store.deployment)
        verdict = verdict_on(access, cache)
        lead_to(old)
        assert not access.read().plan()
        read_installation(access.discovery, cache=cache)
        lead_to(new)
        verdict.keep(access.read().state.digest)
        with access.reach() as connection:
            assert connection is not None
            assert not verdict_on(access, cache).holds(connection)
    store.site.close()


def test_a_connection_that_leads_to_other_tables_is_looked_at(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """One schema is up to date, the other is that of a tenant who has next to nothing."""
    store = written(tmp_path, postgresql_database)
    time.sleep(2.1)
    assert not is_spared(store)
    postgresql_database.execute(
        "CREATE SCHEMA tenant",
        "CREATE TABLE tenant.alembic_version AS SELECT * FROM alembic_version LIMIT 0",
        "CREATE TABLE tenant.anabranch_revision AS SELECT * FROM anabranch_revision LIMIT 0",
    )
    with store.manager() as manager, postgresql_database.engine() as engine:
        with engine.connect() as connection:
            manager.check_current(connection)
            with manager.open(connection).glance() as (reading, _):
                assert reading is None
        with engine.connect() as connection:
            connection = connection.execution_options(schema_translate_map={None: "tenant"})
            with pytest.raises(PendingError):
                manager.check_current(connection)
    store.site.close()


def test_deployments_that_share_a_cache_have_verdicts_of_their_own(store: Store) -> None:
    """Of the same packages: one is up to date, one was never run, one is half-way."""
    for number, target in enumerate((None, "core@c1")):
        other = store.deployment.with_name(f"other-{number}")
        other.mkdir()
        (other / "config.toml").touch()
        with store.manager() as manager:
            if target is not None:
                manager.upgrade(other, target)
            for _ in range(2):
                with pytest.raises(PendingError):
                    manager.check_current(other)
                assert is_spared(store)


def test_whatever_happens_what_is_spared_would_have_found_nothing(
    pool: Iterator[Store],
) -> None:
    """Rounds of changes by chance, and of looks when their files have settled."""
    chance = random.Random(5)
    stores = [next(pool) for _ in range(8)]
    spared = 0
    for number in range(5):
        for store in stores:
            for change in chance.sample(CHANGES, chance.randrange(3)):
                with suppress(Exception):  # what is gone already cannot be changed again
                    change(store)
        time.sleep(2.1)
        for store, again in itertools.product(stores, (False, True)):
            if number % 2 and not again:
                with suppress(AnabranchError):
                    store.upgrade()
            with store.manager() as manager:
                access = manager.open(store.deployment)
                with access.glance() as (reading, looking):
                    if reading is not None:
                        continue
                    spared += 1
                    found = access.read_from(looking)
                assert not (found.plan() or found.problems or found.stale)
    assert spared > 10, "or this shows nothing"


def test_another_target_is_looked_for(store: Store) -> None:
    """What is up to date says nothing of a revision that does not exist."""
    with pytest.raises(Exception, match="no revision 'c9'"):
        store.upgrade("core@c9")


def test_what_is_pending_or_wrong_is_never_remembered(store: Store) -> None:
    store.database.execute("UPDATE anabranch_revision SET checksum = 'v1:0' WHERE revision = 'c1'")
    for _ in range(2):
        assert not is_spared(store), "a warning is said each time"
    remove_a_revision(store)
    for _ in range(2):
        with store.manager() as manager, pytest.raises(IntegrityError):
            manager.check_current(store.deployment)
    store.database.execute("DELETE FROM anabranch_revision WHERE revision IN ('c2', 'b1')")
    store.database.execute("DELETE FROM alembic_version WHERE version_num <> 'c1'")
    store.database.execute("UPDATE anabranch_revision SET checksum = '', projected = 1")
    for _ in range(2):
        with store.manager() as manager, pytest.raises(PendingError):
            manager.check_current(store.deployment)


def test_a_computed_header_is_read_each_time(tmp_path: Path, sqlite_database: Database) -> None:
    """What it says may depend on what else is installed."""
    store = Store(tmp_path, sqlite_database)
    text = "revision = 'c' + '1'\ndown_revision = None\n\n\ndef upgrade():\n    pass\n"
    store.core(named={"c1.py": text})
    store.upgrade()
    time.sleep(2.1)
    for _ in range(3):
        assert not is_spared(store)
    store.site.close()


def test_a_damaged_verdict_is_none(store: Store) -> None:
    file = verdict_of(store)
    time.sleep(2.1)
    is_spared(store)
    text = file.read_text()
    for damaged in ("", text[:-1], text[:64], text + " ", text.upper(), "\0" * 200):
        file.write_text(damaged)
        assert not is_spared(store)
        assert is_spared(store), "and it is written anew"
    file.write_bytes(b"\xff" * 129)
    assert not is_spared(store)
    file.chmod(0o666)
    assert not is_spared(store), "others may have written it"
    file.unlink()
    assert not is_spared(store)


def test_another_version_of_python_or_of_ours_looks_itself(store: Store) -> None:
    program = """
import sys
import anabranch.cache, anabranch.verdict
if sys.argv[2] == "python":
    sys.version = "3.99.0"
elif sys.argv[2] == "ours":
    anabranch.verdict.__file__ = sys.argv[3]
from anabranch import MigrationManager
manager = MigrationManager("store", metadata="store.models:Base", migrations="store.migrations")
with manager.open(sys.argv[1]).glance() as (reading, _):
    print("spared" if reading is None else "looked")
"""
    cache = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    said = [
        store.site.python("-c", program, store.deployment, which, __file__, env=cache)
        .expect(0)
        .out.strip()
        for which in ("same", "python", "ours")
    ]
    assert said == ["spared", "looked", "looked"]


def test_processes_that_look_at_once_agree(store: Store) -> None:
    """Each also throws the verdicts away now and then."""
    program = """
import sys
from pathlib import Path
from anabranch import MigrationManager
manager = MigrationManager("store", metadata="store.models:Base", migrations="store.migrations")
for number in range(60):
    manager.check_current(sys.argv[1])
    if number % 5 == 0:
        for file in Path(sys.argv[2]).glob("anabranch/*.verdict"):
            file.unlink(missing_ok=True)
"""
    cache = store.deployment.parent / "own-cache"
    path = os.pathsep.join(map(str, store.site.paths))
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": path}
    command = [sys.executable, "-c", program, str(store.deployment), str(cache)]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) for _ in range(3)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
