"""What a statement of MariaDB or MySQL does to the transaction it is sent in, and to what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from anabranch.statements import Token, read_name, split, tokens, words

Effect = Literal["read", "write", "call", "commit", "session", "passing"]
"""What only asks, what a rollback undoes, what may do anything, what commits by itself, what must
be
done again in each session, and what goes with its session for good, as temporary tables do."""

_EFFECTS: dict[str, Effect] = {
    **dict.fromkeys(
        ("SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "TABLE", "VALUES", "CHECKSUM"), "read"
    ),
    **dict.fromkeys(("INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD"), "write"),
    **dict.fromkeys(("CALL", "EXECUTE", "DO"), "call"),
    **dict.fromkeys(
        (
            *("SET", "USE", "PREPARE", "DEALLOCATE", "HANDLER", "LOCK", "UNLOCK", "XA"),
            *("BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"),
        ),
        "session",
    ),
}
_QUERY = re.compile(r"@.*\bSELECT\b", re.IGNORECASE | re.DOTALL)
_VARIABLE = re.compile(r"(?<!@)@\w+")
_HEAD = 1000  # characters that hold the verb and its table
# What "SHOW CREATE" knows; a view and a sequence are tables to it.
_KINDS = {
    "TABLE": "TABLE",
    "VIEW": "TABLE",
    "SEQUENCE": "TABLE",
    "INDEX": "TABLE",
    "TRIGGER": "TRIGGER",
    "PROCEDURE": "PROCEDURE",
    "FUNCTION": "FUNCTION",
    "EVENT": "EVENT",
    "DATABASE": "DATABASE",
    "SCHEMA": "DATABASE",
    "USER": "USER",
}

Thing = tuple[str, str]
"""A kind that ``SHOW CREATE`` knows, and a name as it was written."""


def effect_of(statement: str, temporary: set[str]) -> Effect:
    """Tell what *statement* does to its transaction.

    :param temporary: the temporary tables there are; one that *statement* creates is added.
    """
    found = _main(statement[:_HEAD])
    verb = found[0].word if found else ""
    if verb in {"", "WITH", "SELECT"}:  # not for what may have a thousand rows in it
        found = _main(statement)
        verb = found[0].word if found else ""
    if verb == "WITH":
        main = (t.word for t in found if t.depth == found[0].depth and t.word in _EFFECTS)
        verb = next(main, "SELECT")
    if verb == "SELECT" and any(t.word == "INTO" and t.depth == found[0].depth for t in found):
        return "passing"  # into a variable
    if verb == "SET" and _QUERY.search(statement):
        return "passing"
    if verb in {"CREATE", "DROP"} and any(t.word == "TEMPORARY" for t in found[1:4]):
        temporary.update(_tables(statement))
        return "passing"
    effect = _EFFECTS.get(verb, "commit")
    if effect == "write" and temporary and _target(found) in temporary:
        return "passing"
    if effect == "commit" and temporary and temporary.issuperset(_tables(statement) or {""}):
        return "passing"
    return effect


def passing_names(statement: str) -> set[str]:
    """Return the temporary tables and the variables that a ``passing`` statement is about."""
    names = set(_VARIABLE.findall(statement)) | _tables(statement)
    if target := _target(_main(statement[:_HEAD])):
        names.add(target)
    return names


def _tables(statement: str) -> set[str]:
    return {name.strip("`") for _, name in things_of(statement)}


def _main(statement: str) -> Sequence[Token]:
    found = tokens(statement)
    opened = next((i for i, token in enumerate(found) if token.text != "("), len(found))
    return found[opened:]


def _target(found: Sequence[Token]) -> str:
    """Return the table that INSERT, REPLACE, UPDATE or DELETE writes to; empty for all others."""
    if not found or _EFFECTS.get(found[0].word) != "write":
        return ""
    skipped = {
        *("INSERT", "REPLACE", "UPDATE", "DELETE", "INTO", "FROM", "IGNORE", "QUICK"),
        *("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED"),
    }
    rest = [token for token in found if token.word not in skipped]
    return read_name(rest)[1] if rest else ""


def things_of(statement: str) -> tuple[Thing, ...]:
    """Return what *statement* creates, alters, renames or drops, where "SHOW CREATE" knows it."""
    found: Sequence[Token] = tokens(statement)
    if words(found, "RENAME", "TABLE"):
        rest = found[2:]
        pairs = [part for part in split(rest) if part]
        return tuple(("TABLE", name) for name in dict.fromkeys(n for p in pairs for n in _pair(p)))
    if not found or found[0].word not in {"CREATE", "ALTER", "DROP"}:
        return ()
    place = next((i for i, token in enumerate(found) if token.word in _KINDS), len(found))
    if place >= len(found) - 1:
        return ()
    word, rest = found[place].word, found[place + 1 :]
    if word == "INDEX":
        after = (i for i, token in enumerate(rest) if token.word == "ON")
        rest = rest[next(after, len(rest)) + 1 :]
    for optional in (("IF", "NOT", "EXISTS"), ("IF", "EXISTS")):
        if words(rest, *optional):
            rest = rest[len(optional) :]
    if not rest:
        return ()
    kind = _KINDS[word]
    if found[0].word == "DROP" and word != "INDEX":
        return tuple((kind, _written(part)) for part in split(rest) if part)
    names = [_written(rest)]
    if found[0].word == "ALTER" and kind == "TABLE":
        names += [_written(part[1:]) for part in split(rest) if _renames(part)]
        # The first part begins with the table's name.
        first = next(iter(split(rest)))[_length(rest) :]
        names += [_written(first[1:])] if _renames(first) else []
    return tuple((kind, name) for name in dict.fromkeys(names))


def _renames(part: Sequence[Token]) -> bool:
    """Tell whether *part* of an ALTER TABLE gives the table another name."""
    return (
        len(part) > 1
        and part[0].word == "RENAME"
        and part[1].word not in {"COLUMN", "INDEX", "KEY", "CONSTRAINT"}
    )


def _pair(part: Sequence[Token]) -> list[str]:
    after = next((i for i, token in enumerate(part) if token.word == "TO"), len(part))
    return [_written(side) for side in (part, part[after + 1 :]) if side]


def _length(rest: Sequence[Token]) -> int:
    return 3 if len(rest) > 2 and rest[1].text in {".", "@"} else 1


def _written(rest: Sequence[Token]) -> str:
    """Return the name at the start of *rest* as it is written, its schema included."""
    if rest and rest[0].word in {"TO", "AS"}:
        rest = rest[1:]
    return "".join(token.text for token in rest[: _length(rest)])
