"""The file itself: valid whatever the message says, complete, reversible, on either database."""

from __future__ import annotations

import ast
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import hypothesis
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import strategies as st

from anabranch.authoring.rendering import docstring, slug
from support.databases import Database
from support.workbench import CORE_MODELS, Workbench, Written, market, plugin, table

MESSAGES = {
    "quotes": "say \"hello\" and 'bye'",
    "triple quotes": '"""; import os; os.abort() #',
    "many quotes": '""""""""',
    "last quote": 'he said "no"',
    "apostrophes": "'''\nraise SystemExit\n'''",
    "newlines": "first line\nsecond line\r\n\rthird\x85line\u2028fourth",
    "backslash": "C:\\new\\table\\x41\\N{BULLET}",
    "last backslash": "ends with \\",
    "backslash and quotes": '\\"""',
    "unicode": "Größe, 价格, цена, 🧾",
    "long": "a long story " * 30,
    "control": "bell\x07 null\x00 escape\x1b[31m backspace\x08",
    "template": "${1+1} <%def name='x'> % for x in y: ## comment <%! import os %> \\\\",
    "line template": "% for x in range(9):",
    "comment template": "## nothing",
    "format": "{revision} %(x)s %s {0!r} {{}}",
    "path": "../../../etc/passwd /absolute C:\\x",
    "header": "revision = 'x'\ndown_revision = 'y'",
    "direction": "safe \u202eecils",
    "surrogate": "broken \udcff bytes",
    "keyword": "import",
    "empty": "",
    "blank": "  \t ",
}


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def words(message: str) -> str:
    """The message as one line of printable words."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_message_stays_a_message(workbench: Workbench, message: str) -> None:
    """No message breaks the file, runs as code, or leads the file out of its folder."""
    workbench.develop(market(), plugin("a", models=table("stall")))
    written = workbench.write("a", "--initialize", "-m", message)
    assert written.path.parent == workbench.source("a") / "migrations" / "versions"
    assert re.fullmatch(r"[0-9a-f]{12}(_[a-z0-9]+)*_?\.py", written.path.name)
    assert len(written.path.name) <= 60
    tree = ast.parse(written.text)
    kinds = [type(node).__name__ for node in tree.body]
    assert kinds == ["Expr", "Import", "ImportFrom", *["Assign"] * 4, "FunctionDef", "FunctionDef"]
    text = ast.get_docstring(tree)
    assert text is not None
    first, _, rest = text.partition("\n")
    # A message of nothing gets a text as good as any.
    assert first == (words(message) or "initial revision") or not words(message)
    assert rest.splitlines()[1:3] == [f"Revision ID: {written.id}", "Revises:"]
    assert written.header["branch_labels"] == ("a",)
    workbench.init_db()
    assert "stall" in workbench.schema()


@hypothesis.given(st.text())
def test_every_text_is_a_docstring_and_a_file_name(message: str) -> None:
    """Whatever a person can type."""
    source = f'"""{docstring(message)}\n"""'
    assert ast.literal_eval(source) == words(message) + "\n"
    assert re.fullmatch(r"([a-z0-9]+(_[a-z0-9]+)*_?)?", slug(message))
    assert len(slug(message)) <= 41


def test_file_reads_like_alembics(workbench: Workbench) -> None:
    """Header, date and functions as everybody knows them; no line ends in blanks."""
    workbench.develop(market(), plugin("a", models=table("stall") + table("booth")))
    written = workbench.write("a", "--initialize", "-m", "Put up stalls")
    assert written.text.startswith(
        f'"""Put up stalls\n\nRevision ID: {written.id}\nRevises:\nCreate Date: '
    )
    assert f"revision = '{written.id}'\ndown_revision = None\n" in written.text
    assert all(line == line.rstrip() for line in written.text.splitlines())
    assert written.text.endswith("\n")
    assert not written.text.endswith("\n\n")
    (created,) = re.findall(r"^Create Date: (.*)$", written.text, re.MULTILINE)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(created)
    assert timedelta(0) <= age < timedelta(minutes=5)
    workbench.develop(plugin("a", models=table("stall")))
    second = workbench.write("a", "-m", "Take down booths")
    assert f"\nRevises: {written.id}\n" in second.text


