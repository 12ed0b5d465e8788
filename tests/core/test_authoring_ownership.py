"""Whose is what: every table, column and index goes into one owner's revision, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.databases import Database
from support.distributions import Distribution
from support.trees import revision_file
from support.workbench import CORE_MODELS, Workbench, market, plugin, table

LINK = """
link = sa.Table(
    "stall_customer",
    Base.metadata,
    sa.Column("stall_id", sa.ForeignKey("stall.id"), primary_key=True),
    sa.Column("customer_id", sa.ForeignKey("customer.id"), primary_key=True),
)
"""
POINTS = """
from market.models import Customer

Customer.__table__.append_column(sa.Column("points", sa.Integer))
sa.Index("ix_customer_points", Customer.__table__.c.points)
"""


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def assert_no_change(workbench: Workbench, *names: str) -> None:
    """Nobody but whom the test is about sees anything to write."""
    for name in names:
        for where in ((), (workbench.deployment,)):
            assert "No change" in workbench.make(name, *where).out


def columns(workbench: Workbench, name: str) -> set[str]:
    return {column["name"] for column in workbench.schema()[name]["columns"]}


def test_mapped_class_belongs_to_the_module_it_is_written_in(workbench: Workbench) -> None:
    """A's models import B's: B's tables stay B's, whoever is imported first."""
    workbench.develop(
        market(),
        plugin("a", models="import market_b.db_models" + table("stall")),
        plugin("b", models=table("booth")),
    )
    assert workbench.write("a", "--initialize").touches == {"stall"}
    assert workbench.write("b", "--initialize").touches == {"booth"}
    workbench.init_db()
    assert_no_change(workbench, "", "a", "b")


def test_association_table_is_written_once_with_all_its_dependencies(workbench: Workbench) -> None:
    """A plain Table has no class; its creator has it, and it needs whom its keys lead to."""
    workbench.develop(market(), plugin("b", models=table("stall")))
    stall = workbench.write("b", "--initialize")
    workbench.develop(plugin("a", models="import market_b.db_models\n" + LINK))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"stall_customer"}
    # B's base needs the core's, which is where customers come from.
    assert written.depends_on == stall.id
    workbench.init_db()
    keys = workbench.schema()["stall_customer"]["foreign_keys"]
    assert {key["referred_table"] for key in keys} == {"stall", "customer"}
    assert_no_change(workbench, "", "a", "b")


def test_table_says_itself_whose_it_is(workbench: Workbench) -> None:
    """``info`` wins over class and creator: A's code makes a table that is B's."""
    booth = table("booth", '__table_args__ = {"info": {"owner": "B"}}')
    workbench.develop(
        market(),
        plugin("a", models=table("stall") + booth),
        plugin("b", models="import market_a.db_models"),
    )
    assert workbench.write("b", "--initialize").touches == {"booth"}
    assert workbench.write("a", "--initialize").touches == {"stall"}
    workbench.init_db()
    assert_no_change(workbench, "", "a", "b")


def test_column_says_itself_whose_it_is(workbench: Workbench) -> None:
    """The core's class names columns that a plugin's revisions take care of, keys and all."""
    info = 'info={"owner": "a"}'
    points = (
        f"    points: Mapped[int | None] = mapped_column(index=True, unique=True, {info})\n"
        f"    giver: Mapped[int | None] = mapped_column(sa.ForeignKey('customer.id'), {info})\n"
    )
    workbench.develop(market(CORE_MODELS + points), plugin("a", models=table("stall")))
    assert "No change" in workbench.make("").out
    written = workbench.write("a", "--initialize")
    assert written.touches == {"stall", "product"}
    workbench.init_db()
    assert columns(workbench, "product") == {"id", "sku", "points", "giver"}
    (key,) = workbench.schema()["product"]["foreign_keys"]
    assert key["constrained_columns"] == ["giver"]
    assert_no_change(workbench, "", "a")


def test_unknown_owner_in_info_is_an_error_of_that_table(workbench: Workbench) -> None:
    models = table("stall", '__table_args__ = {"info": {"owner": "nobody"}}')
    workbench.develop(market(), plugin("a", models=models))
    result = workbench.make("a", "--initialize", code=4)
    assert "says that its owner is 'nobody', which is not installed." in result.err
    assert "Installed owners: a, core." in result.err


def test_column_and_index_on_a_core_table_are_the_plugins(workbench: Workbench) -> None:
    """The core does not see them: not while the plugin is there, and not when it is gone."""
    workbench.develop(market(), plugin("a", models=POINTS))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"customer"}
    assert "add_column(sa.Column('points'" in written.upgrade
    assert "ix_customer_points" in written.upgrade
    assert written.depends_on == "c1"
    workbench.init_db()
    assert_no_change(workbench, "", "a")
    workbench.site.uninstall("market-a")
    assert_no_change(workbench, "")
    assert "points" in columns(workbench, "customer")


def test_constraint_on_core_columns_is_the_plugins(workbench: Workbench) -> None:
    """The columns are the core's, the rules about them are the plugin's that made them."""
    models = """
