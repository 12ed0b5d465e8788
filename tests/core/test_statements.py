"""Statements taken apart: what they drop and what they alter."""

from __future__ import annotations

import pytest

from anabranch.statements import Alteration, altered_table, dropped_parts, dropped_tables


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP TABLE item", [("", "item")]),
        ("drop table if exists item", [("", "item")]),
        ('DROP TABLE "a "" b", public.c CASCADE', [("", 'a " b'), ("public", "c")]),
        ("DROP TABLE `a`.`b`", [("a", "b")]),
        ("-- gone\nDROP /* now */ TABLE [a b];", [("", "a b")]),
        ("DROP INDEX item", []),
        ("SELECT 'DROP TABLE item'", []),
        ("DROP TABLE", []),
    ],
)
def test_dropped_tables(statement: str, expected: list[tuple[str, str]]) -> None:
    assert list(dropped_tables(statement)) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DROP INDEX IF EXISTS `a b` ON shop.item", ("shop", "item", ("a b",))),
        ("DROP INDEX ix", ("", "", ())),
        ("ALTER TABLE item DROP a, DROP COLUMN IF EXISTS b", ("", "item", ("a", "b"))),
        ("ALTER TABLE item DROP FOREIGN KEY fk, DROP KEY k", ("", "item", ("fk", "k"))),
        ("ALTER TABLE item DROP CONSTRAINT IF EXISTS c, ADD d INT", ("", "item", ("c",))),
        ("ALTER TABLE item DROP PRIMARY KEY", ("", "item", ())),
        ("DROP TABLE item", ("", "", ())),
    ],
)
def test_dropped_parts(statement: str, expected: tuple[str, str, tuple[str, ...]]) -> None:
    assert dropped_parts(statement) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("DROP price", Alteration("drop", "price")),
        ('DROP COLUMN IF EXISTS "the price" CASCADE', Alteration("drop", "the price")),
        ("RENAME TO thing", Alteration("move", "thing")),
        ("RENAME COLUMN a TO b", Alteration("rename", "a")),
        ("RENAME a TO b", Alteration("rename", "a")),
        ("ALTER COLUMN a SET NOT NULL", Alteration("not null", "a", not_null=True)),
        ("ALTER a DROP NOT NULL", Alteration("other")),
        (
            "ALTER COLUMN a TYPE VARCHAR(10) USING a::varchar(10)",
            Alteration("type", "a", type="VARCHAR(10)", using="a::varchar(10)"),
        ),
        (
            "ALTER a SET DATA TYPE timestamp without time zone",
            Alteration("type", "a", type="timestamp without time zone"),
        ),
        (
            "ADD COLUMN n NUMERIC(10, 2) DEFAULT 0 NOT NULL",
            Alteration("add", "n", type="NUMERIC(10, 2)", not_null=True, default=True),
        ),
        ("ADD n INTEGER NOT NULL", Alteration("add", "n", type="INTEGER", not_null=True)),
        ("ADD n INTEGER", Alteration("add", "n", type="INTEGER")),
        ("MODIFY a INT NOT NULL", Alteration("type", "a", type="INT", not_null=True)),
        (
            "CHANGE a b VARCHAR(5) CHARACTER SET utf8mb4 NULL",
            Alteration("type", "a", type="VARCHAR(5)"),
        ),
        ("ADD CONSTRAINT c CHECK (a > 0)", Alteration("other")),
        ("DROP CONSTRAINT c", Alteration("other")),
        ("DROP PRIMARY KEY", Alteration("other")),
        ("RENAME INDEX a TO b", Alteration("other")),
        ("OWNER TO somebody", Alteration("other")),
    ],
)
def test_what_an_alter_table_does(action: str, expected: Alteration) -> None:
    assert altered_table(f"ALTER TABLE item {action}") == ("", "item", (expected,))


def test_several_actions_of_one_alter_table() -> None:
    assert altered_table("ALTER TABLE IF EXISTS ONLY s.item DROP a, ADD b INT, DROP c") == (
        "s",
        "item",
        (Alteration("drop", "a"), Alteration("add", "b", type="INT"), Alteration("drop", "c")),
    )


@pytest.mark.parametrize("statement", ["ALTER TABLE", "ALTER INDEX a RENAME TO b", "", "SELECT 1"])
def test_anything_else_alters_no_table(statement: str) -> None:
    assert altered_table(statement) == ("", "", ())
