"""What a revision's source says it will do, in words and as data, without running it.

Scripts are arbitrary code that may write files or call services: to look at a plan must not run
them, and the packages they import need not even load. So the source is read, not executed. It says
less than a run does: a table's name may be computed, a step may depend on the data. Such operations
are marked as uncertain, and nothing is decided by them alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anabranch.revision import Revision
from anabranch.statements import altered_table, dropped_tables

CODE = "code"
SQL = "sql"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, in the order of the source.

    :ivar verb: Alembic's name for it (``drop_column``), ``sql`` for a statement written out, or
        ``code`` for anything else that may change the database.
    :ivar table: the table it speaks of; empty where it speaks of none or cannot be known.
    :ivar name: the column, index, constraint or new name it speaks of; may be empty.
    :ivar schema: the table's schema; empty for the connection's own.
    :ivar words: what it does, for people: ``drop column item.price``.
    :ivar certain: whether it always runs, and with these very names.
    :ivar sql: the statement, for ``sql``; empty where it is computed.
    :ivar options: its other arguments, and a new column's, by name, as the source writes them.
    """

    verb: str
    table: str
    name: str
    words: str
    certain: bool
    schema: str = ""
    sql: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def read_operations(revision: Revision, function: str = "upgrade") -> tuple[Operation, ...]:
    """Read what *function* of a revision's file does.

    Nothing where the file cannot be read; ``code`` where the file makes the function otherwise than
    with a plain ``def``.
    """
    try:
        tree = ast.parse(Path(revision.path).read_bytes(), filename=revision.path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return _Reader(tree).read(function)


@dataclass(frozen=True, slots=True)
class _Text:
    """A string of the source; computed parts stand in braces and make it inexact."""

    text: str
    exact: bool = True


# The arguments of operations: which names the table, which the thing; by place or keyword.
_TABLE = ("table_name", "source_table", "old_table_name", "name")
_SIGNATURES: dict[str, tuple[str, ...]] = {
    "create_table": ("table_name",),
    "drop_table": ("table_name", "schema"),
    "rename_table": ("old_table_name", "new_table_name", "schema"),
    "create_table_comment": ("table_name", "comment"),
    "drop_table_comment": ("table_name",),
    "add_column": ("table_name", "column", "schema"),
    "drop_column": ("table_name", "column_name", "schema"),
    "alter_column": ("table_name", "column_name"),
    "create_index": ("index_name", "table_name", "columns", "schema"),
    "drop_index": ("index_name", "table_name", "schema"),
    "create_unique_constraint": ("constraint_name", "table_name", "columns", "schema"),
    "create_check_constraint": ("constraint_name", "table_name", "condition", "schema"),
    "create_primary_key": ("constraint_name", "table_name", "columns", "schema"),
    "create_foreign_key": (
        "constraint_name",
        "source_table",
        "referent_table",
        "local_cols",
        "remote_cols",
    ),
    "create_exclude_constraint": ("constraint_name", "table_name"),
    "drop_constraint": ("constraint_name", "table_name", "type_", "schema"),
    "bulk_insert": ("table",),
}
_SUBJECTS = ("column_name", "index_name", "constraint_name", "new_table_name")
_THINGS = {
    "index": "index",
    "unique_constraint": "unique constraint",
    "check_constraint": "check constraint",
    "primary_key": "primary key",
    "foreign_key": "foreign key",
    "exclude_constraint": "exclude constraint",
    "constraint": "constraint",
}
# Calls that change nothing in a database, whatever they are given.
_HARMLESS = {
    "get_bind", "get_context", "f", "inline_literal", "print", "len", "list", "dict", "tuple",
    "set", "str", "int", "bool", "range", "sorted", "zip", "enumerate", "isinstance", "getattr",
    "hasattr", "format", "join", "append", "lower", "upper", "strip", "get", "items", "keys",
    "values", "now", "utcnow", "today", "uuid4", "info", "warning", "debug", "getLogger",
    "bindparams", "is_offline_mode", "get_columns", "get_table_names", "get_indexes",
    "get_foreign_keys", "get_unique_constraints", "has_table", "autocommit_block",
    "fetchall", "fetchone", "first", "one", "all", "scalar", "scalars", "mappings",
}  # fmt: skip
_HARMLESS_ROOTS = {"sa", "sqlalchemy", "postgresql", "mysql", "sqlite", "mariadb", "sqlmodel"}
_EXECUTES = {"execute", "exec_driver_sql", "scalar", "scalars"}
# What changes a database where it is asked of an object, and not of a module.
_WRITES = {"create", "create_all", "delete", "drop", "drop_all", "update"}
_READS = re.compile(r"\s*(?:SELECT|SHOW|EXPLAIN|VALUES)\b", re.IGNORECASE)
_SHOWN = 60


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._functions = {
            node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)
        }
        self._elsewhere = {
            name
            for node in tree.body
            if not isinstance(node, ast.FunctionDef)
            for name in _bound(node)
        }
        self._strings: dict[str, _Text] = {}
        self._roots = set(_HARMLESS_ROOTS)
        self._op = {"op"}
        self._batches: dict[str, tuple[_Text, _Text]] = {}
        self._certain = True
        self._active: list[str] = []
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._learn(node)
            elif isinstance(node, ast.ImportFrom):
                self._import(node)

    def read(self, function: str) -> tuple[Operation, ...]:
        if function in self._elsewhere:
            return (self._code(),)
        node = self._functions.get(function)
        found: list[Operation] = []
        for operation in self._block(node.body) if node else ():
            if not (operation.verb == CODE and found and found[-1].verb == CODE):
                found.append(operation)
        return tuple(found)

    def _import(self, node: ast.ImportFrom) -> None:
        module = (node.module or "").split(".")[0]
        for alias in node.names:
            name = alias.asname or alias.name
            if module == "alembic" and alias.name == "op":
                self._op.add(name)
            elif module in {"sqlalchemy", "sqlmodel"}:
                self._roots.add(name)

    def _learn(self, node: ast.Assign | ast.AnnAssign) -> None:
        """Remember what a name stands for; one that is bound twice stands for nothing certain."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = self._text(node.value) if node.value is not None else None
        for target in targets:
            if isinstance(target, ast.Name):
                known = target.id in self._strings
                if value is None and isinstance(node.value, ast.Call):
                    value = self._table_of(node.value)
                if value is None:
                    self._strings.pop(target.id, None)
                else:
                    self._strings[target.id] = _Text(value.text, value.exact and not known)

    def _table_of(self, call: ast.Call) -> _Text | None:
        """Return the name of the table that a call makes, for a variable that stands for it."""
        if _method(call) in {"create_table", "table", "Table"} and call.args:
            return self._text(call.args[0])
        return None

    # -- statements

    def _block(self, body: Sequence[ast.stmt]) -> Iterator[Operation]:
        for statement in body:
            yield from self._statement(statement)

    def _statement(self, node: ast.stmt) -> Iterator[Operation]:
        if isinstance(node, ast.FunctionDef):
            self._functions[node.name] = node
        elif isinstance(node, ast.With):
            yield from self._with(node)
        elif isinstance(node, (ast.If, ast.For, ast.While, ast.Try, ast.Match)):
            yield from self._perhaps(node)
        else:
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                self._learn(node)
            yield from self._calls(node)

    def _perhaps(self, node: ast.stmt) -> Iterator[Operation]:
        """Read what may run, or run several times; after a way out, all is uncertain."""
        before, self._certain = self._certain, False
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from self._statement(child)
            elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                yield from self._block(child.body)
            else:
                yield from self._calls(child)
        leaves = any(isinstance(n, (ast.Return, ast.Raise)) for n in ast.walk(node))
        self._certain = before and not leaves

    def _with(self, node: ast.With) -> Iterator[Operation]:
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and _method(call) == "batch_alter_table":
                given = _arguments(call, ("table_name", "schema"))
                table = self._text(given.get("table_name")) or _computed(given.get("table_name"))
                schema = self._text(given.get("schema")) or _Text("")
                if isinstance(item.optional_vars, ast.Name):
                    self._batches[item.optional_vars.id] = table, schema
            else:
                yield from self._calls(call)
        yield from self._block(node.body)

    # -- expressions

    def _calls(self, node: ast.AST) -> Iterator[Operation]:
        """Read the calls in *node*, the outer ones first; those of operations hold no others."""
        if not isinstance(node, ast.Call):
            for child in ast.iter_child_nodes(node):
                yield from self._calls(child)
            return
        root, method = _root(node.func), _method(node)
        batch = self._batches.get(root) if isinstance(node.func, ast.Attribute) else None
        if (root in self._op or batch) and method in _SIGNATURES:
            yield self._operation(node, method, batch)
            return
        if method in _EXECUTES and node.args:
            yield from self._execute(node)
            return
        if isinstance(node.func, ast.Name) and root in self._functions:
            yield from self._inline(root)
        elif method not in _HARMLESS and (root not in self._roots or _is_write(node)):
            yield self._code()
        for child in ast.iter_child_nodes(node):
            if child is not node.func or isinstance(node.func, ast.Attribute):
                yield from self._calls(child)

    def _inline(self, name: str) -> Iterator[Operation]:
        if name in self._active:
            return
        self._active.append(name)
        # What it is given is not followed, so what it does is not certain.
        function, before = self._functions[name], self._certain
        self._certain = before and not ast.unparse(function.args)
        yield from self._block(function.body)
        self._certain = before
        self._active.pop()

    def _code(self) -> Operation:
        return Operation(CODE, "", "", "run Python code", certain=False)

    def _execute(self, call: ast.Call) -> Iterator[Operation]:
        sql = self._text(call.args[0])
        if sql is None:
            yield self._code()
            return
        if _READS.match(sql.text) and ";" not in sql.text.strip(" \t\n;"):
            return
        certain = self._certain and sql.exact
        found = list(written_out(sql.text, certain=certain))
        shown = " ".join(sql.text.split())
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        text = sql.text if sql.exact else ""
        yield from found or [Operation(SQL, "", "", f"run SQL: {shown}", certain, sql=text)]

    def _operation(self, call: ast.Call, verb: str, batch: tuple[_Text, _Text] | None) -> Operation:
        signature = _SIGNATURES[verb]
        if batch:
            table, schema = batch
            given = _arguments(call, tuple(n for n in signature if n not in {*_TABLE, "schema"}))
        else:
            given = _arguments(call, signature)
            where = next((given[n] for n in (*_TABLE, "table") if n in given), None)
            table = self._text(where) or _computed(where)
            if isinstance(where, ast.Call):
                table = self._table_of(where) or table
            schema = self._text(given.get("schema")) or _Text("")
        options = {
            name: ast.unparse(value)
            for name, value in given.items()
            if name not in {*_TABLE, *_SUBJECTS, "schema", "column", "table"}
        }
        subject = next((given[n] for n in _SUBJECTS if n in given), None)
        name = self._text(subject) or _computed(subject)
        column = given.get("column")
        if isinstance(column, ast.Call):
            parts = _arguments(column, ("name", "type_"))
            name = self._text(parts.pop("name", None)) or _Text("?", exact=False)
            options |= {part: ast.unparse(value) for part, value in parts.items()}
        elif verb == "add_column":
            name = _computed(column)
        return Operation(
            verb,
            table.text,
            name.text,
            _in_words(verb, table.text, name.text, options),
            self._certain and table.exact and name.exact and schema.exact,
            schema.text,
            options=options,
        )

    def _text(self, node: ast.AST | None) -> _Text | None:
        """Return the string that *node* stands for, or None if it is no string."""
        if isinstance(node, ast.Constant):
            return _Text(node.value) if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            return self._strings.get(node.id)
        if isinstance(node, ast.JoinedStr):
            return self._joined(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._text(node.left), self._text(node.right)
            if left and right:
                return _Text(left.text + right.text, left.exact and right.exact)
        if isinstance(node, ast.Call):
            if _method(node) in {"f", "text", "DDL"} and len(node.args) == 1:
                return self._text(node.args[0])
            # bindparams(), format(), strip() and the like: the text, but not exactly.
            if isinstance(node.func, ast.Attribute):
                inner = self._text(node.func.value)
                return _Text(inner.text, exact=False) if inner else None
        return None

    def _joined(self, node: ast.JoinedStr) -> _Text:
        parts: list[_Text] = []
        for value in node.values:
            inner = value.value if isinstance(value, ast.FormattedValue) else value
            parts.append(self._text(inner) or _computed(inner))
        return _Text("".join(part.text for part in parts), all(part.exact for part in parts))


def written_out(sql: str, *, certain: bool) -> Iterator[Operation]:
    """Read what a statement written out would take away, like the operation that does the same."""
    for schema, table in dropped_tables(sql):
        yield Operation("drop_table", table, "", f"drop table {table}", certain, schema, sql)
    schema, table, parts = altered_table(sql)
    for part in parts:
        options = {"type": part.type} if part.type else {}
        if part.change == "drop":
            verb, does = "drop_column", f"drop column {table}.{part.column}"
        elif part.change == "add":
            verb, does = "add_column", f"add column {table}.{part.column}"
            if part.not_null:
                options["nullable"] = "False"
            if part.default:
                options["server_default"] = "DEFAULT"
        elif part.change in {"not null", "type"}:
            verb, does = "alter_column", f"alter column {table}.{part.column}"
            if part.not_null:
                options["nullable"] = "False"
        elif part.change == "move":
            verb, does = "rename_table", f"rename table {table} to {part.column}"
        else:
            verb, does = SQL, f"alter table {table}"
        yield Operation(verb, table, part.column, does, certain, schema, sql, options)


def _in_words(verb: str, table: str, name: str, options: Mapping[str, str]) -> str:
    action, _, thing = verb.partition("_")
    if verb == "bulk_insert":
        return f"insert rows into {table}"
    if verb == "rename_table":
        return f"rename table {table} to {name}"
    if thing == "table_comment":
        return f"{action} comment of table {table}"
    if thing == "table":
        return f"{action} table {table}"
    if thing != "column":
        if thing == "constraint" and "type_" in options:
            kind = options["type_"].strip("'\"").replace("foreignkey", "foreign key")
            thing = f"{kind} constraint"
        what = f"{action} {_THINGS.get(thing, thing)}"
        return " ".join(filter(None, (what, name, "on" if table else "", table)))
    return f"{action} column {table}.{name}{_changes(options) if verb == 'alter_column' else ''}"


def _changes(options: Mapping[str, str]) -> str:
    """Say what becomes of an altered column."""
    new = options.get("new_column_name")
    changes = [
        f"rename to {new.strip(chr(39))}" if new else "",
        f"type {options['type_']}" if "type_" in options else "",
        {"False": "not null", "True": "null"}.get(options.get("nullable", ""), ""),
        f"default {options['server_default']}" if "server_default" in options else "",
    ]
    return f" ({', '.join(filter(None, changes))})" if any(changes) else ""


def _computed(node: ast.AST | None) -> _Text:
    """Show an expression in place of its value."""
    if node is None:
        return _Text("")
    if isinstance(node, ast.Constant) and node.value is None:
        return _Text("")
    return _Text("{" + ast.unparse(node) + "}", exact=False)


def _arguments(call: ast.Call, signature: Sequence[str]) -> dict[str, ast.expr]:
    given = dict(zip(signature, call.args, strict=False))
    return given | {word.arg: word.value for word in call.keywords if word.arg}


def _is_write(call: ast.Call) -> bool:
    """Tell whether an object that was made on the spot is asked to change the database."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _WRITES:
        return False
    return any(isinstance(node, ast.Call) for node in ast.walk(call.func.value))


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Name what *statement* gives a meaning to: by assigning, importing or defining it."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.FunctionDef):
            yield node.name


def _method(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _root(node: ast.AST) -> str:
    """Return the name that a chain of attributes and calls begins with."""
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
