"""What a statement of MariaDB does to its transaction, and what it is about."""

from __future__ import annotations

import pytest

from anabranch.effects import effect_of, passing_names, things_of


@pytest.mark.parametrize(
    ("statement", "effect"),
    [
        ("SELECT 1", "read"),
        ("(SELECT 1) UNION SELECT 2", "read"),
        ("SHOW CREATE TABLE a", "read"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "read"),
        ("WITH a AS (SELECT 1) UPDATE b SET c = 1", "write"),
        ("/* why */ UPDATE a SET b = 'SELECT'", "write"),
        ("INSERT INTO a SELECT * FROM passing", "write"),
        ("REPLACE INTO a VALUES (1)", "write"),
        ("CALL p()", "call"),
        ("-- why\nALTER TABLE a ADD b INTEGER", "commit"),
        ("CREATE TABLE a AS SELECT 1", "commit"),
        ("TRUNCATE a", "commit"),
        ("GRANT ALL ON a TO b", "commit"),
        ("SET SESSION sql_mode = ''", "session"),
        ("SET @a = 1", "session"),
        ("SAVEPOINT a", "session"),
        ("SET @a = (SELECT 1)", "passing"),
        ("SELECT a INTO @b FROM c", "passing"),
        ("CREATE TEMPORARY TABLE t (a INTEGER)", "passing"),
        ("INSERT INTO `passing` VALUES (1)", "passing"),
        ("DELETE FROM passing", "passing"),
        ("ALTER TABLE passing ADD b INTEGER", "passing"),
        ("", "commit"),
    ],
)
def test_the_effect_of_a_statement(statement: str, effect: str) -> None:
    assert effect_of(statement, {"passing"}) == effect


def test_a_temporary_table_is_known_from_its_creation_on() -> None:
    temporary: set[str] = set()
    assert effect_of("INSERT INTO t VALUES (1)", temporary) == "write"
    effect_of("CREATE TEMPORARY TABLE IF NOT EXISTS `t` (a INTEGER)", temporary)
    assert effect_of("INSERT INTO t VALUES (1)", temporary) == "passing"


def test_the_names_of_what_goes_with_its_session() -> None:
    assert passing_names("SELECT max(n) INTO @most FROM a WHERE b = @@sql_mode") == {"@most"}
    assert passing_names("CREATE TEMPORARY TABLE `t` (a INTEGER)") == {"t"}
    assert passing_names("INSERT IGNORE INTO t VALUES (@a)") == {"t", "@a"}


@pytest.mark.parametrize(
    ("statement", "things"),
    [
        ("CREATE TABLE IF NOT EXISTS `a b` (x INTEGER)", ["TABLE `a b`"]),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", ["TABLE v"]),
        ("CREATE UNIQUE INDEX i ON t (a, b)", ["TABLE t"]),
        ("DROP INDEX i ON s.t", ["TABLE s.t"]),
        ("ALTER TABLE a ADD COLUMN x INTEGER, RENAME TO b", ["TABLE a", "TABLE b"]),
        ("ALTER TABLE s.a RENAME b", ["TABLE s.a", "TABLE b"]),
        ("ALTER TABLE a RENAME COLUMN x TO y, RENAME INDEX i TO j", ["TABLE a"]),
        ("RENAME TABLE a TO b, c TO a", ["TABLE a", "TABLE b", "TABLE c"]),
        ("DROP TABLE IF EXISTS a, s.`b`", ["TABLE a", "TABLE s.`b`"]),
        ("CREATE DEFINER=`r`@`h` TRIGGER t AFTER DELETE ON a FOR EACH ROW DO 1", ["TRIGGER t"]),
        ("CREATE PROCEDURE p() UPDATE a SET b = 1", ["PROCEDURE p"]),
        ("CREATE USER 'u'@'h' IDENTIFIED BY 'x'", ["USER 'u'@'h'"]),
        ("TRUNCATE a", []),
        ("OPTIMIZE TABLE a", []),
        ("DROP", []),
    ],
)  # fmt: skip
def test_what_a_statement_is_about(statement: str, things: list[str]) -> None:
    assert [" ".join(thing) for thing in things_of(statement)] == things
