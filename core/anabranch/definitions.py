"""SQLite's table definitions: what a rebuild through reflection leaves out of the new one.

SQLAlchemy reflects neither AUTOINCREMENT, COLLATE and ON CONFLICT nor constraints without a name,
so Alembic's batch mode writes a table without them. Here they are put back into its CREATE TABLE.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from anabranch.statements import Token, folded, quoted, split, tokens, words

_TABLE_PARTS = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"}
_CLAUSES = {
    "CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE", "REFERENCES",
    "GENERATED", "AS",
}  # fmt: skip
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Clause:
    """A clause of a column, or a constraint of a table: its kind, its name if it has one.

    :ivar kind: the first keyword: ``PRIMARY``, ``NOT``, ``UNIQUE``, ``CHECK``, ``DEFAULT``...
    """

    kind: str
    name: str
    found: tuple[Token, ...]
    source: str

    @property
    def text(self) -> str:
        """What is written, the name not among it."""
        return self.source[self.found[0].start : self.found[-1].end]

    @cached_property
    def conflict(self) -> str:
        """What a violation does, where ON CONFLICT says it."""
        for place, token in enumerate(self.found[:-2]):
            if token.depth == self.found[0].depth and words(self.found[place:], "ON", "CONFLICT"):
                return self.found[place + 2].word
        return ""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns in the first parentheses, folded."""
        inner = _inside(self.found)
        return tuple(folded(part[0].name) for part in split(inner) if part)

    def mentions(self, names: Collection[str]) -> set[str]:
        """Return those of *names* (folded) that it speaks of."""
        return {folded(token.name) for token in self.found if token.is_name} & set(names)


@dataclass(frozen=True)
class Column:
    """A column as it is written: its name, its type, and the clauses after that."""

    name: str
    type: str
    clauses: tuple[Clause, ...]
    written: str

    def clause(self, kind: str) -> Clause | None:
        return next((clause for clause in self.clauses if clause.kind == kind), None)

    @property
    def is_generated(self) -> bool:
        return self.clause("GENERATED") is not None or self.clause("AS") is not None

    @property
    def expression(self) -> str:
        """What a generated column is computed from, as written."""
        clause = self.clause("GENERATED") or self.clause("AS")
        inner = _inside(clause.found) if clause else ()
        return clause.source[inner[0].start : inner[-1].end] if clause and inner else ""

    @property
    def collation(self) -> str:
        clause = self.clause("COLLATE")
        return clause.found[1].name.upper() if clause and len(clause.found) > 1 else ""

    @property
    def affinity(self) -> str:
        """SQLite's type affinity."""
        text = self.type.upper()
        for affinity, marks in _AFFINITIES.items():
            if any(mark in text for mark in marks):
                return affinity
        return "NUMERIC" if text else "BLOB"

    def is_like(self, other: Column) -> bool:
        """Tell whether both have one type, however each spells it."""
        return self.affinity == other.affinity and _NUMBER.findall(self.type) == _NUMBER.findall(
            other.type
        )


_AFFINITIES = {
    "INTEGER": ("INT",),
    "TEXT": ("CHAR", "CLOB", "TEXT"),
    "BLOB": ("BLOB",),
    "REAL": ("REAL", "FLOA", "DOUB"),
}


