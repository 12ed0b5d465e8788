"""What a written revision depends on: the oldest revisions that provide what it refers to."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from support.databases import Database
from support.trees import revision_file
from support.workbench import CORE_MODELS, CORE_REVISIONS, Workbench, Written, market, plugin, table

STALL = table("stall")
TO_CUSTOMER = "customer_id: Mapped[int] = mapped_column(sa.ForeignKey('customer.id'))"
TO_PRODUCT = "product_id: Mapped[int] = mapped_column(sa.ForeignKey('product.id'))"
TO_SKU = "sku: Mapped[str] = mapped_column(sa.ForeignKey('product.sku'))"


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture(params=["scratch", "deployment", "adopted"])
def written_against(
    request: pytest.FixtureRequest, tmp_path: Path, database: Database
) -> tuple[Workbench, str]:
    """A workbench on either database, and what the models are to be compared with."""
    return Workbench(tmp_path, database), request.param


def first_revision(workbench: Workbench, kind: str, name: str = "a") -> Written:
    """Let the plugin's first revision be written, against a database of that kind."""
    if kind == "scratch":
        return workbench.write(name, "--initialize")
    if kind == "deployment":
        workbench.init_db()
    else:
        workbench.deployment.mkdir()
        upgrade_with_alembic(workbench)
    return workbench.write(name, "--initialize", workbench.deployment)


def upgrade_with_alembic(workbench: Workbench) -> None:
    """Build the database with stock Alembic: no record of what made which table."""
    config = Config()
    config.set_main_option("script_location", str(workbench.source() / "migrations"))
    script = ScriptDirectory.from_config(config)
    with (
        workbench.database.engine() as engine,
        EnvironmentContext(
            config, script, fn=lambda revision, _: script._upgrade_revs("heads", revision)
        ) as environment,
        engine.connect() as connection,
    ):
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()


@pytest.mark.parametrize(
    ("column", "provider"), [(TO_CUSTOMER, "c1"), (TO_PRODUCT, "c2"), (TO_SKU, "c3")]
)
def test_foreign_key_needs_the_oldest_revision_that_has_its_target(
    written_against: tuple[Workbench, str], column: str, provider: str
) -> None:
    """Neither the core's base nor its head: the table's revision, or the later column's."""
    workbench, kind = written_against
    workbench.develop(market(), plugin("a", models=table("stall", column)))
    written = first_revision(workbench, kind)
    assert written.depends_on == provider
    workbench.init_db()
    assert "stall" in workbench.schema()


def test_plugin_that_refers_to_nothing_declares_nothing(workbench: Workbench) -> None:
    """Its base needs the core's base all the same, in every order of plugins."""
    workbench.develop(market(), plugin("a", models=STALL))
    written = workbench.write("a", "--initialize")
    assert written.depends_on is None
    assert written.header["down_revision"] is None
    assert "needs core@c1" in workbench.run("db", "plan", workbench_deployment(workbench)).out


def workbench_deployment(workbench: Workbench) -> Path:
    workbench.deployment.mkdir()
    (workbench.deployment / "config.toml").touch()
    return workbench.deployment


def test_dependencies_are_reduced_to_the_last_of_a_line(workbench: Workbench) -> None:
    """Stock Alembic crashes on redundant ones: c3 implies c2 and c1."""
    workbench.develop(market(), plugin("a", models=table("stall", TO_CUSTOMER, TO_PRODUCT, TO_SKU)))
    assert workbench.write("a", "--initialize").depends_on == "c3"


def test_dependency_through_another_plugin_is_enough(workbench: Workbench) -> None:
    """A needs B's table and the core's c2, which B's revision needs itself."""
    workbench.develop(market(), plugin("b", models=table("booth", TO_PRODUCT)))
    booth = workbench.write("b", "--initialize")
    to_booth = "booth_id: Mapped[int] = mapped_column(sa.ForeignKey('booth.id'))"
    models = "import market_b.db_models" + table("stall", TO_PRODUCT, to_booth)
    workbench.develop(plugin("a", models=models))
    assert workbench.write("a", "--initialize").depends_on == booth.id