EVERYTHING = """
import enum
import uuid
from datetime import datetime
from decimal import Decimal

from market.models import Money


class Color(enum.Enum):
    red = 1
    blue = 2


class Stall(Base):
    __tablename__ = "stall"
    __table_args__ = (
        sa.UniqueConstraint("name", "number"),
        sa.CheckConstraint("number > 0"),
        sa.CheckConstraint("number < 1000", name="small"),
        sa.ForeignKeyConstraint(["booth_id"], ["booth.id"], ondelete="CASCADE"),
        sa.Index("ix_stall_both", "name", "number", unique=True),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), index=True)
    number: Mapped[int] = mapped_column(server_default=sa.text("1"))
    code: Mapped[str | None] = mapped_column(sa.String(8), unique=True)
    open: Mapped[bool] = mapped_column(server_default=sa.true())
    made: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    rent: Mapped[int] = mapped_column(Money(3))
    color: Mapped[Color]
    size: Mapped[str] = mapped_column(sa.Enum("s", "l", name="size", native_enum=False))
    data: Mapped[dict[str, str]] = mapped_column(sa.JSON)
    blob: Mapped[bytes] = mapped_column(sa.LargeBinary(16))
    key: Mapped[uuid.UUID] = mapped_column(sa.Uuid)
    note: Mapped[str] = mapped_column(sa.Text, server_default="it's 100% \\"new\\"\\n")
    customer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customer.id"))
    booth_id: Mapped[int | None]


class Booth(Base):
    __tablename__ = "booth"
    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True
    )
    a_name_that_is_so_long_that_the_name_of_its_key_must_be_cut: Mapped[int] = mapped_column(
        sa.ForeignKey("customer.id")
    )
"""
MONEY = """

class Money(sa.types.TypeDecorator):
    impl = sa.Integer
    cache_ok = True

    def __init__(self, digits):
        super().__init__()
        self.digits = digits

    def __repr__(self):
        return f"Money({self.digits})"
"""
CONVENTION = (
    """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        }
    )
"""
    + CORE_MODELS
)


@pytest.mark.parametrize("core", [CORE_MODELS, CONVENTION], ids=["plain", "convention"])
@pytest.mark.parametrize("origin", ["sqlite", "postgresql", "scratch"])
def test_file_written_on_one_database_runs_on_both(
    tmp_path: Path,
    sqlite_database: Database,
    postgresql_database: Database,
    origin: str,
    core: str,
) -> None:
    """Applied, the models have nothing to add on either."""
    databases = {"sqlite": sqlite_database, "postgresql": postgresql_database}
    workbench = Workbench(tmp_path, databases.get(origin))
    workbench.develop(market(core + MONEY), plugin("a", models=EVERYTHING))
    where = []
    if origin != "scratch":
        workbench.init_db()
        where = [workbench.deployment]
    written = workbench.write("a", "--initialize", *where)
    assert written.touches == {"stall", "booth"}
    assert "\nimport market.models\n" in written.text
    assert "market.models.Money(3)" in written.text
    assert_named(written)
    for database in databases.values():
        other = Workbench(tmp_path, database)
        other.init_db()
        assert {"stall", "booth"} <= set(other.schema())
        assert "No change" in other.make("a", other.deployment).out
        assert "No change" in other.make("", other.deployment).out
    assert "No change" in workbench.make("a").out


