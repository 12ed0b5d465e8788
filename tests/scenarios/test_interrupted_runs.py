"""A run that a signal stops ends at once, rolls back, says so, and can be run again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
    "mariadb": "SELECT sleep(600)",
}


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    store = Store(tmp_path, every_database)
    yield store
    store.site.close()


def backends(database: Database) -> int:
    """How many sessions of a server are still busy with the endless statement."""
    if database.backend == "sqlite":
        return 0
    if database.backend == "mariadb":
        busy = "SELECT 1 FROM information_schema.processlist WHERE info LIKE '%sleep(600)'"
        return len(database.execute(busy))
    return len(database.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)'"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_statement_and_rolls_back(
    store: Store, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    store.core(
        revision_file("c1", created="2024-01-01", upgrade=table("customer")),
        revision_file(
            "c2",
            down="c1",
            created="2024-01-02",
            upgrade=f"{table('product')}\nopen({str(reached)!r}, 'w').close()\n"
            f"op.execute({ENDLESS[store.database.backend]!r})",
        ),
    )
    process = store.site.start("init-db", store.deployment)
    while not reached.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == code, err
    assert took < 5, "the statement was waited for"
    assert "Interrupted: core@c2 was interrupted." in err
    assert "Traceback" not in err
    if store.database.backend == "sqlite":
        assert (
            "State: Rolled back: core@c2, and with it 1 revision that had run in the same "
            "transaction. Nothing else was changed." in err
        )
        assert store.schema == {}
    elif store.database.backend == "mariadb":
        assert "State: core@c2 stopped after its statement 1 (CREATE TABLE product" in err
        assert "1 revision before it stays applied, the last is core@c1." in err
        assert list(store.schema) == ["customer", "product"]
    else:
        assert "core@c2 was rolled back. 1 revision before it stays applied" in err
        assert list(store.schema) == ["customer"]
    assert backends(store.database) == 0
    if store.database.backend == "postgresql":
        assert store.journal[-2:] == ["applied core@c1", "interrupted core@c2"]
    script = next(store.versions.glob("c2*"))
    script.write_text(script.read_text().replace("op.execute(", "str("), encoding="utf-8")
    assert store.init_db().code == 0
    assert list(store.schema) == ["customer", "product"]