@dataclass(frozen=True)
class Definition:
    """A CREATE TABLE taken apart; columns by name folded."""

    head: str
    columns: Mapping[str, Column]
    constraints: tuple[Clause, ...]
    tail: str

    @classmethod
    def parse(cls, statement: str) -> Definition | None:
        """Read a CREATE TABLE; None for one without a list of columns."""
        found = tokens(statement)
        opening = next((i for i, token in enumerate(found) if token.text == "("), None)
        closing = next(
            (i for i, t in enumerate(found) if t.text == ")" and t.depth == 0), len(found)
        )
        if opening is None or closing == len(found):
            return None
        columns: dict[str, Column] = {}
        constraints: list[Clause] = []
        for part in split(found[opening + 1 : closing]):
            if part[0].word in _TABLE_PARTS:
                constraints += _clauses(part, statement)
            else:
                columns[folded(part[0].name)] = _column(part, statement)
        head = statement[: found[opening].start].rstrip()
        return cls(head, columns, tuple(constraints), statement[found[closing].end :].strip())

    def all(self, kind: str) -> Iterator[tuple[Clause, tuple[str, ...]]]:
        """Yield the constraints of *kind*, wherever they are written, with their columns."""
        for name, column in self.columns.items():
            for clause in column.clauses:
                if clause.kind == kind:
                    yield clause, (name,)
        for clause in self.constraints:
            if clause.kind == kind:
                yield clause, clause.columns

    @property
    def primary_key(self) -> tuple[Clause, tuple[str, ...]] | None:
        return next(self.all("PRIMARY"), None)

    @property
    def autoincrement(self) -> bool:
        found = self.primary_key
        return found is not None and any(t.word == "AUTOINCREMENT" for t in found[0].found)

    @property
    def options(self) -> set[str]:
        """WITHOUT ROWID and STRICT, where they are said."""
        return {" ".join(token.word for token in part) for part in split(tokens(self.tail))} - {""}

    def render(self) -> str:
        """Return it as a statement again."""
        parts = [
            " ".join(filter(None, (c.written, c.type, *map(_named, c.clauses))))
            for c in self.columns.values()
        ]
        parts += map(_named, self.constraints)
        return f"{self.head} (\n\t" + ", \n\t".join(parts) + f"\n) {self.tail}".rstrip()


def ordered(statement: str, old: Definition) -> str:
    """Return Alembic's CREATE TABLE with its constraints in the order of *old*.

    Alembic keeps them in sets: the same revision would write another text on each site.
    """
    found = tokens(statement)
    opening = next((i for i, token in enumerate(found) if token.text == "("), len(found))
    closing = next((i for i, t in enumerate(found) if t.text == ")" and t.depth == 0), 0)
    parts = [
        part
        for part in split(found[opening + 1 : closing])
        if part and part[0].word in _TABLE_PARTS
    ]
    names = [clause.name for clause in old.constraints]

    def place(part: Sequence[Token]) -> tuple[bool, int, str]:
        kind = part[2 if part[0].word == "CONSTRAINT" and len(part) > 2 else 0].word
        name = part[1].name if part[0].word == "CONSTRAINT" and len(part) > 2 else ""
        number = names.index(name) if name and name in names else len(names)
        return kind != "PRIMARY", number, _written(part, statement)

    text = statement
    for part, new in reversed(list(zip(parts, sorted(parts, key=place), strict=True))):
        text = text[: part[0].start] + _written(new, statement) + text[part[-1].end :]
    return text


def _written(part: Sequence[Token], statement: str) -> str:
    return statement[part[0].start : part[-1].end]


def completed(
    new: Definition, old: Definition, *, uniques: Collection[frozenset[str]]
) -> Definition:
    """Return *new* with what reflection left out of it and nobody asked to lose.

    :param uniques: the columns, folded, of the unique constraints that reflection finds: if
        *new* is without one of them, that is meant.
    """
    columns = {
        name: _completed_column(column, old.columns[name]) if name in old.columns else column
        for name, column in new.columns.items()
    }
    constraints = [
        *new.constraints,
        *(_loose(check) for check in lost_checks(new, old) if _is_safe(check, new, old)),
        *(_unique(clause, of) for clause, of in _lost_uniques(new, old, uniques)),
    ]
    merged = Definition(new.head, columns, tuple(constraints), _options(new, old))
    return _with_conflicts(_with_autoincrement(merged, old), old)


def losses(
    new: Definition,
    old: Definition,
    renamed: Mapping[str, str],
    *,
    uniques: Collection[frozenset[str]],
) -> Iterator[str]:
    """Say what *new* is without, though *old* has it and nobody asked to lose it.

    :param renamed: new names, folded, of columns of *old*.
    """
    if old.autoincrement and not new.autoincrement and _same_key(new, old, renamed):
        yield "AUTOINCREMENT"
    for name, column in old.columns.items():
        now = new.columns.get(renamed.get(name, name))
        if now is None:
            continue
        if _keeps_collation(now, column) and not now.collation:
            yield f"COLLATE {column.collation} of {column.name}"
        if column.is_generated and not now.is_generated and column.is_like(now):
            yield f"the expression of the generated column {column.name}"
    moved = {column for column, name in renamed.items() if column != name}
    for check in lost_checks(new, old, renamed):
        yield f"{check.text}" + (" (a column was renamed)" if check.mentions(moved) else "")
    for _, of in _lost_uniques(new, old, uniques, renamed):
        yield f"UNIQUE ({', '.join(of)})"
    yield from _lost_conflicts(new, old, renamed)
    yield from sorted(old.options - new.options)