def assert_named(written: Written) -> None:
    """Every constraint and index has a name that PostgreSQL takes, and no two are alike."""
    names: list[str] = []
    functions = [node for node in ast.parse(written.text).body if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(functions[0]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr.endswith("Constraint"):
                (name,) = [each.value for each in node.keywords if each.arg == "name"]
                names.append(constant(name))
            elif node.func.attr == "create_index":
                names.append(constant(node.args[0]))
    assert len(names) == 11
    assert len(set(names)) == len(names)
    # SQLAlchemy itself cuts the names that a convention makes.
    assert all(len(name) <= 63 for name in names if not name.endswith("_customer"))


def constant(node: ast.expr) -> str:
    """The string in ``'name'`` or ``op.f('name')``."""
    value = node.args[0] if isinstance(node, ast.Call) else node
    assert isinstance(value, ast.Constant)
    return str(value.value)


CHANGED = (
    EVERYTHING.replace("sa.String(100), index=True", "sa.String(200)")
    .replace('server_default=sa.text("1")', 'server_default=sa.text("1"), index=True')
    .replace(
        "    booth_id: Mapped[int | None]\n",
        "    booth_id: Mapped[int]\n"
        "    product_id: Mapped[int | None] = mapped_column(sa.ForeignKey('product.id'))\n"
        "    tag: Mapped[str | None] = mapped_column(sa.String(4), unique=True)\n",
    )
    .replace("    code: Mapped[str | None] = mapped_column(sa.String(8), unique=True)\n", "")
)


@pytest.mark.parametrize("origin", ["sqlite", "postgresql", "scratch"])
def test_changes_written_on_one_database_run_on_both(
    tmp_path: Path, sqlite_database: Database, postgresql_database: Database, origin: str
) -> None:
    """Columns, indexes, keys, types and nullability change in a second revision."""
    databases = {"sqlite": sqlite_database, "postgresql": postgresql_database}
    workbench = Workbench(tmp_path, databases.get(origin))
    workbench.develop(market(CORE_MODELS + MONEY), plugin("a", models=EVERYTHING))
    workbench.write("a", "--initialize")
    for database in databases.values():
        Workbench(tmp_path, database).init_db()
    workbench.develop(plugin("a", models=CHANGED))
    where = [] if origin == "scratch" else [workbench.deployment]
    second = workbench.write("a", "-m", "change", *where)
    assert second.touches == {"stall"}
    assert second.depends_on == "c2"
    for database in databases.values():
        other = Workbench(tmp_path, database)
        other.init_db()
        assert "No change" in other.make("a", other.deployment).out
        columns = {each["name"]: each for each in other.schema()["stall"]["columns"]}
        assert not columns["booth_id"]["nullable"]
        assert {"product_id", "tag"} <= set(columns)
        assert "code" not in columns
    assert "No change" in workbench.make("a").out


NAMED = table("stall", "name: Mapped[str | None] = mapped_column(sa.String(9))")
STRICTER = table(
    "stall",
    "name: Mapped[str] = mapped_column(sa.String(20))",
    "price: Mapped[int] = mapped_column(default=0)",
    "place: Mapped[int] = mapped_column(server_default=sa.text('1'))",
    "twice: Mapped[int] = mapped_column(sa.Computed('id * 2'))",
    "note: Mapped[str | None]",
)


def test_column_that_rows_may_stand_against_is_reported(workbench: Workbench) -> None:
    """With what happens, and the next move; what always has a value is not. Neither fails here."""
    workbench.develop(market(), plugin("a", models=NAMED))
    assert "NULL" not in workbench.make("a", "--initialize").out
    workbench.develop(plugin("a", models=STRICTER))
    lines = workbench.make("a").out.splitlines()
    notes = [line.split(maxsplit=1)[1] for line in lines if line.startswith("Note ")]
    added, altered = sorted(notes, key=lambda note: "price" not in note)
    assert added.startswith("stall.price is new, NOT NULL and without a server_default")
    assert "if the table has rows, the revision fails and is rolled back." in added
    assert "Give the column a server_default, or let the file add it nullable, fill it" in added
    assert altered.startswith("stall.name becomes NOT NULL: if a row has NULL there, the revision")
    assert "Fill such rows first" in altered
    done = {line.strip() for line in lines if line.startswith("          ")}
    assert {"modify type stall.name", "modify nullable stall.name"} < done
    assert len(done) == 6
    workbench.init_db()


COLOR = "import enum\n\n\nclass Color(enum.Enum):\n    red = 1\n    blue = 2\n"
HAS_COLOR = "color: Mapped[Color | None]"


def take_back(database: Database, written: Written) -> None:
    """Run ``downgrade()`` of the file, and forget that it was applied."""
    with (
        database.engine() as engine,
        engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        written.header["downgrade"]()
    database.execute(
        f"DELETE FROM anabranch_revision WHERE revision = '{written.id}'",
        f"DELETE FROM anabranch_object WHERE revision = '{written.id}'",
        f"DELETE FROM alembic_version WHERE version_num = '{written.id}'",
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, table("stall", HAS_COLOR) + table("booth", HAS_COLOR)),
        (table("stall"), table("stall", HAS_COLOR)),
        (table("stall", HAS_COLOR), table("stall", HAS_COLOR) + table("booth", HAS_COLOR)),
        (table("stall"), table("stall", HAS_COLOR) + table("booth", HAS_COLOR)),
    ],
    ids=["new tables", "new column", "another table", "both"],
)
def test_enumerated_types_come_and_go_with_their_columns(
    tmp_path: Path, database: Database, before: str | None, after: str
) -> None:
    """On PostgreSQL they are things of their own: made once, kept while in use, dropped then.

    Upgrade, downgrade and upgrade again, each revision in a run of its own.
    """
    workbench = Workbench(tmp_path, database)
    workbench.develop(market(), plugin("a", models=COLOR + (before or after)))
    written = workbench.write("a", "--initialize")
    workbench.init_db()
    if before is not None:
        workbench.develop(plugin("a", models=COLOR + after))
        first, written = written, workbench.write("a", "-m", "colors")
        assert written.header["down_revision"] == first.id
        earlier = workbench.schema()
        workbench.init_db()
    schema = workbench.schema()
    take_back(database, written)
    if before is None:
        assert set(workbench.schema()) == {"customer", "product"}
    else:
        assert workbench.schema() == earlier
    workbench.init_db()
    assert workbench.schema() == schema
    assert "No change" in workbench.make("a", workbench.deployment).out


def test_written_whole_or_not_at_all(workbench: Workbench) -> None:
    """No temporary file stays behind, and the file is for everybody to read."""
    workbench.develop(market(), plugin("a", models=table("stall")))
    written = workbench.write("a", "--initialize")
    assert {path.name for path in written.path.parent.iterdir()} == {
        "__init__.py",
        written.path.name,
    }
    assert written.path.stat().st_mode & 0o777 == 0o644


# Root may write everywhere; this takes that away from the process that follows.
WITHOUT_PRIVILEGE = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes a privilege away the way Linux does")
@pytest.mark.parametrize("closed", ["market_a", "market_a/migrations/versions"])
def test_read_only_folder_is_one_message(workbench: Workbench, closed: str) -> None:
    workbench.develop(market(), plugin("a", models=table("stall")))
    folder = workbench.source("a").parent / closed
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    options = ["make-migrations", "--plugin", "a", "--initialize"]
    result = workbench.site.python("-c", WITHOUT_PRIVILEGE, "market", *options).expect(2)
    folder.chmod(0o755)
    assert "cannot be written: Permission denied." in result.err
    assert "Check the folder's permissions" in result.err
    assert "Traceback" not in result.err
    assert list(workbench.source("a").rglob("*initial*")) == []
    assert list(workbench.source("a").rglob("*.tmp")) == []


def test_folder_that_is_a_file_is_one_message(workbench: Workbench) -> None:
    workbench.develop(market(), plugin("a", models=table("stall")))
    (workbench.source("a") / "migrations").write_text("in the way")
    result = workbench.make("a", "--initialize", code=2)
    assert "cannot be written" in result.err
    assert result.err.startswith("Error AB001: ")


def test_models_are_as_they_were_after_writing(workbench: Workbench) -> None:
    """The names that constraints get in the file are not left on the models' own objects."""
    workbench.develop(market(), plugin("a", models=EVERYTHING), market(CORE_MODELS + MONEY))
    script = (
        "from market.cli import manager\n"
        "import market_a.db_models as models\n"
        "items = [c for t in models.Base.metadata.tables.values() for c in t.constraints]\n"
        "before = [(id(c), c.name) for c in items]\n"
        "manager.revision(plugin='a', initialize=True)\n"
        "assert before == [(id(c), c.name) for c in items]\n"
    )
    workbench.site.python("-c", script).expect()
    assert len(workbench.revisions("a")) == 1


def test_tables_that_refer_to_each_other_get_their_keys_one_by_one(
    tmp_path: Path, database: Database
) -> None:
    """The first is created before there is anything to refer to; a key of ``use_alter`` too."""
    workbench = Workbench(tmp_path, database)
    models = (
        table("stall", 'booth_id: Mapped[int] = mapped_column(sa.ForeignKey("booth.id"))')
        + table("booth", 'stall_id: Mapped[int] = mapped_column(sa.ForeignKey("stall.id"))')
        + table(
            "gate",
            "stall_id: Mapped[int] = mapped_column("
            'sa.ForeignKey("stall.id", use_alter=True, name="fk_gate"))',
            'gate_id: Mapped[int] = mapped_column(sa.ForeignKey("gate.id"))',
        )
    )
    workbench.develop(market(), plugin("a", models=models))
    written = workbench.write("a", "--initialize")
    workbench.init_db()
    schema = workbench.schema()
    found = {
        (name, key["constrained_columns"][0], key["referred_table"])
        for name in schema
        for key in schema[name]["foreign_keys"]
    }
    assert found == {
        ("stall", "booth_id", "booth"),
        ("booth", "stall_id", "stall"),
        ("gate", "stall_id", "stall"),
        ("gate", "gate_id", "gate"),
    }
    for where in ((), (workbench.deployment,)):
        assert "No change" in workbench.make("a", *where).out
    workbench.develop(plugin("a", models=table("gate")))
    result = workbench.make("a", workbench.deployment, code=2)
    assert "refer to each other, and no order lets both be dropped." in result.err
    take_back(database, written)
    assert set(workbench.schema()) == {"customer", "product"}


REMOVED = """
import enum
import uuid
from datetime import datetime
from decimal import Decimal

from sqlalchemy.dialects.postgresql import INET, JSONB


class Color(enum.Enum):
    red = 1
    blue = 2


class Booth(Base):
    __tablename__ = "booth"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(9), server_default="it's a::b")
    time: Mapped[str] = mapped_column(sa.Text, server_default="from 9:00")
    number: Mapped[int] = mapped_column(server_default=sa.text("1"))
    open: Mapped[bool] = mapped_column(server_default=sa.true())
    made: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    color: Mapped[Color] = mapped_column(server_default="red")
    key: Mapped[uuid.UUID]
    blob: Mapped[bytes]
    data: Mapped[dict[str, str]] = mapped_column(sa.JSON().with_variant(JSONB, "postgresql"))
    more: Mapped[dict[str, str]] = mapped_column(JSONB().with_variant(sa.JSON, "sqlite"))
    address: Mapped[str] = mapped_column(sa.Text().with_variant(INET, "postgresql"))
    tags: Mapped[str] = mapped_column(
        sa.Text().with_variant(sa.ARRAY(sa.Integer), "postgresql")
    )
"""


@pytest.mark.parametrize("origin", ["sqlite", "postgresql"])
def test_removed_table_comes_back_on_another_database(
    tmp_path: Path, sqlite_database: Database, postgresql_database: Database, origin: str
) -> None:
    """Its downgrade runs on both, and loses nothing of what the database had it was written on.

    PostgreSQL's own types, which the model has as variants, are not lost on SQLite either.
    """
    databases = {"sqlite": sqlite_database, "postgresql": postgresql_database}
    workbench = Workbench(tmp_path, databases[origin])
    workbench.develop(market(), plugin("a", models=table("stall") + REMOVED))
    workbench.write("a", "--initialize")
    benches = {name: Workbench(tmp_path, each) for name, each in databases.items()}
    for bench in benches.values():
        bench.init_db()
        assert "No change" in bench.make("a", bench.deployment).out
    before = {name: bench.schema() for name, bench in benches.items()}
    workbench.develop(plugin("a", models=table("stall")))
    workbench.write("a", workbench.deployment)
    for name, bench in benches.items():
        bench.init_db()
        assert "booth" not in bench.schema()
        bench.run("db", "downgrade", bench.deployment, "a@-1", "--yes")
        if name in ("sqlite", origin):
            assert bench.schema() == before[name]
        else:
            assert set(bench.schema()) == set(before[name])
