"""From operations to the text of a revision file."""

from __future__ import annotations

import ast
import keyword
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import ops
from mako.template import Template
from sqlalchemy.sql.functions import GenericFunction

from anabranch.authoring.enums import Enums
from anabranch.authoring.portable import portable_default, portable_type
from anabranch.authoring.values import NewValues
from anabranch.discovery import find_module

_SLUG_LENGTH = 40


def render_file(
    upgrade: ops.UpgradeOps,
    context: MigrationContext,
    *,
    enums: Enums,
    values: Sequence[NewValues],
    revision: str,
    message: str,
    down_revision: str | None,
    branch_labels: tuple[str, ...] | None,
    depends_on: tuple[str, ...],
) -> str:
    """Return the text of a revision file; it is valid Python whatever *message* holds."""
    imports: set[str] = set()
    upgrades = [*enums.create()]
    downgrades = []
    for each in values:
        upgrades += _add_values(each, context, imports)
        downgrades += _keep_values(each, context, imports)
    if not upgrade.is_empty() or not values:
        upgrades.append(_render(upgrade, context, enums, imports))
        downgrades.insert(0, _render(upgrade.reverse(), context, enums, imports, back=True))
    downgrades += enums.drop()
    path = str(find_module("anabranch_migrations")) + "/revision.py.mako"
    text = Template(filename=path).render(  # noqa: S702 - it makes Python, not HTML
        message=docstring(message),
        up_revision=revision,
        comma=str,
        create_date=datetime.now(timezone.utc).isoformat(sep=" ", timespec="microseconds"),
        imports="\n".join(sorted(imports)),
        down_revision=down_revision,
        branch_labels=branch_labels,
        depends_on=depends_on[0] if len(depends_on) == 1 else depends_on or None,
        upgrades=_body(upgrades),
        downgrades=_body(downgrades),
    )
    ast.parse(text)
    return str(text)


def _add_values(new: NewValues, context: MigrationContext, imports: set[str]) -> list[str]:
    # The string goes through text(), which takes a colon for a parameter's.
    statements = [statement.replace(":", "\\:") for statement in new.statements()]
    lines = ["if op.get_context().dialect.name == 'postgresql':"]
    lines += [f"    op.execute({statement!r})" for statement in statements]
    if new.elsewhere.ops:
        lines += [
            "else:",
            textwrap.indent(_render(new.elsewhere, context, Enums(), imports), "    "),
        ]
    return lines


def _keep_values(new: NewValues, context: MigrationContext, imports: set[str]) -> list[str]:
    values = ", ".join(map(ascii, new.added))
    lines = [f"# PostgreSQL cannot take a value from a type: {new.name} keeps {values}."]
    if new.elsewhere.ops:
        body = _render(new.elsewhere.reverse(), context, Enums(), imports)
        lines += [
            "if op.get_context().dialect.name != 'postgresql':",
            textwrap.indent(body, "    "),
        ]
    else:
        lines.append("pass")
    return lines


def _render(
    operations: Any,
    context: MigrationContext,
    enums: Enums,
    imports: set[str],
    *,
    back: bool = False,
) -> str:
    """Return the source of *operations*.

    :param back: whether they put back what the database has now.
    """
    impl: Any = context.impl
    # Any type may have a variant for PostgreSQL; Alembic writes that well only on PostgreSQL.
    impl.render_type = MigrationContext.configure(dialect_name="postgresql").impl.render_type

    def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
        def written() -> str:
            return str(
                impl.render_type(item, autogen_context) or f"{module.split('.')[2]}.{item!r}"
            )

        module = type(item).__module__
        if kind == "type" and not module.startswith("sqlalchemy."):
            autogen_context.imports.add(f"import {module}")
        seen.append(autogen_context)
        if kind == "server_default":
            return (back and portable_default(item)) or _portable(item)
        if kind != "type":
            return False
        if back and (text := portable_type(item, context.dialect, imports, written)):
            return text
        return enums.column_type(item, imports) or False

    seen: list[Any] = []
    code = render_python_code(
        operations, render_as_batch=True, render_item=render_item, migration_context=context
    )
    for autogen_context in seen[-1:]:
        imports |= autogen_context.imports
    lines = [line for line in code.splitlines() if not line.strip().startswith("# ###")]
    return textwrap.dedent("\n".join(lines)).strip() or "pass"


def _body(parts: Sequence[str]) -> str:
    """Return *parts* as they stand in a function whose indentation is there already."""
    return textwrap.indent("\n".join(parts), "    ").lstrip()


def _portable(default: Any) -> str | Literal[False]:
    """Return a server default as the models have it, where Alembic would write one dialect's."""
    value = getattr(default, "arg", None)
    if isinstance(value, sa.True_ | sa.False_):
        return f"sa.{value}()"
    if isinstance(value, GenericFunction) and not len(value.clauses):
        return f"sa.func.{value.name}()"
    return False


def docstring(message: str) -> str:
    """Return *message* so that it stands in a docstring, on one line, and says nothing else."""
    text = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def slug(message: str) -> str:
    """Return *message* as a part of a file name: ASCII words, 40 characters at most."""
    plain = unicodedata.normalize("NFKD", message).encode("ascii", "ignore").decode().lower()
    words = "_".join(re.findall(r"[a-z0-9]+", plain))[:_SLUG_LENGTH].strip("_")
    return f"{words}_" if keyword.iskeyword(words) else words


def in_words(upgrade: ops.UpgradeOps) -> tuple[str, ...]:
    """Say in a line each what *upgrade* does."""
    lines: list[str] = []
    for diff in upgrade.as_diffs():
        # What changes of one column comes as a list.
        changes: Sequence[Any] = [diff] if isinstance(diff, tuple) else diff
        lines += map(_words, changes)
    return tuple(lines)


def _words(diff: Sequence[Any]) -> str:
    verb = str(diff[0]).replace("_", " ")
    subject = diff[-1] if not str(diff[0]).startswith("modify") else None
    if subject is None:
        return f"{verb} {diff[2]}.{diff[3]}"
    if str(diff[0]).endswith("_column"):
        return f"{verb} {diff[2]}.{subject.name}"
    table = getattr(subject, "table", None)
    name = getattr(subject, "name", None)
    if not isinstance(name, str):
        name = ", ".join(column.name for column in getattr(subject, "columns", ()))
    return f"{verb} {name}" + (f" on {table.name}" if table is not None else "")