def lost_checks(
    new: Definition, old: Definition, renamed: Mapping[str, str] | None = None
) -> list[Clause]:
    """Return the CHECKs without a name that *new* is without.

    Reflection finds none of them. If *new* has one that *old* has not, the author knows that and
    wrote those that are to stay.
    """
    here = {_normal(check) for check, _ in new.all("CHECK") if not check.name}
    there = [check for check, _ in old.all("CHECK") if not check.name]
    if here - {_normal(check) for check in there}:
        return []
    gone = {name for name in old.columns if (renamed or {}).get(name, name) not in new.columns}
    return [c for c in there if _normal(c) not in here and not c.mentions(gone)]


def _is_safe(check: Clause, new: Definition, old: Definition) -> bool:
    """Tell whether every column that *check* speaks of is what it was."""
    return all(
        name in new.columns and new.columns[name].is_like(old.columns[name])
        for name in check.mentions(old.columns)
    )


def _lost_uniques(
    new: Definition,
    old: Definition,
    reflected: Collection[frozenset[str]],
    renamed: Mapping[str, str] | None = None,
) -> list[tuple[Clause, tuple[str, ...]]]:
    here = {frozenset(of) for _, of in new.all("UNIQUE")}
    renamed = renamed or {}
    return [
        (clause, of)
        for clause, of in old.all("UNIQUE")
        if frozenset(of) not in reflected
        and (now := frozenset(renamed.get(name, name) for name in of)) not in here
        and now <= set(new.columns)
    ]


def _keeps_collation(new: Column, old: Column) -> bool:
    return old.collation not in ("", "BINARY") and new.affinity == "TEXT"


def _completed_column(new: Column, old: Column) -> Column:
    clauses = list(new.clauses)
    default, was = new.clause("DEFAULT"), old.clause("DEFAULT")
    if default and was and _normal(was) == ("DEFAULT", "(", *_normal(default)[1:], ")"):
        # Without its parentheses an expression is no default.
        clauses[clauses.index(default)] = was
    collation = old.clause("COLLATE")
    if collation and _keeps_collation(new, old) and not new.collation:
        clauses.append(collation)
    return replace(new, clauses=tuple(clauses))


def _same_key(new: Definition, old: Definition, renamed: Mapping[str, str]) -> bool:
    here, there = new.primary_key, old.primary_key
    return bool(
        here
        and there
        and here[1] == tuple(renamed.get(name, name) for name in there[1])
        and new.columns[here[1][0]].type.upper() == "INTEGER"
    )


def _with_autoincrement(new: Definition, old: Definition) -> Definition:
    if not old.autoincrement or new.autoincrement or not _same_key(new, old, {}):
        return new
    assert new.primary_key is not None
    key, (name,) = new.primary_key
    column = new.columns[name]
    clause = replace(key, found=tokens(text := "PRIMARY KEY AUTOINCREMENT"), source=text)
    clauses = (*(c for c in column.clauses if c.kind != "PRIMARY"), clause)
    return replace(
        new,
        columns={**new.columns, name: replace(column, clauses=clauses)},
        constraints=tuple(c for c in new.constraints if c.kind != "PRIMARY"),
    )


def _lost_conflicts(new: Definition, old: Definition, renamed: Mapping[str, str]) -> Iterator[str]:
    for kind, what in (("NOT", "NOT NULL"), ("UNIQUE", "UNIQUE"), ("PRIMARY", "PRIMARY KEY")):
        conflicts = {frozenset(of): clause.conflict for clause, of in new.all(kind)}
        for clause, of in old.all(kind):
            now = conflicts.get(frozenset(renamed.get(name, name) for name in of))
            if clause.conflict and now == "":
                yield f"ON CONFLICT {clause.conflict} of {what} ({', '.join(of)})"