def test_dependencies_on_two_owners_are_both_written(
    written_against: tuple[Workbench, str],
) -> None:
    workbench, kind = written_against
    booth = revision_file(
        "b1",
        labels="b",
        upgrade='op.create_table("booth", sa.Column("id", sa.Integer, primary_key=True))',
    )
    to_booth = "booth_id: Mapped[int] = mapped_column(sa.ForeignKey('booth.id'))"
    models = "import market_b.db_models" + table("stall", TO_SKU, to_booth)
    b = plugin("b", models=table("booth"), migrations=True, revisions=[booth])
    workbench.develop(market(), b, plugin("a", models=models))
    written = first_revision(workbench, kind)
    assert set(written.depends_on) == {"c3", "b1"}
    workbench.init_db()
    assert "stall" in workbench.schema()


def test_later_revision_leaves_out_what_its_own_line_needs_already(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=table("stall", TO_PRODUCT)))
    first = workbench.write("a", "--initialize")
    assert first.depends_on == "c2"
    workbench.develop(plugin("a", models=table("stall", TO_PRODUCT) + table("awning", TO_CUSTOMER)))
    second = workbench.write("a", "-m", "awnings")
    assert second.header["down_revision"] == first.id
    assert second.header["branch_labels"] is None
    assert second.depends_on is None
    models = table("stall", TO_PRODUCT) + table("awning", TO_CUSTOMER) + table("price", TO_SKU)
    workbench.develop(plugin("a", models=models))
    assert workbench.write("a", "-m", "prices").depends_on == "c3"


def test_added_column_with_a_foreign_key_needs_its_target(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=STALL))
    workbench.write("a", "--initialize")
    optional = "sku: Mapped[str | None] = mapped_column(sa.ForeignKey('product.sku'))"
    workbench.develop(plugin("a", models=table("stall", optional)))
    written = workbench.write("a", "-m", "skus")
    assert written.depends_on == "c3"
    workbench.init_db()
    (key,) = workbench.schema()["stall"]["foreign_keys"]
    assert key["name"] == "fk_stall_sku"


@pytest.mark.parametrize(
    "thing",
    [
        "sa.Index('ix_by_a', Product.__table__.c.sku)",
        "sa.UniqueConstraint(Product.__table__.c.sku, Product.__table__.c.id, name='uq_by_a')",
        "Product.__table__.append_column(sa.Column('vat', sa.Integer))",
    ],
    ids=["index", "unique", "column"],
)
def test_addition_to_a_core_table_needs_the_table_and_its_columns(
    workbench: Workbench, thing: str
) -> None:
    workbench.develop(market(), plugin("a", models=f"from market.models import Product\n{thing}\n"))
    expected = "c2" if "vat" in thing else "c3"
    assert workbench.write("a", "--initialize").depends_on == expected


def test_column_of_another_plugin_on_a_core_table_needs_that_plugin(workbench: Workbench) -> None:
    """A refers to what B put on the core's table."""
    on_product = (
        "from market.models import Product\n\n"
        "Product.__table__.append_column(sa.Column('ean', sa.String(13), unique=True))\n"
    )
    workbench.develop(market(), plugin("b", models=on_product))
    ean = workbench.write("b", "--initialize")
    to_ean = "ean: Mapped[str] = mapped_column(sa.ForeignKey('product.ean'))"
    workbench.develop(plugin("a", models="import market_b.db_models" + table("stall", to_ean)))
    assert workbench.write("a", "--initialize").depends_on == ean.id


def test_renamed_table_is_provided_by_the_revision_that_renamed_it(workbench: Workbench) -> None:
    """Under its old name it does not serve: the oldest revision with *this* name is meant."""
    rename = "op.rename_table('customer', 'person')"
    models = CORE_MODELS.replace('"customer"', '"person"')
    workbench.develop(
        market(models, revisions=[*CORE_REVISIONS, revision_file("c5", down="c4", upgrade=rename)]),
        plugin("a", models=table("stall", TO_CUSTOMER.replace("customer.id", "person.id"))),
    )
    assert workbench.write("a", "--initialize").depends_on == "c5"
    workbench.init_db()
    assert "stall" in workbench.schema()


