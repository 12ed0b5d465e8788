"""A real node of a Galera cluster: what it does not do is told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mariadb
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


@pytest.fixture
def node() -> Iterator[Database]:
    if mariadb.missing() or not PROVIDER.exists():
        pytest.skip("no MariaDB server with Galera")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    options = f"gmcast.listen_addr=tcp://{address}"
    with mariadb.running_server(
        "--wsrep-on=ON",
        f"--wsrep-provider={PROVIDER}",
        "--wsrep-cluster-address=gcomm://",
        f"--wsrep-node-address={address}",
        f"--wsrep-provider-options={options}",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
    ) as server:
        yield server.create()


def test_a_node_of_a_cluster_is_warned_of(tmp_path: Path, node: Database) -> None:
    """Nothing waits there for a migrator on another node."""
    store = Store(tmp_path, node)
    store.core(revision_file("c1", upgrade=table("one")))
    done = store.init_db().expect()
    assert "Warning AB126: The server is a node of a Galera cluster" in done.out + done.err
    assert "which sees 1 node." in done.out + done.err
    assert store.applied == {"core@c1"}
    assert "AB126" not in store.init_db().expect().err


def test_another_server_is_not(tmp_path: Path, mariadb_database: Database) -> None:
    store = Store(tmp_path, mariadb_database)
    store.core(revision_file("c1", upgrade=table("one")))
    done = store.init_db().expect()
    assert "AB126" not in done.out + done.err