from market.models import Product

sa.UniqueConstraint(Product.__table__.c.id, Product.__table__.c.sku, name="uq_by_a")
sa.Index("ix_by_a", Product.__table__.c.sku, Product.__table__.c.id)
Product.__table__.append_constraint(
    sa.ForeignKeyConstraint(["id"], ["customer.id"], name="fk_by_a")
)
"""
    workbench.develop(market(), plugin("a", models=models))
    assert "No change" in workbench.make("").out
    written = workbench.write("a", "--initialize")
    assert written.touches == {"product"}
    assert written.depends_on == "c3"
    workbench.init_db()
    product = workbench.schema()["product"]
    assert "uq_by_a" in {each["name"] for each in product["uniques"]}
    assert [each["name"] for each in product["foreign_keys"]] == ["fk_by_a"]
    assert_no_change(workbench, "", "a")
    workbench.site.uninstall("market-a")
    assert "No change" in workbench.make("", workbench.deployment).out


def test_constraint_on_core_columns_is_dropped_by_whom_it_belongs_to(workbench: Workbench) -> None:
    models = """
from market.models import Product

sa.UniqueConstraint(Product.__table__.c.id, Product.__table__.c.sku, name="uq_by_a")
"""
    workbench.develop(market(), plugin("a", models=models))
    workbench.write("a", "--initialize")
    workbench.init_db()
    workbench.develop(plugin("a", models=""))
    assert_no_change(workbench, "")
    written = workbench.write("a", workbench.deployment)
    assert "drop_constraint" in written.upgrade
    assert "uq_by_a" in written.upgrade


def test_column_on_a_core_table_is_dropped_by_whom_it_belongs_to(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=POINTS))
    workbench.write("a", "--initialize")
    workbench.init_db()
    workbench.develop(plugin("a", models=table("stall")))
    assert_no_change(workbench, "")
    written = workbench.write("a", workbench.deployment)
    assert written.touches == {"stall", "customer"}
    assert "drop_column('points')" in written.upgrade
    workbench.init_db()
    assert columns(workbench, "customer") == {"id", "name"}
    assert {index["name"] for index in workbench.schema()["customer"]["indexes"]} == set()


def test_core_creates_its_table_without_the_plugins_column(workbench: Workbench) -> None:
    """Both are new: the column comes with the plugin's revision, once the table is there."""
    workbench.develop(market(revisions=[]), plugin("a", models=POINTS))
    result = workbench.make("a", "--initialize", code=3)
    assert "a adds to the table 'customer' of core, which this database does not" in result.err
    core = workbench.write("", "--initialize")
    assert "points" not in core.upgrade
    written = workbench.write("a", "--initialize")
    assert written.depends_on == core.id
    workbench.init_db()
    assert columns(workbench, "customer") == {"id", "name", "points"}
    assert_no_change(workbench, "", "a")


MIXIN = """

class Stamped:
    made: Mapped[str | None] = mapped_column(sa.String(20))

    @sa.orm.declared_attr
    def maker_id(cls) -> Mapped[int | None]:
        return mapped_column(sa.ForeignKey("customer.id"), index=True)


def numbered(cls):
    cls.__table__.append_column(sa.Column("number", sa.Integer, index=True))
    sa.UniqueConstraint(cls.__table__.c.number, name="uq_number")
    return cls


def pairs(left, right):
    return sa.Table(
        f"{left}_{right}",
        Base.metadata,
        sa.Column(f"{left}_id", sa.ForeignKey(f"{left}.id"), primary_key=True),
        sa.Column(f"{right}_id", sa.ForeignKey(f"{right}.id"), primary_key=True),
    )
"""