def _with_conflicts(new: Definition, old: Definition) -> Definition:
    """Give constraints that both have the conflict clause of *old*, where *new* says none."""
    conflicts = {
        (clause.kind, frozenset(of)): clause.conflict
        for kind in ("NOT", "UNIQUE", "PRIMARY")
        for clause, of in old.all(kind)
    }

    def mended(clause: Clause, of: tuple[str, ...]) -> Clause:
        conflict = conflicts.get((clause.kind, frozenset(of)), "")
        if not conflict or clause.conflict:
            return clause
        # Before AUTOINCREMENT, which is the last word of a key.
        before, last, after = clause.text.partition(" AUTOINCREMENT")
        text = f"{before} ON CONFLICT {conflict}{last}{after}"
        return replace(clause, found=tokens(text), source=text)

    columns = {
        name: replace(column, clauses=tuple(mended(clause, (name,)) for clause in column.clauses))
        for name, column in new.columns.items()
    }
    constraints = tuple(mended(clause, clause.columns) for clause in new.constraints)
    return replace(new, columns=columns, constraints=constraints)


def _options(new: Definition, old: Definition) -> str:
    return ", ".join(filter(None, (new.tail, *sorted(old.options - new.options))))


def _unique(clause: Clause, of: Sequence[str]) -> Clause:
    """Return a unique constraint of a column as one of the table."""
    if _inside(clause.found):
        return clause
    columns = ", ".join(map(quoted, of))
    text = f"UNIQUE ({columns})" + (f" ON CONFLICT {clause.conflict}" if clause.conflict else "")
    return Clause("UNIQUE", clause.name, tokens(text), text)


def _loose(check: Clause) -> Clause:
    """Return *check* as it may stand at the end of a table."""
    return replace(check, name="")


def _named(clause: Clause) -> str:
    return f"CONSTRAINT {quoted(clause.name)} {clause.text}" if clause.name else clause.text


def _normal(clause: Clause) -> tuple[str, ...]:
    return tuple(t.name.upper() if t.is_name else t.text for t in clause.found)


def _inside(found: Sequence[Token]) -> Sequence[Token]:
    """Return what stands in the first parentheses."""
    opening = next((i for i, token in enumerate(found) if token.text == "("), len(found))
    inner = found[opening + 1 :]
    level = found[opening].depth if inner else 0
    closing = next((i for i, t in enumerate(inner) if t.text == ")" and t.depth == level), 0)
    return inner[:closing]


def _column(part: tuple[Token, ...], statement: str) -> Column:
    end = 1
    while end < len(part) and not (part[end].depth == part[0].depth and part[end].word in _CLAUSES):
        end += 1
    written = statement[part[1].start : part[end - 1].end] if end > 1 else ""
    return Column(part[0].name, written, _clauses(part[end:], statement), part[0].text)


def _clauses(found: Sequence[Token], statement: str) -> tuple[Clause, ...]:
    """Take the clauses after a column's type apart, or a constraint of a table."""
    clauses: list[Clause] = []
    place, name = 0, ""
    while place < len(found):
        if found[place].word == "CONSTRAINT" and place + 1 < len(found):
            name, place = found[place + 1].name, place + 2
            continue
        end = _end(found, place)
        clauses.append(Clause(found[place].word, name, tuple(found[place:end]), statement))
        place, name = end, ""
    return tuple(clauses)


def _end(found: Sequence[Token], start: int) -> int:
    """Return where the clause that begins at *start* ends."""
    kind, level = found[start].word, found[start].depth
    place = start + (2 if kind in {"NOT", "DEFAULT", "PRIMARY", "FOREIGN"} else 1)
    while place < len(found):
        token = found[place]
        if token.depth == level and token.word in _CLAUSES and not _belongs(found, place, kind):
            break
        place += 1
    return min(place, len(found))


def _belongs(found: Sequence[Token], place: int, kind: str) -> bool:
    """Tell whether a keyword continues the clause it stands in, of *kind*."""
    word, before = found[place].word, found[place - 1].word
    if kind == "GENERATED":
        return word == "AS"
    if kind == "FOREIGN" and word == "REFERENCES":
        return True
    if kind in {"REFERENCES", "FOREIGN"}:
        return before == "SET" or words(found[place:], "NOT", "DEFERRABLE")
    return False
