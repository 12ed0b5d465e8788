"""A site's life as an operator leads it: pip installs and uninstalls, and the commands follow."""

from __future__ import annotations

import json
from pathlib import Path

from support.databases import BOOKKEEPING, Database, sqlite
from support.environments import Environment
from support.store import NAME, table
from support.trees import host, plugin, revision_file

CORE = [
    revision_file("c1", created="2024-01-01", upgrade=table("customer")),
    revision_file("c2", down="c1", created="2024-02-01", upgrade=table("product")),
]
NEW_CORE = [*CORE, revision_file("c3", down="c2", created="2024-05-01", upgrade=table("shelf"))]
BILLING = [revision_file("b1", depends="c2", created="2024-03-01", upgrade=table("invoice"))]
NEW_BILLING = [
    *BILLING,
    revision_file(
        "b2",
        down="b1",
        created="2024-06-01",
        upgrade="op.add_column('customer', sa.Column('debt', sa.Integer))",
    ),
]

RUN = """
import sys
from store.cli import cli

for deployment in sys.argv[2:]:
    try:
        cli.main(sys.argv[1].format(deployment).split(), standalone_mode=False)
    except SystemExit as end:
        assert not end.code, end.code
"""


def test_plugins_come_and_go_by_pip(
    tmp_path: Path, postgresql_database: Database, mariadb_database: Database
) -> None:
    """Installed, uninstalled, back and newer, and purged, on all kinds of databases."""
    environment = Environment(tmp_path / "venv")
    wheels = tmp_path / "wheels"
    sites: list[tuple[Path, Database]] = []
    for database in (sqlite(tmp_path / "store.sqlite"), postgresql_database, mariadb_database):
        deployment = tmp_path / database.backend
        deployment.mkdir()
        sites.append((deployment, database))
        (deployment / "config.toml").write_text(
            f"[sqlalchemy]\ndatabase_url = {json.dumps(database.url)}\n"
        )

    def everywhere(command: str, said: str) -> None:
        deployments = [deployment for deployment, _ in sites]
        done = environment.run("python", "-c", RUN, command, *deployments, cwd=tmp_path).expect()
        assert done.out.count(said) == len(sites)

    def core(version: str, *revisions: str) -> None:
        environment.install(host(NAME, revisions=revisions, version=version).wheel(wheels))

    def billing(version: str, *revisions: str) -> None:
        wheel = plugin("billing", host=NAME, revisions=revisions, version=version)
        environment.install(wheel.wheel(wheels))

    core("1.0", *CORE)
    everywhere("init-db {}", "2 revisions applied")
    before = [database.schema(ignore=BOOKKEEPING) for _, database in sites]
    billing("1.0", *BILLING)
    everywhere("init-db {}", "1 revision applied")
    environment.uninstall("store-billing")
    everywhere("db status {}", "orphaned")
    core("2.0", *NEW_CORE)
    everywhere("init-db {}", "1 revision applied")
    billing("2.0", *NEW_BILLING)
    everywhere("init-db {}", "1 revision applied")
    for _, database in sites:
        assert {"customer", "product", "shelf", "invoice"} <= set(database.schema())
        columns = database.schema()["customer"]["columns"]
        assert [column["name"] for column in columns] == ["debt", "id"]
    environment.uninstall("store-billing")
    everywhere("db purge {} billing --yes", "Done: billing purged.")
    for (_, database), was in zip(sites, before, strict=True):
        now = database.schema(ignore=BOOKKEEPING)
        assert now.pop("shelf")
        assert now == was