def test_columns_that_core_helpers_add_to_a_plugins_class_are_the_plugins(
    workbench: Workbench,
) -> None:
    """A mixin, a decorator: the core's code makes the columns, the plugin's table has them."""
    models = (
        "from market.models import Stamped, numbered\n\n\n@numbered\nclass Stall(Stamped, Base):\n"
        '    __tablename__ = "stall"\n    id: Mapped[int] = mapped_column(primary_key=True)\n'
    )
    workbench.develop(market(CORE_MODELS + MIXIN), plugin("a", models=models))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"stall"}
    workbench.init_db()
    assert columns(workbench, "stall") == {"id", "made", "maker_id", "number"}
    assert {index["name"] for index in workbench.schema()["stall"]["indexes"]} >= {
        "ix_stall_number",
        "ix_stall_maker_id",
    }
    assert_no_change(workbench, "", "a")


def test_table_that_a_core_helper_makes_for_a_plugin_is_the_plugins(workbench: Workbench) -> None:
    """The helper is the core's code, but the module that is being imported is the plugin's."""
    models = "from market.models import pairs\n\nlink = pairs('customer', 'product')\n"
    workbench.develop(market(CORE_MODELS + MIXIN), plugin("a", models=models))
    assert "No change" in workbench.make("").out
    assert workbench.write("a", "--initialize").touches == {"customer_product"}
    workbench.init_db()
    assert_no_change(workbench, "", "a")


OWN_METADATA = """
from market.models import Customer

class Own(sa.orm.DeclarativeBase):
    metadata = sa.MetaData(naming_convention={{"fk": "own_%(table_name)s_%(column_0_name)s"}})

class Stall(Own):
    __tablename__ = "stall"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey({target}))
"""


def test_plugin_with_a_metadata_of_its_own_refers_to_column_objects(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=OWN_METADATA.format(target="Customer.id")))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"stall"}
    assert written.depends_on == "c1"
    assert "name=op.f('own_stall_customer_id')" in written.upgrade
    workbench.init_db()
    assert workbench.schema()["stall"]["foreign_keys"][0]["referred_table"] == "customer"
    assert_no_change(workbench, "", "a")


def test_string_reference_between_metadatas_gets_an_error_that_helps(workbench: Workbench) -> None:
    """And it is that plugin's error alone: the core and others go on."""
    workbench.develop(
        market(),
        plugin("a", models=OWN_METADATA.format(target="'customer.id'")),
        plugin("b", models=table("booth")),
    )
    result = workbench.make("a", "--initialize", code=4)
    assert "A foreign key of a leads to a table its MetaData does not have" in result.err
    assert "Define the models on the host's declarative base" in result.err
    assert "ForeignKey(User.id) instead of a string" in result.err
    assert not (workbench.source("a") / "migrations").exists()
    assert "No change" in workbench.make("").out
    assert workbench.write("b", "--initialize").touches == {"booth"}


def test_two_plugins_in_one_distribution_do_not_mix(workbench: Workbench) -> None:
    """They share the package; each has a subpackage, or only a module, of its own."""
    base = "import sqlalchemy as sa\nfrom sqlalchemy.orm import Mapped, mapped_column\n"
    base += "from market.models import Base\n"
    workbench.develop(
        market(),
        Distribution(
            "market-both",
            files={
                "both/__init__.py": "",
                "both/one.py": base + table("one_thing"),
                "both/one_migrations/__init__.py": "",
                "both/two/__init__.py": "",
                "both/two/tables.py": base + "import both.one" + table("two_thing"),
            },
            entry_points={
                "market.models": {"one": "both.one", "two": "both.two.tables"},
                "market.migrations": {"one": "both.one_migrations", "two": "both.two.changes"},
            },
        ),
    )
    sources = workbench.site.path.parent / "sources" / "market-both" / "both"
    for name, folder in (("one", "one_migrations"), ("two", "two/changes")):
        workbench.make(name, "--initialize")
        files = [path.read_text() for path in (sources / folder / "versions").glob("*_*.py")]
        text = "".join(text for text in files if text)
        assert text.count("op.create_table(") == 1
        assert f"op.create_table('{name}_thing'" in text
    workbench.init_db()
    assert {"one_thing", "two_thing"} <= set(workbench.schema())
    assert_no_change(workbench, "", "one", "two")


