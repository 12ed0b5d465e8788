"""The support code does what it says: otherwise no test above it proves anything."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from support.databases import BOOKKEEPING, Database
from support.distributions import Distribution
from support.sites import SOURCE_ROOTS, Site
from support.trees import host, plugin, revision_file

CREATE = """
    op.create_table(
        "invoice",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.String(20), nullable=False, unique=True),
    )
    op.create_index("ix_invoice_number", "invoice", ["number"])
"""
BILLING = [
    revision_file("b1", labels="billing", message="Invoices", upgrade=CREATE),
    revision_file("b2", down="b1", depends=["c1"], upgrade="op.drop_table('invoice')"),
]
MAIN = {
    "shop/__init__.py": "",
    "shop/__main__.py": (
        "import os, sys; print(os.getcwd(), *sys.argv[1:]); print(sys.stdin.read(), "
        "file=sys.stderr); sys.exit(3)"
    ),
}


def _files(directory: Path) -> dict[str, bytes]:
    installer = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in installer
    }


def test_wheel_is_what_pip_installs(tmp_path: Path) -> None:
    """pip accepts the wheel, and unpacks the same files that install() writes."""
    billing = plugin("billing", revisions=BILLING, version="1.2")
    wheel = billing.wheel(tmp_path / "dist")
    assert wheel.name == "shop_billing-1.2-py3-none-any.whl"
    assert wheel.read_bytes() == billing.wheel(tmp_path / "again").read_bytes()
    command = ["-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--target"]
    subprocess.run(
        [sys.executable, *command, tmp_path / "pip", wheel], check=True, capture_output=True
    )
    billing.install(tmp_path / "ours")
    assert _files(tmp_path / "pip") == _files(tmp_path / "ours")


def test_installed_distribution_is_real(site: Site) -> None:
    """importlib.metadata finds version, requirements, files and entry points; RECORD is right."""
    made = Distribution(
        "Shop.Billing",
        version="2.0",
        files={"shop_billing/__init__.py": "x = 'ä'\n"},
        entry_points={"shop.models": {"billing": "shop_billing"}, "shop": {"b": "shop_billing"}},
        requires=["click>=8"],
    )
    site.install(made)
    with site.on_path():
        found = metadata.distribution("shop-billing")
        assert (found.version, found.requires) == ("2.0", ["click>=8"])
        (entry_point,) = metadata.entry_points(group="shop.models")
        assert entry_point.dist is not None and entry_point.dist.name == "Shop.Billing"
        assert entry_point.load().x == "ä"
        assert all(Path(str(file.locate())).exists() for file in found.files or ())


def test_another_version_replaces_and_uninstall_leaves_nothing(site: Site) -> None:
    """A new version takes the place of the old one in the same tick of the clock."""
    for version in ("1", "2"):
        package = {"shop_x/__init__.py": f"version = {version}", f"shop_x/only{version}.py": ""}
        site.install(Distribution("shop-x", version=version, files=package))
        with site.on_path():
            assert metadata.version("shop-x") == version
            assert importlib.import_module("shop_x").version == int(version)
    assert not (site.path / "shop_x/only1.py").exists()
    site.uninstall("Shop_X")
    assert list(site.path.iterdir()) == []
    with pytest.raises(LookupError, match="shop-x is not installed"):
        site.uninstall("shop-x")


def test_neighbours_survive_an_uninstall(site: Site) -> None:
    """Two distributions may share a package directory; each takes only its own files away."""
    site.install(Distribution("a", files={"shared/a.py": ""}))
    site.install(Distribution("a-b", files={"shared/b.py": ""}))
    site.uninstall("a")
    assert [path.name for path in (site.path / "shared").iterdir()] == ["b.py"]


def test_editable_install_is_read_from_its_source(site: Site) -> None:
    """An editable distribution says so, imports from its source, and leaves it when it goes."""
    source = site.develop(plugin("billing", models=None))
    code = "import shop_billing; print(shop_billing.__file__)"
    assert site.python("-c", code).expect().out.strip() == str(source / "shop_billing/__init__.py")
    with site.on_path():
        importlib.import_module("shop_billing.migrations")
        direct_url = metadata.distribution("shop-billing").read_text("direct_url.json")
        assert direct_url is not None and '"editable": true' in direct_url
    assert "shop_billing.migrations" not in sys.modules
    site.uninstall("shop-billing")
    assert list(site.path.iterdir()) == []
    assert (source / "shop_billing/__init__.py").exists()


def test_on_path_leaves_no_trace(site: Site) -> None:
    """Afterwards neither path, modules nor metadata of the site are left in this process."""
    site.install(Distribution("x", files={"x_package/sub/module.py": ""}))
    before = list(sys.path)
    with pytest.raises(KeyError), site.on_path():
        importlib.import_module("x_package.sub.module")  # namespace packages, too
        raise KeyError
    assert sys.path == before
    assert not [name for name in sys.modules if name.startswith("x_package")]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("x_package")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("x")


def test_environment_is_scrubbed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's variables do not reach the application; those a test gives do."""
    monkeypatch.setenv("SHOP_SQLALCHEMY_DATABASE_URL", "sqlite:///elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = site.environment(SHOP_COLOUR="red")
    assert [name for name in environment if name.startswith("SHOP_")] == ["SHOP_COLOUR"]
    paths = environment["PYTHONPATH"].split(os.pathsep)
    assert paths[0] == str(site.path)
    assert paths[1:] in ([], [str(root) for root in SOURCE_ROOTS])


def test_run_is_a_process(site: Site, tmp_path: Path) -> None:
    """Arguments, directory and input go in; exit code and both outputs come out."""
    site.install(Distribution("shop", files=MAIN))
    result = site.run("init-db", tmp_path, cwd=tmp_path, stdin="yes")
    assert result.expect(3).out == f"{tmp_path} init-db {tmp_path}\n"
    assert result.err == "yes\n"
    with pytest.raises(AssertionError, match="exit code 3, not 0"):
        result.expect()


def test_started_process_ends_with_the_site(site: Site) -> None:
    """A test that fails between start and communicate leaves no process behind."""
    main = {"shop/__main__.py": "import time; print('up', flush=True); time.sleep(600)"}
    site.install(Distribution("shop", files=main))
    process = site.start("init-db")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    site.close()
    assert process.returncode is not None and process.stdout.closed


@pytest.mark.parametrize("annotated", [False, True])
def test_revision_files_are_alembics(site: Site, database: Database, annotated: bool) -> None:
    """Stock Alembic reads the trees and runs them."""
    core = [revision_file("c1", labels=("core", "shop"), annotated=annotated)]
    site.install(host(revisions=core), plugin("billing", revisions=BILLING[:1]))
    locations = [f"{package}/migrations/versions" for package in ("shop", "shop_billing")]
    script = ScriptDirectory(
        str(site.path), version_locations=[str(site.path / location) for location in locations]
    )
    revisions = {each.revision: each for each in script.walk_revisions()}
    assert revisions["c1"].branch_labels == {"core", "shop"}
    assert revisions["b1"].doc == "Invoices"
    assert Path(revisions["b1"].path).name == "b1_invoices.py"

    def upgrade(current: object, context: MigrationContext) -> object:
        return script._upgrade_revs("heads", current)  # type: ignore[arg-type]

    with (
        database.engine() as engine,
        engine.connect() as connection,
        EnvironmentContext(Config(), script, fn=upgrade) as environment,
    ):
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
        connection.commit()
    assert list(database.schema(ignore=BOOKKEEPING)) == ["invoice"]
    assert [row["version_num"] for row in database.rows("alembic_version")] == ["b1", "c1"]


def test_models_of_plugins_join_the_hosts_metadata(site: Site) -> None:
    """The generated modules import, and share one Base."""
    model = """
    class {name}(Base):
        __tablename__ = "{table}"
        id: Mapped[int] = mapped_column(primary_key=True)
    """
    site.install(
        host(models=model.format(name="User", table="user")),
        plugin("billing", models=model.format(name="Invoice", table="invoice"), hooks="x = 1"),
    )
    with site.on_path():
        for group in ("shop", "shop.models", "shop.migrations"):
            (entry_point,) = metadata.entry_points(group=group)
            assert entry_point.name == "billing" and entry_point.load()
        tables = importlib.import_module("shop.models").Base.metadata.tables
        assert sorted(tables) == ["invoice", "user"]


@pytest.mark.skipif(
    not (SOURCE_ROOTS[0] / "anabranch" / "manager.py").exists(), reason="no manager written yet"
)
def test_hosts_command_line_runs(site: Site) -> None:
    """`python -m shop` is the application's command."""
    site.install(host())
    assert "Usage: shop" in site.run("--help").expect().out


def test_bad_trees_are_refused() -> None:
    """A builder that guessed would test something else than the author meant."""
    with pytest.raises(ValueError, match="name the file, with a mapping"):
        host(revisions=["revision = compute()"])
    with pytest.raises(ValueError, match="two revisions give one file name"):
        host(revisions=[revision_file("a"), revision_file("a")])
    with pytest.raises(ValueError, match="migrations=True"):
        plugin("x", migrations=False, revisions=[revision_file("a")])
    declared = plugin("x", migrations="declared", models=None)
    assert declared.entry_points == {"shop.migrations": {"x": "shop_x.migrations"}}
    assert list(declared.files) == ["shop_x/__init__.py"]
    verbatim = host(revisions={"odd name.py": "revision = compute()"})
    assert verbatim.files["shop/migrations/versions/odd name.py"] == "revision = compute()"


def _tables(*, changed: bool = False) -> sa.MetaData:
    tables = sa.MetaData()
    sa.Table("a", tables, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "b",
        tables,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("a_id", sa.ForeignKey("a.id", name="fk_b_a", ondelete="CASCADE")),
        sa.Column("state", sa.Enum("new", "paid", name="state"), server_default="new"),
        sa.Column("code", sa.String(7 if changed else 8), unique=True),
        sa.CheckConstraint("id > 0", name="ck_b_positive"),
        sa.Index("ix_b_state", "state"),
    )
    return tables


def test_schema_is_comparable(every_database: Database) -> None:
    """The same tables give equal schemas whoever made them; one length differs, so do they."""
    database = every_database
    assert database.schema() == {}
    seen = []
    for changed in (False, False, True):
        with database.engine() as engine:
            _tables(changed=changed).create_all(engine)
            seen.append(database.schema(ignore=["a"]))
            _tables().drop_all(engine)
    assert seen[0] == seen[1] != seen[2]
    b = seen[0]["b"]
    assert [column["name"] for column in b["columns"]] == ["a_id", "code", "id", "state"]
    assert b["foreign_keys"][0]["options"]["ondelete"] == "CASCADE"
    assert all(b[part] for part in ("primary_key", "uniques", "indexes", "checks"))
    assert database.schema() == {}


def test_rows_and_dump(every_database: Database) -> None:
    """A dump changes with any row, and is the same for the same content."""
    database = every_database
    dumps = [database.dump()]
    assert dumps == [""]
    statements = [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text VARCHAR(9))",
        "CREATE VIEW v AS SELECT id FROM t",
        "INSERT INTO t VALUES (2, '100%'), (1, ':b')",
    ]
    database.execute(*statements)
    assert database.rows("t") == [{"id": 1, "text": ":b"}, {"id": 2, "text": "100%"}]
    assert database.execute("SELECT count(*) AS n FROM v") == [{"n": 2}]
    dumps.append(database.dump())
    assert dumps[1] == database.dump() and "100%" in dumps[1]
    database.execute("UPDATE t SET text = 'c' WHERE id = 1")
    assert database.dump() not in dumps


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_has_a_fresh_database(every_database: Database, attempt: int) -> None:
    """No test sees what another one wrote."""
    database = every_database
    database.execute(f"CREATE TABLE t{attempt} (id INTEGER)")
    assert list(database.schema()) == [f"t{attempt}"]


def test_databases_are_reached_from_other_processes(database: Database, site: Site) -> None:
    """The URL alone is enough: nothing depends on this process."""
    database.execute("CREATE TABLE t (id INTEGER)")
    code = "import sqlalchemy as sa, sys; e = sa.create_engine(sys.argv[1]);"
    code += "print(sa.inspect(e).get_table_names()); e.dispose()"
    assert site.python("-W", "error", "-c", code, database.url).expect().out == "['t']\n"
