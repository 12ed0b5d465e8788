"""What a revision's source says it will do, read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.operations import Operation, read_operations
from anabranch.revision import Revision, RevisionKey
from support.trees import revision_file


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return Read(tmp_path / "revision.py")


class Read:
    def __init__(self, path: Path) -> None:
        self.path = path

    def source(self, text: str) -> tuple[Operation, ...]:
        self.path.write_text(text, encoding="utf-8")
        return read_operations(Revision(RevisionKey("core", "r1"), path=str(self.path)))

    def body(self, body: str) -> tuple[Operation, ...]:
        return self.source(revision_file("r1", upgrade=body))

    def words(self, body: str) -> list[str]:
        return [operation.words for operation in self.body(body)]

    def certain(self, body: str) -> list[str]:
        return [operation.words for operation in self.body(body) if operation.certain]


def test_operations_are_told_in_words_and_in_order(read: Read) -> None:
    assert read.words(
        """
        item = op.create_table("item", sa.Column("id", sa.Integer, primary_key=True))
        op.bulk_insert(item, [{"id": 1}])
        op.add_column("item", sa.Column("price", sa.Numeric(10, 2), nullable=False))
        op.alter_column("item", "price", type_=sa.Integer(), nullable=True)
        op.drop_column("item", "old")
        op.create_index(op.f("ix_item"), "item", ["id"])
        op.drop_index("ix_item", table_name="item")
        op.drop_constraint("uq_item", "item", type_="unique")
        op.create_foreign_key("fk_item", "item", "shelf", ["shelf"], ["id"])
        op.rename_table("item", "thing")
        op.drop_table("shelf")
        op.execute("UPDATE item SET price = 1")
        """
    ) == [
        "create table item",
        "insert rows into item",
        "add column item.price",
        "alter column item.price (type sa.Integer(), null)",
        "drop column item.old",
        "create index ix_item on item",
        "drop index ix_item on item",
        "drop unique constraint uq_item on item",
        "create foreign key fk_item on item",
        "rename table item to thing",
        "drop table shelf",
        "run SQL: UPDATE item SET price = 1",
    ]


def test_a_batch_speaks_of_its_table(read: Read) -> None:
    found = read.body(
        """
        with op.batch_alter_table("item", schema="s") as batch_op:
            batch_op.drop_column("old")
            batch_op.alter_column("price", existing_type=sa.Integer(), nullable=False)
            batch_op.create_index(batch_op.f("ix_item"), ["price"])
        """
    )
    assert [item.words for item in found] == [
        "drop column item.old",
        "alter column item.price (not null)",
        "create index ix_item on item",
    ]
    assert {item.schema for item in found} == {"s"}
    assert found[1].options == {"existing_type": "sa.Integer()", "nullable": "False"}


def test_the_arguments_of_a_new_column_are_kept_as_they_are_written(read: Read) -> None:
    (found,) = read.body('op.add_column("t", sa.Column("c", sa.String(length=9), nullable=False))')
    assert found.name == "c"
    assert found.options == {"type_": "sa.String(length=9)", "nullable": "False"}


def test_statements_written_out_are_read_like_operations(read: Read) -> None:
    found = read.body(
        """
        op.execute("DROP TABLE IF EXISTS item, other.shelf CASCADE")
        op.execute(sa.text("ALTER TABLE item DROP COLUMN old, ALTER price SET NOT NULL"))
        op.get_bind().execute(sa.text("ALTER TABLE item ADD COLUMN n INTEGER NOT NULL"))
        op.execute("ALTER TABLE item RENAME TO thing")
        """
    )
    assert [(item.verb, item.schema, item.words) for item in found] == [
        ("drop_table", "", "drop table item"),
        ("drop_table", "other", "drop table shelf"),
        ("drop_column", "", "drop column item.old"),
        ("alter_column", "", "alter column item.price"),
        ("add_column", "", "add column item.n"),
        ("rename_table", "", "rename table item to thing"),
    ]
    assert all(item.certain for item in found)
    assert found[4].options == {"type": "INTEGER", "nullable": "False"}


def test_names_are_followed_to_constants(read: Read) -> None:
    found = read.source(
        'TABLE = "item"\n'
        + revision_file(
            "r1", upgrade='column = "old"\nop.drop_column(TABLE, f"{column}_price")\nhelp_out()'
        )
        + "\n\ndef help_out():\n    op.drop_index('ix', TABLE)\n"
    )
    assert [(item.words, item.certain) for item in found] == [
        ("drop column item.old_price", True),
        ("drop index ix on item", True),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "if op.get_context().as_sql:\n    op.drop_table('item')",
        "for name in ('item',):\n    op.drop_table('item')",
        "try:\n    pass\nfinally:\n    op.drop_table('item')",
        "if condition:\n    return\nop.drop_table('item')",
        "op.drop_table(name)",
        "name = 'item'\nname = 'shelf'\nop.drop_table(name)",
        "op.execute(f'DROP TABLE {name}')",
        "op.execute(sa.text('DROP TABLE item').bindparams(a=1))",
        "def inner(name):\n    op.drop_table('item')\ninner(1)",
    ],
)
def test_what_may_not_run_or_has_a_computed_name_is_uncertain(read: Read, body: str) -> None:
    assert [operation.certain for operation in read.body(body)] == [False]


@pytest.mark.parametrize(
    "body",
    [
        "helper.run(op.get_bind())",
        "with Session(op.get_bind()) as session:\n    session.delete(session.get(Item, 1))",
        "op.execute(statement)",
        "op.get_bind().connection.executescript('DROP TABLE item')",
    ],
)
def test_other_code_that_may_change_the_database_is_one_uncertain_operation(
    read: Read, body: str
) -> None:
    assert [(item.verb, item.certain) for item in read.body(body)] == [("code", False)]


def test_a_function_that_is_no_plain_def_is_other_code(read: Read) -> None:
    source = revision_file("r1", upgrade="op.create_table('item')")
    for line in (
        "upgrade = downgrade",
        "from elsewhere import upgrade",
        "if True:\n    upgrade = 1",
    ):
        (operation,) = read.source(f"{source}\n{line}\n")
        assert (operation.verb, operation.certain) == ("code", False)


def test_looking_at_the_database_is_no_operation(read: Read) -> None:
    assert not read.words(
        """
        bind = op.get_bind()
        names = sa.inspect(bind).get_table_names()
        rows = bind.execute(sa.text("SELECT 1")).fetchall()
        print(len(rows))
        """
    )


def test_nothing_of_the_source_runs(read: Read, tmp_path: Path) -> None:
    """Neither the module nor ``upgrade()``; a package it imports need not be there."""
    trace = tmp_path / "trace"
    found = read.source(
        f"import not_installed\nopen({str(trace)!r}, 'w')\n"
        + revision_file("r1", upgrade=f"open({str(trace)!r}, 'w')\nop.drop_table('item')")
    )
    assert found[-1].words == "drop table item"
    assert not trace.exists()


def test_a_file_that_cannot_be_read_says_nothing(read: Read) -> None:
    assert read.source("def upgrade(:") == ()
    assert read.source("x = 1") == ()
    assert read_operations(Revision(RevisionKey("core", "r1"), path="/nowhere.py")) == ()


def test_functions_that_call_each_other_end(read: Read) -> None:
    found = read.source(
        revision_file("r1", upgrade="one()")
        + "\n\ndef one():\n    two()\n    op.drop_table('item')\n\ndef two():\n    one()\n"
    )
    assert [item.words for item in found] == ["drop table item"]
