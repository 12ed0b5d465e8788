"""What one database says of a column, as a script says it that runs on others too.

A downgrade puts back what the models have no more, so only the database can tell of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError

_EVERYWHERE = [sa.make_url(f"{name}://").get_dialect()() for name in ("sqlite", "postgresql")]
_SAME_SERVER = {"mysql": ("mysql", "mariadb"), "mariadb": ("mysql", "mariadb")}

_CAST = re.compile(
    r"('(?:[^']|'')*')|::(?:\"[^\"]+\"|[a-z_][\w.]*)"
    r"(?: varying| precision| with(?:out)? time zone)?(?:\(\d+(?:, ?\d+)?\))?(?:\[\])*",
)
_PLAIN = re.compile(r"'(?:[^']|'')*'|-?\d+(?:\.\d+)?|NULL|CURRENT_\w+", re.IGNORECASE)
_TRUTHS = {"true": "true", "1": "true", "false": "false", "0": "false"}
_COLON = "\\:"  # text() takes a bare one for a parameter's


def portable_type(
    type_: Any, dialect: Any, imports: set[str], written: Callable[[], str]
) -> str | None:
    """Return how a script writes a type that *dialect* reflected; None to leave it as it is.

    On other databases it is the nearest that all have, at worst a text. An enumerated type of
    PostgreSQL is taken to exist there: dropping its columns does not drop it.

    :param written: returns what Alembic writes for a type of a dialect.
    """
    module = type(type_).__module__
    if not type(type_).__name__.isupper() or not module.startswith("sqlalchemy."):
        return None  # the models' own
    name = dialect.name
    if isinstance(type_, postgresql.ENUM):
        generic: Any = sa.Enum(*type_.enums, name=type_.name)
        schema = f", schema={type_.schema!r}" if type_.schema else ""
        own = f"postgresql.ENUM(name={type_.name!r}{schema}, create_type=False)"
    else:
        generic = _generic(type_)
        if _same(generic, type_, dialect):
            return f"sa.{generic!r}"
        if not module.startswith("sqlalchemy.dialects."):
            return None
        own = written()
    imports.add(f"from sqlalchemy.dialects import {own.partition('.')[0]}")
    names = ", ".join(map(repr, _SAME_SERVER.get(name, (name,))))
    return f"sa.{generic!r}.with_variant({own}, {names})"


def _generic(type_: Any) -> Any:
    """Return the type without a dialect that is nearest to *type_*, and runs everywhere."""
    try:
        generic = type_.as_generic()
        for dialect in _EVERYWHERE:
            generic.compile(dialect)
    except (NotImplementedError, CompileError):
        return sa.Text()
    return generic


def _same(generic: Any, type_: Any, dialect: Any) -> bool:
    try:
        return bool(generic.compile(dialect) == type_.compile(dialect))
    except CompileError:
        return False


def portable_default(default: Any) -> str | None:
    """Return how a script writes a reflected server default; None to leave it as it is."""
    text = getattr(default, "arg", None)
    if not isinstance(text, sa.TextClause):
        return None
    plain = _CAST.sub(lambda match: match[1] or "", text.text)
    column = getattr(default, "column", None)
    if column is not None and isinstance(column.type, sa.Boolean) and plain in _TRUTHS:
        return f"sa.{_TRUTHS[plain]}()"
    if plain in ("now()", "current_timestamp()"):
        return "sa.func.now()"
    return f"sa.text({plain.replace(':', _COLON)!r})" if _PLAIN.fullmatch(plain) else None