def test_plugin_inside_the_applications_package_is_a_plugin(workbench: Workbench) -> None:
    """What is below the core's package is the core's, except what an entry point names."""
    base = "import sqlalchemy as sa\nfrom sqlalchemy.orm import Mapped, mapped_column\n"
    base += "from market.models import Base\n"
    workbench.develop(
        market(
            files={
                "market/plugins/__init__.py": "",
                "market/plugins/stalls/__init__.py": "",
                "market/plugins/stalls/db_models.py": base
                + "from market.plugins.stalls.more import *"
                + table("stall"),
                "market/plugins/stalls/more.py": base + table("booth"),
                "market/plugins/tool.py": base + table("tool"),
            },
            options='models=["market.plugins.tool"]',
        ),
        Distribution(
            "market-stalls",
            entry_points={
                "market.models": {"stalls": "market.plugins.stalls.db_models"},
                "market.migrations": {"stalls": "market.plugins.stalls.migrations"},
            },
        ),
    )
    core = workbench.write("")
    assert core.touches == {"tool"}
    workbench.make("stalls", "--initialize")
    folder = workbench.source() / "plugins" / "stalls" / "migrations" / "versions"
    (path,) = folder.glob("*_initial_revision.py")
    assert "op.create_table('stall'" in path.read_text()
    assert "op.create_table('booth'" in path.read_text()
    workbench.init_db()
    assert_no_change(workbench, "", "stalls")


def test_models_imported_before_anybody_looks_keep_their_owners(workbench: Workbench) -> None:
    """The host imports its plugins at start: classes and tables are found in their modules."""
    eager = market(
        files={
            "market/__main__.py": "import market_a.db_models, market_b.db_models\n"
            "from market.cli import cli\n\ncli(prog_name='market')\n"
        }
    )
    workbench.develop(
        eager,
        plugin("a", models="import market_b.db_models" + table("booth") + LINK),
        plugin("b", models=table("stall")),
    )
    for name, tables in (("b", {"stall"}), ("a", {"booth", "stall_customer"})):
        workbench.site.run("make-migrations", "--plugin", name, "--initialize").expect()
        (path,) = workbench.revisions(name)
        text = path.read_text()
        assert {each for each in (*tables, "stall") if f"create_table('{each}'" in text} == tables
    workbench.site.run("init-db", workbench.deployment).expect()
    assert_no_change(workbench, "", "a", "b")


def test_table_in_modules_of_two_plugins_asks_whose_it_is(workbench: Workbench) -> None:
    """Nothing tells who made it: it was made in nobody's module, before anybody looked."""
    workbench.develop(
        market(
            files={
                "nobody/__init__.py": "import sqlalchemy as sa\nfrom market.models import Base\n"
                "shared = sa.Table('shared', Base.metadata, sa.Column('id', sa.Integer))\n",
                "market/__main__.py": "import nobody\nfrom market.cli import cli\ncli()\n",
            }
        ),
        plugin("a", models="from nobody import shared"),
        plugin("b", models="from nobody import shared"),
    )
    done = workbench.site.run("make-migrations", "--plugin", "a", "--initialize").expect(4)
    assert "The table 'shared' is in modules of a, b, and nothing tells whose it is." in done.err
    assert 'info={"owner": "..."}' in done.err


def test_single_table_inheritance_of_a_plugin_adds_to_the_core_table(workbench: Workbench) -> None:
    """A plugin's subclass has no table; the column it brings is the plugin's."""
    models = """
from market.models import Customer

class Member(Customer):
    since: Mapped[str | None] = mapped_column(sa.String(10))
"""
    workbench.develop(market(), plugin("a", models=models))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"customer"}
    assert "sa.Column('since'" in written.upgrade
    workbench.init_db()
    assert_no_change(workbench, "", "a")


def test_joined_inheritance_of_a_plugin_is_a_table_of_its_own(workbench: Workbench) -> None:
    models = """
from market.models import Customer

class Member(Customer):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(sa.ForeignKey(Customer.id), primary_key=True)
"""
    workbench.develop(market(), plugin("a", models=models))
    written = workbench.write("a", "--initialize")
    assert written.touches == {"member"}
    workbench.init_db()
    assert_no_change(workbench, "", "a")


