"""What foreign keys of SQLite tables do, where reflection does not see it.

SQLAlchemy reads ON DELETE, ON UPDATE and DEFERRABLE of a foreign key that is written as a
constraint of the table, and not of one that is written with its column: there Alembic's batch mode
leaves them out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from anabranch.definitions import Clause, Definition
from anabranch.statements import Token, folded, read_name, tokens, words


@dataclass(frozen=True, slots=True)
class _Key:
    """A foreign key: its columns and its target, folded, and what it does, as it is written.

    :ivar is_plain: whether nothing at all is said of that.
    """

    clause: Clause
    columns: tuple[str, ...]
    target: str
    does: str
    is_plain: bool

    def is_of(self, other: _Key, renamed: Mapping[str, str]) -> bool:
        """Tell whether this is what became of *other*, of which columns were renamed."""
        columns = tuple(renamed.get(name, name) for name in other.columns)
        return (self.columns, self.target) == (columns, other.target)


def with_actions(
    new: Definition, old: Definition, unseen: Collection[frozenset[str]]
) -> Definition:
    """Return *new* with what reflection left out of its foreign keys.

    One that the script gave a name is the script's own.

    :param unseen: the columns, folded, of the foreign keys of which reflection saw no action.
    """
    hidden = list(_hidden(old, unseen))

    def mended(clause: Clause) -> Clause:
        now = next((key for key in keys if key.clause is clause), None)
        if now is None or not now.is_plain or clause.name:
            return clause
        text = next((f"{clause.text} {key.does}" for key in hidden if now.is_of(key, {})), "")
        return replace(clause, found=tokens(text), source=text) if text else clause

    keys = list(_keys(new))
    columns = {
        name: replace(column, clauses=tuple(map(mended, column.clauses)))
        for name, column in new.columns.items()
    }
    return replace(new, columns=columns, constraints=tuple(map(mended, new.constraints)))


def lost_actions(
    new: Definition,
    old: Definition,
    unseen: Collection[frozenset[str]],
    renamed: Mapping[str, str],
) -> Iterator[str]:
    """Say what foreign keys of *new* no more do, though nobody asked for that.

    :param renamed: new names, folded, of columns of *old*.
    """
    keys = list(_keys(new))
    for key in _hidden(old, unseen):
        if any(now.is_plain and now.is_of(key, renamed) for now in keys):
            yield f"{key.does} of the foreign key ({', '.join(key.columns)})"


def _hidden(old: Definition, unseen: Collection[frozenset[str]]) -> Iterator[_Key]:
    for key in _keys(old):
        if key.does and frozenset(key.columns) in unseen:
            yield key


def _keys(definition: Definition) -> Iterator[_Key]:
    for kind in ("REFERENCES", "FOREIGN"):
        for clause, columns in definition.all(kind):
            place = next(i for i, token in enumerate(clause.found) if token.word == "REFERENCES")
            _, target, rest = read_name(clause.found[place + 1 :])
            if rest and rest[0].text == "(":
                closing = next(i for i, token in enumerate(rest) if token.text == ")")
                rest = rest[closing + 1 :]
            yield _Key(clause, columns, folded(target), _does(rest), not rest)


def _does(found: Sequence[Token]) -> str:
    """Return what stands after a foreign key's target, without what changes nothing."""
    parts: list[str] = []
    place = 0
    while place < len(found):
        here = found[place:]
        if words(here, "ON"):
            size = 4 if here[2:3] and here[2].word in {"SET", "NO"} else 3
            said = " ".join(token.word for token in here[:size])
            parts += [said] if not said.endswith("NO ACTION") else []
        elif words(here, "NOT", "DEFERRABLE"):
            break
        elif words(here, "DEFERRABLE", "INITIALLY", "DEFERRED"):
            parts.append("DEFERRABLE INITIALLY DEFERRED")
            break
        else:  # MATCH, of which SQLite takes no notice
            size = 1
        place += size
    return " ".join(parts)