def test_table_made_by_raw_sql_is_found_as_well(workbench: Workbench) -> None:
    create = 'op.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY)")'
    workbench.develop(
        market(
            CORE_MODELS + table("raw"),
            revisions=[
                *CORE_REVISIONS,
                revision_file("c5", down="c4", upgrade=create),
                revision_file("c6", down="c5"),
            ],
        ),
        plugin("a", models=table("stall", TO_CUSTOMER.replace("customer.id", "raw.id"))),
    )
    assert workbench.write("a", "--initialize").depends_on == "c5"


def test_table_that_no_revision_makes_is_refused(workbench: Workbench) -> None:
    """The core's model has no revision yet: no dependency could keep the promise."""
    workbench.develop(
        market(CORE_MODELS + table("invoice")),
        plugin("a", models=table("stall", TO_CUSTOMER.replace("customer.id", "invoice.id"))),
    )
    result = workbench.make("a", "--initialize", code=2)
    assert "The models refer to invoice.id, which no revision of core creates" in result.err
    assert "'market make-migrations'" in result.err
    assert not (workbench.source("a") / "migrations").exists()
    core = workbench.write("")
    assert workbench.write("a", "--initialize").depends_on == core.id


@pytest.mark.parametrize("deployed", [False, True], ids=["scratch", "deployment"])
def test_column_that_no_revision_adds_is_refused(workbench: Workbench, deployed: bool) -> None:
    """The table is there, the column is not."""
    workbench.develop(
        market(CORE_MODELS + "    ean: Mapped[str | None] = mapped_column(unique=True)\n"),
        plugin(
            "a",
            models=table("stall", "ean: Mapped[str] = mapped_column(sa.ForeignKey('product.ean'))"),
        ),
    )
    where = []
    if deployed:
        workbench.init_db()
        where = [workbench.deployment]
    result = workbench.make("a", "--initialize", *where, code=2)
    assert "The models refer to product.ean, which no revision of core creates." in result.err


def test_column_that_the_deployment_lacks_is_looked_up_in_the_history(
    workbench: Workbench,
) -> None:
    """The core is behind there: its table is recorded, the column came later."""
    workbench.develop(market(revisions=CORE_REVISIONS[:2]))
    workbench.init_db()
    workbench.develop(market(), plugin("a", models=table("stall", TO_SKU)))
    assert workbench.write("a", "--initialize", workbench.deployment).depends_on == "c3"


def test_id_that_two_owners_have_is_written_with_its_owner(workbench: Workbench) -> None:
    """B calls its revision c2 too: the file says whose is meant, and the plan understands it."""
    same = revision_file("c2", labels="b")
    workbench.develop(
        market(),
        plugin("b", migrations=True, revisions=[same]),
        plugin("a", models=table("stall", TO_PRODUCT)),
    )
    written = workbench.write("a", "--initialize")
    assert written.depends_on == "core@c2"
    workbench.init_db()
    assert "stall" in workbench.schema()


def test_dependency_is_never_a_label(workbench: Workbench) -> None:
    """A label means the revision that carries it, which is the first: an id says which."""
    revisions = [revision_file("c1", labels="market", upgrade="pass"), *CORE_REVISIONS[1:]]
    workbench.develop(market(revisions=revisions), plugin("a", models=table("stall", TO_PRODUCT)))
    written = workbench.write("a", "--initialize")
    assert written.depends_on == "c2"
    assert written.header["branch_labels"] == ("a",)


def test_own_tables_and_keys_between_them_need_nobody(workbench: Workbench) -> None:
    """Two tables that refer to each other are written in an order that runs."""
    models = table("stall", "booth_id: Mapped[int] = mapped_column(sa.ForeignKey('booth.id'))")
    workbench.develop(market(), plugin("a", models=models + table("booth")))
    written = workbench.write("a", "--initialize")
    assert written.depends_on is None
    assert written.upgrade.index("'booth'") < written.upgrade.index("'stall'")


def test_new_ids_differ_within_one_second(workbench: Workbench) -> None:
    names = [f"p{number}" for number in range(8)]
    workbench.develop(market(), *(plugin(name, models=table(f"{name}_t")) for name in names))
    ids = {workbench.write(name, "--initialize").id for name in names}
    assert len(ids) == 8
    assert all(len(id_) == 12 and id_.isalnum() for id_ in ids)
