"""Which values an enumerated type has, by the text of the revisions that were applied.

SQLite has no such types, so a scratch database does not tell. The text does where it is plain; of a
type that is made in any other way nothing is claimed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from anabranch.revision import Revision

_STATEMENT = re.compile(
    r"\b(?P<verb>CREATE|ALTER|DROP)\s+TYPE\b\s*(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
    r"(?P<name>[\w.\"]*)\s*(?P<rest>[^;]*)",
    re.IGNORECASE,
)
_VALUE = r"'((?:[^'%{]|'')*)'"
_ADD = re.compile(
    rf"ADD\s+VALUE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_VALUE}\s*(?:(?:BEFORE|AFTER)\s+{_VALUE}\s*)?",
    re.IGNORECASE,
)
_RENAME = re.compile(rf"RENAME\s+VALUE\s+{_VALUE}\s+TO\s+{_VALUE}\s*", re.IGNORECASE)


def written_values(revisions: Iterable[Revision]) -> dict[str, tuple[str, ...]]:
    """Return the values of each enumerated type that *revisions*, in order, leave no doubt about.

    Nothing of them is run; one that cannot be read leaves no type known.
    """
    history = _History()
    for revision in revisions:
        try:
            tree = ast.parse(Path(revision.path).read_bytes(), filename=revision.path)
        except (OSError, SyntaxError, ValueError, RecursionError):
            return {}
        history.follow(tree)
    return history.known()


class _History:
    def __init__(self) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        self._unknown: set[str] = set()

    def known(self) -> dict[str, tuple[str, ...]]:
        if "" in self._unknown:
            return {}
        return {name: of for name, of in self._values.items() if name not in self._unknown}

    def follow(self, tree: ast.Module) -> None:
        """Take in a revision: its statements first, since its lists tell what was and what is."""
        before = dict(self._values)
        nodes = list(_nodes(tree))
        lists = [
            (name, values)
            for node in nodes
            if isinstance(node, ast.Call)
            for name, values in self._listed(node)
        ]
        for name, values in lists:
            self._values.setdefault(name, values)
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for match in _STATEMENT.finditer(node.value.replace("\\:", ":")):
                    self._run(match)
        for name, values in lists:
            if set(values) not in (set(before.get(name, values)), set(self._values[name])):
                self._unknown.add(name)

    def _run(self, match: re.Match[str]) -> None:
        name = match["name"].replace('"', "").rpartition(".")[2]
        values = self._values.get(name)
        add = _ADD.fullmatch(match["rest"])
        rename = _RENAME.fullmatch(match["rest"])
        if match["verb"].upper() != "ALTER" or values is None or not (add or rename):
            self._unknown.add(name)  # an empty name stands for all
        elif add is not None:
            self._values[name] = tuple(dict.fromkeys((*values, _text(add[1]))))
        elif rename is not None:
            old, new = _text(rename[1]), _text(rename[2])
            self._values[name] = tuple(new if value == old else value for value in values)

    def _listed(self, call: ast.Call) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the name and the values that a call of ``Enum`` spells out."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "drop":
            if isinstance(call.func.value, ast.Call) and _called(call.func.value) == "enum":
                self._unknown.add(str(_option(call.func.value, "name") or ""))
            return
        if _called(call) != "enum" or _option(call, "native_enum") is False:
            return
        name = _option(call, "name")
        values = [arg.value if isinstance(arg, ast.Constant) else None for arg in call.args]
        if not values:
            return
        if isinstance(name, str) and all(isinstance(value, str) for value in values):
            yield name, tuple(map(str, values))
        else:
            # Of a class: its name in lower case is the type's, if none is given.
            of = call.args[0]
            called = getattr(of, "attr", getattr(of, "id", ""))
            self._unknown.add(name if isinstance(name, str) else called.lower())


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what *tree* holds, but for ``downgrade()`` and the types that columns had before."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "downgrade":
            continue
        if isinstance(node, ast.keyword) and node.arg == "existing_type":
            continue
        yield node
        yield from _nodes(node)


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", ""))).lower()


def _option(call: ast.Call, name: str) -> object:
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def _text(literal: str) -> str:
    return literal.replace("''", "'")
