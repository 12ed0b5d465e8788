"""SQL statements taken apart: tokens, names, and what an ALTER TABLE does, part by part.

No parser: just enough of SQLite's, PostgreSQL's and MariaDB's grammar to tell what a statement
would take away.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

_TOKEN = re.compile(
    r"""\s+|--[^\n]*|/\*.*?\*/"""
    r"""|[xXeE]?'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]"""
    r"""|\$(\w*)\$.*?\$\1\$|[^\W\d][\w$]*|\d[\w.]*|::|.""",
    re.DOTALL,
)
_BLANK = r"(?:\s+|--[^\n]*\n|/\*.*?\*/)"
_NAME = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[^\W\d][\w$]*)"""
_CREATE = re.compile(
    rf"{_BLANK}*CREATE{_BLANK}+(?:UNIQUE{_BLANK}+|UNLOGGED{_BLANK}+)?(TABLE|INDEX|TRIGGER|VIEW){_BLANK}+"
    rf"(?:CONCURRENTLY{_BLANK}+)?(?:IF{_BLANK}+NOT{_BLANK}+EXISTS{_BLANK}+)?"
    rf"({_NAME})(?:{_BLANK}*\.{_BLANK}*({_NAME}))?",
    re.IGNORECASE | re.DOTALL,
)
_COMMENTS = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
_SKIPPED = re.compile(r"\s|--|/\*")

Change = Literal["drop", "rename", "not null", "type", "add", "move", "other"]


class Token(NamedTuple):
    """A piece of a statement: its text, where that starts, and in how many parentheses it is."""

    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """The keyword this may be; empty for anything quoted."""
        return self.text.upper() if self.text[0].isalpha() else ""

    @property
    def is_name(self) -> bool:
        return self.text[0] in '"`[_' or self.text[0].isalpha()

    @property
    def may_name(self) -> bool:
        """Whether this is a name where nothing else can stand: SQLite takes a string for one."""
        return self.is_name or self.text[0] == "'"

    @property
    def name(self) -> str:
        """The name this is, without its quotes."""
        return unquoted(self.text)


@dataclass(frozen=True, slots=True)
class Alteration:
    """One action of an ALTER TABLE.

    :ivar column: the column it speaks of; for ``move`` the table's new name.
    :ivar type: the new type, as written; empty if it stays.
    :ivar using: what PostgreSQL is to compute the values from; empty if not said.
    :ivar not_null: whether the column takes no NULL from then on.
    :ivar default: whether it says a default.
    """

    change: Change
    column: str = ""
    type: str = ""
    using: str = ""
    not_null: bool = False
    default: bool = False


def unquoted(text: str) -> str:
    """Return a name without its quotes."""
    if text[0] == "[":
        return text[1:-1]
    if text[0] in "\"`'":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def folded(name: str) -> str:
    """Return *name* as SQLite compares it: only ASCII letters lose their case."""
    return name.lower() if name.isascii() else "".join(c.lower() if c < "\x80" else c for c in name)


def quoted(name: str) -> str:
    """Return *name* in the quotes of standard SQL."""
    return '"' + name.replace('"', '""') + '"'


def tokens(statement: str) -> tuple[Token, ...]:
    """Take *statement* apart; blanks and comments are left out."""
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(statement):
        text = match[0]
        if _SKIPPED.match(text):
            continue
        depth -= text == ")"
        found.append(Token(text, match.start(), depth))
        depth += text == "("
    return tuple(found)


def words(found: Sequence[Token], *expected: str) -> bool:
    """Tell whether *found* begins with these keywords."""
    return len(found) >= len(expected) and all(
        token.word == word for token, word in zip(found, expected, strict=False)
    )


def split(found: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    """Yield what stands between the commas of the outermost level."""
    level = found[0].depth if found else 0
    part: list[Token] = []
    for token in found:
        if token.text == "," and token.depth == level:
            yield tuple(part)
            part = []
        else:
            part.append(token)
    if part:
        yield tuple(part)


def read_name(found: Sequence[Token]) -> tuple[str, str, Sequence[Token]]:
    """Read ``[schema.]name``; return schema, name and what follows."""
    if len(found) > 4 and found[1].text == found[3].text == ".":
        found = found[2:]  # PostgreSQL takes its own database's name before them
    if len(found) > 2 and found[1].text == ".":
        return found[0].name, found[2].name, found[3:]
    return "", found[0].name, found[1:]


def dropped_tables(statement: str) -> tuple[tuple[str, str], ...]:
    """Return schema and name of every table that *statement* drops."""
    found = tokens(statement)
    if not (words(found, "DROP", "TABLE") or words(found, "DROP", "TABLES")):
        return ()
    rest = _without(found[2:], "IF", "EXISTS")
    return tuple(read_name(part)[:2] for part in split(rest) if part and part[0].may_name)


def replaced_table(statement: str) -> tuple[str, str]:
    """Return schema and name of the table that a CREATE OR REPLACE takes the place of."""
    found = tokens(statement) if "REPLACE" in statement.upper() else ()
    if words(found, "CREATE", "OR", "REPLACE", "TABLE") and len(found) > 4:
        return read_name(_without(found[4:], "IF", "NOT", "EXISTS"))[:2]
    return "", ""


def dropped_schemas(statement: str) -> tuple[str, ...]:
    """Return the schemas that *statement* drops; on MariaDB they are databases."""
    found = tokens(statement)
    if not (words(found, "DROP", "SCHEMA") or words(found, "DROP", "DATABASE")):
        return ()
    parts = split(_without(found[2:], "IF", "EXISTS"))
    return tuple(part[0].name for part in parts if part and part[0].is_name)


def dropped_partitions(statement: str) -> tuple[str, str, tuple[str, ...]]:
    """Return schema and name of a table of MariaDB, and which of its partitions are dropped."""
    schema, table, rest = _actions(tokens(statement))
    if not words(rest, "DROP", "PARTITION"):
        return "", "", ()
    parts = split(_without(rest[2:], "IF", "EXISTS"))
    return schema, table, tuple(part[0].name for part in parts if part and part[0].is_name)


def temporary_table(statement: str) -> str:
    """Return the name of the temporary table that *statement* creates; empty for anything else."""
    found = tokens(statement)
    rest = _without(_without(found[1:], "OR", "REPLACE"), "GLOBAL")
    rest = _without(rest, "LOCAL")
    if not (words(found, "CREATE") and (words(rest, "TEMP") or words(rest, "TEMPORARY"))):
        return ""
    rest = _without(rest[2:], "IF", "NOT", "EXISTS") if words(rest[1:], "TABLE") else ()
    return read_name(rest)[1] if rest else ""


def renamed_tables(statement: str) -> tuple[tuple[tuple[str, str], tuple[str, str]], ...]:
    """Return schema and name, the old and the new, of each table that *statement* renames."""
    found = tokens(statement)
    if not (words(found, "RENAME", "TABLE") or words(found, "RENAME", "TABLES")):
        (schema, name), new = renamed_table(statement)
        return (((schema, name), (schema, new)),) if name else ()
    pairs: list[tuple[tuple[str, str], tuple[str, str]]] = []
    for part in split(_without(found[2:], "IF", "EXISTS")):
        to = next((place for place, token in enumerate(part) if token.word == "TO"), 0)
        if to and to + 1 < len(part):
            pairs.append((read_name(part)[:2], read_name(part[to + 1 :])[:2]))
    return tuple(pairs)


def is_cautious(statement: str) -> bool:
    """Tell whether *statement* makes something only IF it does NOT EXIST."""
    return "EXISTS" in statement.upper() and _has(tokens(statement), "IF", "NOT", "EXISTS")


def created(statement: str) -> tuple[str, str, str]:
    """Return what kind of thing a CREATE makes, its schema and its name; empty for anything else.

    Temporary things are nobody's, and none of them.
    """
    match = _CREATE.match(statement)
    if match is None:
        return "", "", ""
    kind, first, second = match.groups(default="")
    schema, name = (first, second) if second else ("", first)
    return kind.upper(), unquoted(schema) if schema else "", unquoted(name)


def dropped(found: Sequence[Token]) -> tuple[str, str]:
    """Return what kind of thing, and which, a DROP of one thing drops."""
    rest = _without(found[2:], "IF", "EXISTS")
    return (found[1].word, read_name(rest)[1]) if rest else ("", "")


def dropped_parts(statement: str) -> tuple[str, str, tuple[str, ...]]:
    """Return schema and name of a table, and which columns, indexes, constraints it loses."""
    found = tokens(statement)
    if words(found, "DROP", "INDEX"):
        rest = _without(found[2:], "IF", "EXISTS")
        if len(rest) > 2 and rest[1].word == "ON":
            return *read_name(rest[2:])[:2], (rest[0].name,)
    schema, table, actions = _actions(found)
    return schema, table, tuple(_spoken_of(actions, {"DROP"}))


def changed_parts(statement: str) -> tuple[str, str, tuple[str, ...]]:
    """Return schema and name of a table, and which of its parts get another definition or name."""
    schema, table, actions = _actions(tokens(statement))
    return schema, table, tuple(_spoken_of(actions, {"MODIFY", "CHANGE", "ALTER", "RENAME"}))


def _spoken_of(actions: Sequence[Token], verbs: Collection[str]) -> Iterator[str]:
    """Yield the names that those of *actions* speak of which have one of *verbs*."""
    for part in split(actions):
        if part and part[0].word in verbs:
            rest = part[1:]
            while rest and rest[0].word in _DROPPED_KINDS:
                rest = rest[1:]
            yield from (token.name for token in rest[:1] if token.may_name)


def renamed_table(statement: str) -> tuple[tuple[str, str], str]:
    """Return schema and name, and the new name, if *statement* renames a table; else nothing."""
    schema, name, parts = altered_table(statement)
    if len(parts) == 1 and parts[0].change == "move":
        return (schema, name), parts[0].column
    return ("", ""), ""


def trigger_event(sql: str) -> str:
    """Return what fires a trigger of SQLite: INSERT, UPDATE or DELETE."""
    found = tokens(sql)
    start = next(i for i, token in enumerate(found) if token.word == "TRIGGER") + 1
    _, _, rest = read_name(_without(found[start:], "IF", "NOT", "EXISTS"))
    return next(t.word for t in rest if t.word in {"INSERT", "UPDATE", "DELETE"})


def trigger_columns(sql: str) -> set[str]:
    """Return the columns, folded, that ``UPDATE OF`` names: SQLite never looks for them."""
    found = tokens(sql)
    start = next((i + 1 for i, token in enumerate(found) if token.word == "OF"), 0)
    end = next((i for i, token in enumerate(found) if token.word == "ON"), 0)
    if start < 2 or found[start - 2].word != "UPDATE" or end < start:
        return set()
    return {folded(token.name) for token in found[start:end] if token.is_name}


def altered_table(statement: str) -> tuple[str, str, tuple[Alteration, ...]]:
    """Return schema and name of the table that *statement* alters, and what it does to it."""
    schema, name, rest = _actions(tokens(statement))
    return schema, name, tuple(_alteration(part, statement) for part in split(rest) if part)


def _actions(found: Sequence[Token]) -> tuple[str, str, Sequence[Token]]:
    """Return schema and name of the table that is altered, and what is said to do to it."""
    while len(found) > 1 and found[1].word in {"IGNORE", "ONLINE"}:
        found = (found[0], *found[2:])
    if not words(found, "ALTER", "TABLE") or len(found) < 3:
        return "", "", ()
    rest = _without(_without(found[2:], "IF", "EXISTS"), "ONLY")
    if not rest or not rest[0].may_name:
        return "", "", ()
    schema, name, rest = read_name(rest)
    if rest and rest[0].text == "*":
        rest = rest[1:]
    if words(rest, "WAIT"):
        rest = rest[2:]
    return schema, name, _without(rest, "NOWAIT")


def _alteration(part: Sequence[Token], statement: str) -> Alteration:
    verb, rest = part[0].word, part[1:]
    if verb == "RENAME" and words(rest, "TO") and len(rest) > 1:
        return Alteration("move", read_name(rest[1:])[1])
    if verb not in {"DROP", "ADD", "ALTER", "RENAME", "MODIFY", "CHANGE"} or not rest:
        return Alteration("other")
    # A column may be called KEY.
    is_column = verb == "DROP" and (len(rest) == 1 or rest[1].word in {"CASCADE", "RESTRICT"})
    if rest[0].word in _OTHER_OBJECTS[verb] and not is_column:
        return Alteration("other")
    rest = _without(rest, "COLUMN")
    rest = _without(_without(rest, "IF", "EXISTS"), "IF", "NOT", "EXISTS")
    if not rest or not rest[0].may_name:
        return Alteration("other")
    column, rest = rest[0].name, rest[1:]
    if verb == "DROP":
        return Alteration("drop", column)
    if verb == "RENAME":
        return Alteration("rename", column)
    if verb == "ALTER":
        return _altered_column(column, rest, statement)
    if verb == "CHANGE":
        rest = rest[1:]
    return Alteration(
        "add" if verb == "ADD" else "type",
        column,
        type=_type(rest, statement),
        not_null=_has(rest, "NOT", "NULL") or _has(rest, "PRIMARY", "KEY"),
        default=any(_has(rest, word) for word in _FILLING),
    )


def _altered_column(column: str, rest: Sequence[Token], statement: str) -> Alteration:
    if words(rest, "SET", "NOT", "NULL"):
        return Alteration("not null", column, not_null=True)
    rest = _without(rest, "SET", "DATA")
    if not words(rest, "TYPE") or len(rest) < 2:
        return Alteration("other")
    rest = rest[1:]
    using = next((i for i, token in enumerate(rest) if token.word == "USING"), len(rest))
    return Alteration(
        "type",
        column,
        type=_type(rest[:using], statement),
        using=statement[rest[using + 1].start : rest[-1].end] if using + 1 < len(rest) else "",
    )


# What these verbs may stand before, besides a column.
_OTHER_OBJECTS = {
    "DROP": {"CONSTRAINT", "INDEX", "KEY", "PRIMARY", "FOREIGN", "CHECK", "PARTITION"},
    "ADD": {
        "CONSTRAINT", "INDEX", "KEY", "PRIMARY", "FOREIGN", "CHECK", "UNIQUE", "FULLTEXT",
        "SPATIAL", "PARTITION",
    },
    "ALTER": {"CONSTRAINT", "INDEX"},
    "RENAME": {"CONSTRAINT", "INDEX", "KEY", "AS", "TO"},
    "MODIFY": set[str](),
    "CHANGE": set[str](),
}  # fmt: skip
_DROPPED_KINDS = {
    "COLUMN", "CONSTRAINT", "INDEX", "KEY", "PRIMARY", "FOREIGN", "CHECK", "IF", "EXISTS",
}  # fmt: skip
# What gives the rows that exist a value in a new column.
_FILLING = ("DEFAULT", "GENERATED", "AS", "AUTO_INCREMENT", "SERIAL", "BIGSERIAL", "SMALLSERIAL")
_AFTER_TYPE = {
    "NOT", "NULL", "DEFAULT", "CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "COLLATE",
    "GENERATED", "AS", "AUTO_INCREMENT", "COMMENT", "FIRST", "AFTER", "STORED", "VIRTUAL",
    "INVISIBLE", "ON", "CHARSET", "ENCODE",
}  # fmt: skip


def _type(rest: Sequence[Token], statement: str) -> str:
    """Return the type that *rest* begins with, as it is written."""
    end = 0
    while end < len(rest) and (rest[end].depth > rest[0].depth or not _ends_type(rest, end)):
        end += 1
    return statement[rest[0].start : rest[end - 1].end] if end else ""


def _ends_type(rest: Sequence[Token], place: int) -> bool:
    if words(rest[place:], "CHARACTER", "SET"):
        return place > 0
    return rest[place].word in _AFTER_TYPE


def _has(found: Sequence[Token], *expected: str) -> bool:
    return any(words(found[place:], *expected) for place in range(len(found)))


def _without(found: Sequence[Token], *optional: str) -> Sequence[Token]:
    return found[len(optional) :] if words(found, *optional) else found


def uncommented(statement: str) -> str:
    """Return *statement* without what people write above it."""
    comments = _COMMENTS.match(statement)
    return statement[comments.end() :] if comments else statement