def test_core_models_may_be_several_modules_classes_and_tables(workbench: Workbench) -> None:
    """``models=`` takes names, modules, classes and tables alike."""
    base = "import sqlalchemy as sa\nfrom sqlalchemy.orm import Mapped, mapped_column\n"
    base += "from market.models import Base\n"
    workbench.develop(
        market(
            files={
                "market/one.py": base + table("one"),
                "market/two.py": base + table("two"),
                "market/three.py": base + table("three"),
            },
            options='models=["market.one", __import__("market.two").two, '
            '__import__("market.three").three.Three, __import__("market.three").three.'
            "Three.__table__]",
        )
    )
    assert workbench.write("").touches == {"one", "two", "three"}


def test_schema_that_models_write_out_is_the_one_that_needs_no_name(
    tmp_path: Path, postgresql_database: Database
) -> None:
    """``public`` and none are one table, for whom it belongs to and for whom refers to it."""
    workbench = Workbench(tmp_path, postgresql_database)
    public = '__table_args__ = {"schema": "public"}'
    link = 'stall_id: Mapped[int] = mapped_column(sa.ForeignKey("public.stall.id"))'
    core = table("gate", public)
    workbench.develop(
        market(CORE_MODELS + core),
        plugin("a", models=table("stall", public)),
        plugin("b", models="import market_a.db_models\n" + table("booth", public, link)),
    )
    workbench.init_db()
    assert workbench.write("", workbench.deployment).touches == {"gate"}
    workbench.init_db()
    stall = workbench.write("a", "--initialize", workbench.deployment)
    assert stall.touches == {"stall"}
    workbench.init_db()
    assert workbench.write("b", "--initialize", workbench.deployment).depends_on == stall.id
    workbench.init_db()
    for name in ("", "a", "b"):
        assert "No change" in workbench.make(name, workbench.deployment).out
    workbench.develop(plugin("b", models=table("counter", public)))
    written = workbench.write("b", workbench.deployment)
    assert written.touches == {"counter", "booth"}
    assert "drop_table('booth')" in written.upgrade


@pytest.mark.parametrize("stranger", ["uninstalled", "broken"])
def test_what_nobody_is_recorded_to_have_made_is_left_alone_beside_strangers(
    tmp_path: Path, stranger: str
) -> None:
    """In a database that stock Alembic built, a column without a model may be anybody's.

    With every owner's models there, it can only be the table owner's, and is dropped.
    """
    workbench = Workbench(tmp_path)
    columns = "sa.Column('points', sa.Integer)"
    add = f"op.add_column('customer', {columns})"
    revision = revision_file("a1", upgrade=add)
    workbench.develop(market(), plugin("a", models=POINTS, revisions=[revision], migrations=True))
    workbench.init_db()
    workbench.database.execute("DROP TABLE anabranch_revision", "DROP TABLE anabranch_object")
    workbench.init_db()
    assert workbench.database.rows("anabranch_object") == []
    if stranger == "uninstalled":
        workbench.site.uninstall("market-a")
    else:
        workbench.develop(plugin("a", models="import nothing_of_that_name"))
    result = workbench.make("", workbench.deployment)
    assert "Left alone, since it may be of a" in result.out
    assert "column points of customer" in result.out
    assert "No change" in result.out
    workbench.develop(plugin("a", models=table("stall"), revisions=[revision], migrations=True))
    assert "drop_column('points')" in workbench.write("", workbench.deployment).upgrade


@pytest.mark.parametrize("place", ["deployment", "scratch"])
def test_bookkeeping_in_a_schema_of_its_own_is_no_hindrance(
    tmp_path: Path, postgresql_database: Database, place: str
) -> None:
    """A scratch database has no such schema; what a plugin refers to is looked up in either."""
    workbench = Workbench(tmp_path, postgresql_database)
    postgresql_database.execute("CREATE SCHEMA admin")
    link = 'customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customer.id"))'
    workbench.develop(
        market(options='schema="admin", version_table="version"'),
        plugin("a", models=table("stall", link)),
    )
    workbench.init_db()
    where = (workbench.deployment,) if place == "deployment" else ()
    written = workbench.write("a", "--initialize", *where)
    assert written.touches == {"stall"}
    workbench.init_db()
    assert "No change" in workbench.make("a", *where).out
